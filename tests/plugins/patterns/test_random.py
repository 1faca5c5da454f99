from __future__ import annotations

import numpy as np
import pytest
from xcompose_plugins.patterns.random import Random

from xcompose.api import NEVER, Point
from xcompose.attention.checks import prefix_stable
from xcompose.attention.counts import kept, pairs

from .owed import covers_once, owes


def drawn(pattern: Random, block: int) -> set[int]:
    """The earlier blocks that a block may read, from its first token."""
    q = Point(at=block * pattern.block)
    return {c for c in range(block) if pattern.allows(q, Point(at=c * pattern.block))}


@pytest.mark.parametrize(("count", "block", "seed"), [(1, 1, 0), (3, 1, 5), (2, 4, 0), (5, 3, 2**40)])
def test_blocks_that_drew_one_another_may_read_one_another(count, block, seed):
    pattern = Random(count=count, block=block, seed=seed)
    links = {(c, other) for c in range(40) for other in drawn(pattern, c)}
    links |= {(b, a) for a, b in links}

    for n in (1, 2, 13, 29):
        owes(pattern, n, lambda i, j: (i // block, j // block) in links)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_block_draws_as_many_earlier_blocks_as_there_are_up_to_count(count):
    pattern = Random(count=count, block=4)

    for block in range(40):
        found = drawn(pattern, block)
        assert len(found) == min(count, block)
        for part in range(count):
            start, end = block * part // count, block * (part + 1) // count
            assert len([c for c in found if start <= c < end]) == min(1, end - start)


def test_costs_what_its_card_says():
    pattern, n = Random(count=3, block=4), 20 * 4
    links = sum(min(3, c) for c in range(20))

    assert pairs(pattern, n, causal=True) == links * 16
    assert pairs(pattern, n, causal=False) == 2 * links * 16
    assert kept(pattern, n) == n
    assert pattern.last_reader(7) == NEVER


def test_every_earlier_block_is_drawn_equally_often():
    block = np.arange(1000, 100_000)
    part = Random(count=1, seed=3).draw(block, 0) * 10 // block
    counts = np.bincount(part, minlength=10) / len(block)

    assert np.abs(counts - 0.1).max() < 0.004


def test_seeds_and_draws_and_neighbours_are_independent():
    block = np.arange(1000, 100_000)
    where = {
        (seed, draw): Random(count=2, seed=seed).draw(block, draw) / block for seed in (0, 1, 2) for draw in (0, 1)
    }
    series = [*where.values(), np.roll(where[0, 0], 1)]
    together = np.corrcoef(series) - np.eye(len(series))

    assert np.abs(together).max() < 0.015


def test_the_plan_is_the_same_every_time():
    """The numbers themselves, because checkpoints depend on them."""
    plan = [sorted(drawn(Random(count=2, seed=7), block)) for block in (5, 100, 1000)]

    assert plan == [[1, 4], [31, 59], [216, 702]]


def test_the_plan_does_not_look_at_the_length():
    pattern = Random(count=2)
    at = np.arange(50)
    short = pattern.allows(Point(at=at[:20, None], total=20), Point(at=at[None, :20], total=20))
    long = pattern.allows(Point(at=at[:, None], total=50), Point(at=at[None], total=50))

    assert (long[:20, :20] == short).all()
    assert prefix_stable(pattern) is None


def test_a_long_cover_is_a_few_arrays():
    tiles = Random(count=3, block=64).cover(range(2**17), range(2**17), False)

    assert len(tiles) < 10
    assert all(tile.allows is None for tile in tiles)
    assert all(len(np.unique(t.queries[t.queries >= 0])) == (t.queries >= 0).sum() for t in tiles)


def test_the_cover_holds_each_pair_once_in_a_longer_text():
    for causal in (False, True):
        covers_once(Random(count=3, block=2), 90, causal)
