from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import attrs
import numpy as np
import pytest
from xcompose_plugins.patterns.dense import Dense
from xcompose_plugins.patterns.global_ import Global
from xcompose_plugins.patterns.none import Nothing
from xcompose_plugins.patterns.random import Random
from xcompose_plugins.patterns.window import Window

from xcompose.api import Heads, Pattern, Run, Union
from xcompose.attention.checks import (
    between_clocks,
    cover_fault,
    prefix_stable,
    selection,
    silent_query,
    spans_are_prefix,
)

ENDS = "it counts from the end of the sequence, and in a decoder the sequence has no end yet"


class Places(NamedTuple):
    start: np.ndarray
    end: np.ndarray
    at: np.ndarray


def blocks_of(size: int):
    """The slots of a memory that summarises whole blocks."""

    def spans(n: int) -> Places:
        first = np.arange(n // size) * size
        return Places(first, first + size - 1, first + size - 1)

    return spans


def test_a_decoder_needs_predicates_that_do_not_look_at_the_length():
    assert prefix_stable(Window(size=3)) is None
    assert prefix_stable(Random(count=3)) is None
    assert prefix_stable(Global(first=3)) is None
    assert prefix_stable(Global(last=3)) == ENDS
    assert prefix_stable(Union((Window(size=3), Global(first=1, last=1)))) == ENDS
    assert prefix_stable(Heads(((1, Window(size=3)), (1, Global(last=1)))), heads=4) == ENDS


@pytest.mark.parametrize(
    "pattern", [Dense(), Nothing(), Window(size=3), Random(count=3), Global(first=3), Global(last=1)], ids=str
)
def test_a_pattern_says_whether_it_needs_the_length(pattern):
    for whole in (pattern, Union((Window(size=1), pattern))):
        assert whole.needs_length == (prefix_stable(whole) == ENDS)


def test_a_strict_decoder_chooses_by_the_past_alone():
    pattern = SimpleNamespace(selects="sequence")
    grouped = SimpleNamespace(groups=lambda heads: ((2, Dense()), (heads - 2, pattern)))
    reason = "it chooses by looking at the whole sequence, so what a query reads of the past depends on the future"

    assert selection(grouped, "strict", heads=4) == reason
    assert selection(grouped, "value", heads=4) is None
    assert selection(grouped, "none", heads=4) is None
    assert selection(Dense(), "strict") is None


def test_positions_of_two_sequences_do_not_compare():
    reason = "it compares positions of queries and keys, which mean nothing between two sequences"

    assert between_clocks(Dense()) is None
    assert between_clocks(Heads(((1, Dense()), (1, Nothing()))), heads=2) is None
    assert between_clocks(Window(size=3)) == reason
    assert between_clocks(Union((Dense(), Window(size=3)))) == reason
    assert between_clocks(Heads(((1, Dense()), (1, Window(size=3)))), heads=2) == reason


def test_slots_of_whole_blocks_stay_as_they_are():
    for size in (1, 2, 3, 32):
        assert spans_are_prefix(blocks_of(size)) is None


def test_slots_that_summarise_everything_show_the_future():
    def spans(n: int) -> Places:
        return Places(np.zeros(256), np.full(256, n - 1), np.full(256, n - 1))

    assert spans_are_prefix(spans) == (
        "each of its 256 key slots summarises positions 0..n-1, so every query would read the future"
    )


def test_a_last_block_that_is_filled_up_changes():
    def spans(n: int) -> Places:
        first = np.arange(-(-n // 4)) * 4
        return Places(first, np.minimum(first + 3, n - 1), first)

    assert spans_are_prefix(lambda n: spans(n + 4)) == (
        "key slot 1 stands for positions 4..4 in a text of 1 and for 4..5 in one of 2: it would change when a token is "
        "added"
    )


def test_a_slot_that_grows_from_the_middle_changes():
    def spans(n: int) -> Places:
        return Places(np.array([n // 2]), np.array([n - 1]), np.array([n - 1]))

    assert spans_are_prefix(spans) == (
        "key slot 0 stands for positions 0..0 in a text of 1 and for 1..1 in one of 2: it would change when a token is "
        "added"
    )


def test_slots_that_vanish_are_no_prefix():
    def spans(n: int) -> Places:
        kept = np.arange(max(0, 5 - n))
        return Places(kept + 1, kept + 1, kept + 1)

    assert spans_are_prefix(spans) == "it has 4 key slots for 1 positions and 3 for 2: a slot would vanish"


def test_every_query_must_have_a_key():
    assert silent_query([(Window(size=0), None)], 13, True) is None
    assert silent_query([(Random(count=1), None)], 13, True) == (
        "query 0 may read no key at all (1 of 13 queries read nothing)"
    )
    assert silent_query([(Nothing(), None)], 13, True) == (
        "query 0 may read no key at all (13 of 13 queries read nothing)"
    )
    assert silent_query([(Nothing(), None)], 13, True, may_be_empty=True) is None


def test_a_memory_gives_keys_too():
    slots = blocks_of(3)(13)

    assert silent_query([(Nothing(), None), (Dense(), slots)], 13, False) is None
    assert silent_query([(Nothing(), None), (Dense(), slots)], 13, True) == (
        "query 0 may read no key at all (2 of 13 queries read nothing)"
    )
    assert silent_query([(Window(size=1), None), (Dense(), slots)], 13, True) is None


def test_every_head_must_have_a_key():
    pattern = Heads(((2, Window(size=1)), (1, Global(first=1, last=0))))
    lacking = Heads(((2, Window(size=1)), (1, Random(count=1))))

    assert silent_query([(pattern, None)], 13, True, heads=3) is None
    assert silent_query([(lacking, None)], 13, True, heads=3) == (
        "query 0 of head 2 may read no key at all (1 of 39 queries read nothing)"
    )


def test_a_lonely_query_that_reads_itself_is_not_silent():
    @attrs.frozen
    class Alone(Pattern):
        otherwise = "self"

        def allows(self, q, k):
            return q.at - k.at == 5

    assert silent_query([(Alone(), None)], 13, True) is None


@attrs.frozen
class Claims(Pattern):
    """A window of 1 that claims these tiles."""

    tiles: tuple[Run, ...]

    def allows(self, q, k):
        return (q.at - k.at <= 1) & (k.at - q.at <= 1)

    def cover(self, queries, keys, causal):
        return self.tiles


def near(q, k):
    return (q.at - k.at <= 1) & (k.at - q.at <= 1)


def uneven(q, k):
    return near(q, k) & ((q.at < 4) | (q.at == k.at))


FAULTS = [
    ((), "the pair of query 0 and key 0 is allowed and counts in 0 tiles"),
    ((Run(1, 8, 8, 0, 0, 0, 0),), "the pair of query 0 and key 2 is not allowed and counts in 1 tiles"),
    ((Run(1, 8, 8, 0, 0, 0, 0, allows=near),) * 2, "the pair of query 0 and key 0 is allowed and counts in 2 tiles"),
    ((Run(4, 2, 4, 0, 2, -1, 2, allows=uneven),), "the tiles of a run have different masks"),
]


@pytest.mark.parametrize(("tiles", "fault"), FAULTS)
def test_faults_of_a_cover_are_found(tiles, fault):
    assert cover_fault(Claims(tiles), range(8), range(8), False) == fault


def test_tiles_that_drift_apart_cannot_share_a_causal_mask():
    tiles = (Run(4, 2, 8, 0, 2, 0, 0, allows=near),)

    assert cover_fault(Claims(tiles), range(8), range(8), True) == (
        "the tiles of a run move away from each other, and not all of their keys lie in the past"
    )


def test_a_right_cover_has_no_fault():
    tiles = (Run(4, 2, 4, 0, 2, -1, 2, allows=near),)

    assert cover_fault(Claims(tiles), range(8), range(8), False) is None
    assert cover_fault(Claims(tiles), range(8), range(8), True) is None
