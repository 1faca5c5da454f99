from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xcompose_plugins.patterns.window import Window

from xcompose.api import Point
from xcompose.attention.checks import cover_fault
from xcompose.attention.counts import kept, pairs, tile_pairs

from .owed import last_readers, owes


def near(size: int, dilation: int):
    return lambda i, j: any(j == i + dilation * a for a in range(-size, size + 1))


@pytest.mark.parametrize(("size", "dilation"), [(0, 1), (1, 1), (3, 1), (2, 3), (5, 2), (70, 1), (1, 50)])
def test_a_query_may_read_its_neighbours(size, dilation):
    for n in (1, 2, 13, 29):
        owes(Window(size=size, dilation=dilation), n, near(size, dilation))


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 150), size=st.integers(0, 160), dilation=st.integers(1, 9), causal=st.booleans())
def test_the_cover_holds_each_pair_once(n, size, dilation, causal):
    assert cover_fault(Window(size=size, dilation=dilation), range(n), range(n), causal) is None


@pytest.mark.parametrize(("size", "dilation"), [(1, 1), (4, 1), (3, 2), (2, 5)])
def test_costs_what_its_card_says(size, dilation):
    pattern = Window(size=size, dilation=dilation)

    for n in range(max(12, size * dilation), 41):
        both = n * (2 * size + 1) - dilation * size * (size + 1)
        assert pairs(pattern, n, causal=False) == both
        assert pairs(pattern, n, causal=True) == n * (size + 1) - dilation * size * (size + 1) // 2


def test_a_million_tokens_are_counted_at_once():
    pattern = Window(size=256)

    assert pairs(pattern, 10**6, causal=False) == 10**6 * 513 - 256 * 257
    assert len(pattern.cover(range(10**6), range(10**6), False)) == 1


def test_few_pairs_are_computed_in_vain():
    pattern = Window(size=256)

    assert tile_pairs(pattern, 8192, causal=False) / pairs(pattern, 8192, causal=False) < 1.13
    assert tile_pairs(pattern, 8192, causal=True) / pairs(pattern, 8192, causal=True) < 1.25


@pytest.mark.parametrize(("size", "dilation"), [(0, 1), (4, 1), (3, 2)])
def test_a_slot_is_kept_while_it_is_read(size, dilation):
    pattern = Window(size=size, dilation=dilation)

    assert [pattern.last_reader(at) for at in range(20)] == last_readers(pattern, 20, 60)
    assert kept(pattern, 50) == size * dilation


@pytest.mark.parametrize(("step", "first"), [(3, 2), (7, 0), (90, 4)])
def test_slots_at_every_few_positions_are_covered_once(step, first):
    pattern, n = Window(size=10), 200
    keys = range(first, n, step)
    (run,) = pattern.cover(range(n), keys, False)
    found = {}
    for tile in range(run.count):
        for i in (run.q_start + tile * run.q_step + row for row in range(run.rows)):
            for j in (run.k_start + tile * run.k_step + col * run.k_stride for col in range(run.cols)):
                if i in range(n) and j in keys and pattern.allows(Point(at=i), Point(at=j)):
                    found[i, j] = found.get((i, j), 0) + 1

    assert found == {(i, j): 1 for i in range(n) for j in keys if abs(i - j) <= 10}
