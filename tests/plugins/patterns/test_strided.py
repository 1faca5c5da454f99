from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xcompose_plugins.patterns.strided import Strided
from xcompose_plugins.patterns.window import Window

from xcompose.api import NEVER, Union
from xcompose.attention.checks import cover_fault
from xcompose.attention.counts import kept, pairs, tile_pairs

from .owed import owes


@pytest.mark.parametrize("stride", [1, 2, 4, 7, 40])
def test_a_query_may_read_every_few_keys(stride):
    for n in (1, 2, 13, 29):
        owes(Strided(stride=stride), n, lambda i, j: (i - j) % stride == 0)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 90), stride=st.integers(1, 100), causal=st.booleans(), start=st.integers(0, 40))
def test_the_cover_holds_each_pair_once(n, stride, causal, start):
    queries, keys = range(start, start + n), range(start // 2, start + n)

    assert cover_fault(Strided(stride=stride), queries, keys, causal) is None


@pytest.mark.parametrize("stride", [1, 2, 5, 7])
def test_costs_what_its_card_says(stride):
    for n in range(12, 41):
        q, rest = divmod(n, stride)
        assert pairs(Strided(stride=stride), n, causal=True) == stride * q * (q + 1) // 2 + rest * (q + 1)


@pytest.mark.parametrize("stride", [2, 3, 5, 8])
def test_costs_what_is_published_beside_a_band(stride):
    """The paper's band has the key stride positions back, too, the published code's has it not; they merge with the
    strided keys in two diagonals or in one."""
    for n in range(12, 41):
        q, rest = divmod(n, stride)
        residue = stride * q * (q + 1) // 2 + rest * (q + 1)
        wide = n * (stride + 1) - stride * (stride + 1) // 2
        narrow = n * stride - stride * (stride - 1) // 2
        assert pairs(Window(size=stride), n, causal=True) == wide
        assert pairs(Window(size=stride - 1), n, causal=True) == narrow
        assert pairs(Union((Window(size=stride), Strided(stride=stride))), n, True) == wide + residue - (2 * n - stride)
        assert pairs(Union((Window(size=stride - 1), Strided(stride=stride))), n, True) == narrow + residue - n


def test_nothing_is_computed_in_vain():
    (run,) = Strided(stride=31).cover(range(1000), range(1000), False)

    assert run.allows is None
    assert tile_pairs(Strided(stride=31), 1000, causal=False) == pairs(Strided(stride=31), 1000, causal=False)


def test_every_slot_is_kept_for_ever():
    assert Strided(stride=8).last_reader(5) == NEVER
    assert kept(Strided(stride=8), 37) == 37
