from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xcompose_plugins.patterns.global_ import Global, components

from xcompose.api import DependsOnLength, PartError, Point
from xcompose.attention.checks import cover_fault, prefix_stable
from xcompose.attention.counts import kept, pairs

from .owed import last_readers, owes


@pytest.mark.parametrize("first", [1, 4, 50])
def test_the_first_tokens_read_all_and_are_read_by_all(first):
    for n in (1, 2, 13, 29):
        owes(Global(first=first), n, lambda i, j: i < first or j < first)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 3), (9, 9), (1, 40)])
def test_the_last_tokens_count_from_the_end_of_the_sequence(first, last):
    for n in (1, 2, 13, 29):
        ends = [*range(first), *range(max(0, n - last), n)]
        owes(Global(first=first, last=last), n, lambda i, j, ends=ends: i in ends or j in ends, decoder=False)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 60), first=st.integers(0, 70), last=st.integers(0, 70))
def test_the_cover_holds_each_pair_once(n, first, last):
    assert cover_fault(Global(first=first, last=last), range(n), range(n), False) is None


@pytest.mark.parametrize(("first", "last"), [(1, 0), (3, 2), (0, 4)])
def test_costs_what_its_card_says(first, last):
    g = first + last
    for n in range(12, 41):
        assert pairs(Global(first=first, last=last), n, causal=False) == 2 * n * g - g**2


def test_a_decoder_keeps_the_global_keys_and_no_others():
    pattern = Global(first=3)

    assert kept(pattern, 37) == 3
    assert [min(pattern.last_reader(at), 39) for at in range(3)] == last_readers(pattern, 3, 40)
    assert [pattern.last_reader(at) for at in (3, 20)] == [2, 2]


def test_a_decoder_has_no_end_to_count_from():
    pattern = Global(last=2)

    assert (
        prefix_stable(pattern) == "it counts from the end of the sequence, and in a decoder the sequence has no end yet"
    )
    with pytest.raises(DependsOnLength):
        pattern.allows(Point(at=3), Point(at=1))
    with pytest.raises(DependsOnLength):
        pattern.cover(range(7), range(7), True)


def test_no_global_token_at_all_is_refused():
    (component,) = components()
    with pytest.raises(PartError) as caught:
        component.build(Global(), None)

    assert caught.value.message == "global needs a number of tokens, found none"
    assert caught.value.label == "no token is global, so no query may read anything"
    assert caught.value.fixes == ("write how many of the first tokens are global: global(1)",)
    assert component.build(Global(last=1), None) == Global(last=1)
