from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xcompose_plugins.patterns.blocks import Blocks
from xcompose_plugins.patterns.dense import Dense
from xcompose_plugins.patterns.global_ import Global
from xcompose_plugins.patterns.none import Nothing
from xcompose_plugins.patterns.random import Random
from xcompose_plugins.patterns.strided import Strided
from xcompose_plugins.patterns.window import Window

from xcompose.api import DependsOnLength, Difference, Gather, Intersection, Pattern, Point, Run, Union
from xcompose.attention.counts import kept, pairs, tile_pairs
from xcompose.attention.tiles import Layout

PATTERNS = (
    Dense(), Nothing(), Window(size=3), Window(size=2, dilation=3), Blocks(size=4), Blocks(size=5, back=1, ahead=1),
    Strided(stride=4), Global(first=3), Random(count=2, block=3),
    Union((Window(size=2), Strided(stride=5), Global(first=1))), Union((Blocks(size=4, back=1), Random(count=1))),
    Intersection((Window(size=6), Blocks(size=4, back=1))), Difference((Dense(), Window(size=2))),
)  # fmt: skip


def matrix(pattern: Pattern, n: int, causal: bool) -> np.ndarray:
    at = np.arange(n)
    total = None if causal else n
    found = np.broadcast_to(pattern.allows(Point(at=at[:, None], total=total), Point(at=at[None], total=total)), (n, n))
    return np.tril(found) if causal else found


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_pairs_are_those_of_the_predicate(pattern):
    for n in range(12, 41, 4):
        for causal in (False, True):
            assert pairs(pattern, n, causal) == matrix(pattern, n, causal).sum()


@settings(max_examples=40, deadline=None)
@given(pattern=st.sampled_from(PATTERNS), n=st.integers(1, 300), causal=st.booleans())
def test_pairs_of_many_tiles_are_those_of_the_predicate(pattern, n, causal):
    assert pairs(pattern, n, causal) == matrix(pattern, n, causal).sum()


def test_the_published_closed_forms():
    """Merged strided attention, and BigBird's blocks with links both ways."""
    for n in range(12, 41):
        for stride in (2, 3, 5):
            q, rest = divmod(n, stride)
            band = n * (stride + 1) - stride * (stride + 1) // 2
            residue = stride * q * (q + 1) // 2 + rest * (q + 1)
            assert pairs(Union((Window(size=stride), Strided(stride=stride))), n, True) == band + residue - (
                2 * n - stride
            )
        for w, g in ((1, 1), (2, 3), (3, 5)):
            inside = sum(1 for i in range(n) for j in range(n) if abs(i - j) <= w and (i < g or j < g))
            both = n * (2 * w + 1) - w * (w + 1) + 2 * n * g - g * g - inside
            assert pairs(Union((Window(size=w), Global(first=g))), n, False) == both


def test_a_pattern_that_needs_the_end_has_no_count_in_a_decoder():
    with pytest.raises(DependsOnLength):
        pairs(Global(last=1), 12, causal=True)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_tiles_hold_at_least_the_pairs(pattern):
    for n in (13, 40, 200):
        held = 0
        for tile in pattern.cover(range(n), range(n), False):
            if isinstance(tile, Gather):
                held += sum(int((q >= 0).sum() * (k >= 0).sum()) for q, k in zip(tile.queries, tile.keys, strict=True))
                continue
            for t in range(tile.count):
                rows = [i for i in range(tile.rows) if 0 <= tile.q_start + t * tile.q_step + i * tile.q_stride < n]
                cols = [j for j in range(tile.cols) if 0 <= tile.k_start + t * tile.k_step + j * tile.k_stride < n]
                held += len(rows) * len(cols)
        assert tile_pairs(pattern, n, False) == held >= pairs(pattern, n, False)


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if not isinstance(p, Intersection)], ids=str)
def test_the_cache_keeps_what_will_be_read(pattern):
    """Slots that a query from n on may read, as far as it can be seen; random links and dense reach on for ever."""
    far = 400
    readable = matrix(pattern, far, causal=True)
    for n in (1, 12, 17, 40):
        seen = int(readable[n:, :n].any(0).sum())
        assert seen <= kept(pattern, n) <= n
        if not isinstance(pattern, Union | Random):
            assert kept(pattern, n) == seen


def test_a_million_tokens_take_no_time():
    start = time.perf_counter()
    found = {
        "window": pairs(Window(size=256), 10**6, True),
        "mix": pairs(Union((Window(size=256), Global(first=4))), 10**6, True),
        "dense": pairs(Dense(), 10**6, True),
    }

    assert time.perf_counter() - start < 2
    assert found["window"] == 10**6 * 257 - 256 * 257 // 2
    assert found["mix"] == found["window"] + sum(min(4, max(0, i - 256)) for i in range(1000)) + 4 * (10**6 - 1000)
    assert found["dense"] == 10**6 * (10**6 + 1) // 2


def test_a_run_whose_tiles_do_not_move_together_is_counted_tile_by_tile():
    class Stairs(Dense):
        """Dense, in tiles that all read from the first key on."""

        def cover(self, queries, keys, causal):
            return (Run(count=6, rows=4, cols=24, q_start=0, q_step=4, k_start=0, k_step=0),)

    assert pairs(Stairs(), 24, causal=True) == 24 * 25 // 2
    assert pairs(Stairs(), 24, causal=False) == 24**2


@pytest.mark.parametrize("causal", [False, True])
def test_slots_that_stand_for_spans_are_read_in_the_tiles_of_their_pattern(causal):
    n, near = 6000, Window(size=8)
    slots, starts = range(2, n, 3), range(0, n - 2, 3)

    found = Layout(near, range(n), slots, starts, None, causal, None if causal else n).pairs()

    assert found < 40 * n
