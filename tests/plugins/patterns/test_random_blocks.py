from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from xcompose_plugins.patterns.blocks import Blocks
from xcompose_plugins.patterns.global_ import Global
from xcompose_plugins.patterns.random_blocks import Draws, PerHead, RandomBlocksOptions, components

from tests.plugins.helpers import attention, context, mixer, pattern, rows
from tests.plugins.mixers.test_attention import agree, naive
from xcompose.api import Axis, DependsOnLength, PartError, Point, Union
from xcompose.attention.checks import cover_fault, prefix_stable
from xcompose.attention.counts import pairs, tile_pairs

from .owed import covers_once, same_set


def build(layer: int = 0, **given):
    (component,) = components()
    return component.build(RandomBlocksOptions(**given), SimpleNamespace(layer=layer))


def plan(made: Draws, blocks: int, n: int | None = None) -> list[set[int]]:
    """By brute force over pairs of first tokens: what each block may read in a sequence of n."""
    n = blocks * made.block if n is None else n
    first = [c * made.block for c in range(blocks)]
    return [{d for d, k in enumerate(first) if made.allows(Point(at=q, total=n), Point(at=k, total=n))} for q in first]


def left(c: int, blocks: int) -> set[int]:
    """What windows and global ends leave to block c, as the released code has it."""
    out = {0, blocks - 1, c - 1, c, c + 1}
    out |= {blocks - 2} if c == 1 else {1} if c == blocks - 2 else set()
    return set(range(blocks)) - out


@pytest.mark.parametrize(("count", "block", "seed"), [(1, 1, 0), (3, 2, 5), (2, 4, 0), (7, 3, 2**31 - 1)])
def test_a_query_may_read_the_blocks_that_its_block_drew(count, block, seed):
    made = Draws(count, block, seed)

    for n in (1, 2, 13, 29, 41):
        blocks = -(-n // block)
        drawn = plan(made, blocks, n)
        same_set(made, n, lambda i, j, drawn=drawn: j // block in drawn[i // block], total=n)
        covers_once(made, n, causal=False)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_block_draws_distinct_ones_of_those_that_are_left(count):
    for blocks in range(1, 30):
        found = plan(Draws(count, 2, 11), blocks)
        for c in range(1, blocks - 1):
            assert found[c] <= left(c, blocks)
            assert len(found[c]) == min(count, len(left(c, blocks)))
        assert not found[0]
        assert not found[-1]


def test_every_block_that_is_left_is_as_likely():
    blocks, seeds = 14, range(4000)
    for c in (1, 2, 6, 12):
        drawn = [int(Draws(3, 1, seed).drawn(c, number, blocks)) for seed in seeds for number in range(3)]
        counts = np.bincount(drawn, minlength=blocks) / len(seeds)
        assert set(np.flatnonzero(counts)) == left(c, blocks)
        assert np.abs(counts[sorted(left(c, blocks))] - 3 / 9).max() < 0.03


@pytest.mark.parametrize(("block", "count"), [(1, 3), (2, 2), (4, 3)])
def test_costs_what_is_published_beside_windows_and_global_ends(block, count):
    for blocks in range(5 + count, 20):
        parts = (Blocks(size=block, back=1, ahead=1), Global(first=block, last=block), Draws(count, block, 3))
        wanted = block**2 * (2 * blocks + 2 * (4 + count) + (blocks - 4) * (5 + count))
        assert pairs(Union(parts), blocks * block, causal=False) == wanted
        assert pairs(parts[2], blocks * block, causal=False) == (blocks - 2) * count * block**2


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 90), block=st.integers(1, 20), count=st.integers(1, 4), start=st.integers(0, 40))
def test_the_cover_holds_each_pair_once(n, block, count, start):
    made, queries, keys = Draws(count, block, n), range(start, start + n), range(start // 2, start + n)

    assert cover_fault(made, queries, keys, causal=False) is None
    whole = Union((Blocks(size=block, back=1, ahead=1), Global(first=block, last=block), made))
    assert cover_fault(whole, queries, range(start + n), causal=False) is None


def test_nothing_is_computed_in_vain():
    made = Draws(3, 4, 0)
    (tile,) = made.cover(range(400), range(400), False)

    assert tile.allows is None
    assert tile_pairs(made, 400, causal=False) == pairs(made, 400, causal=False)


def test_lengths_of_their_own_for_every_sequence():
    made, at = Draws(2, 3, 1), torch.arange(40)
    total = torch.tensor([40, 31, 5]).view(3, 1, 1, 1)
    found = made.allows(Point(at=at[:, None], total=total), Point(at=at, total=total))

    for row, n in enumerate((40, 31, 5)):
        alone = made.allows(Point(at=at[:n, None], total=n), Point(at=at[:n], total=n))
        assert torch.equal(found[row, 0, :n, :n], alone)


def test_layers_and_heads_and_seeds_have_plans_of_their_own():
    blocks = 30
    plans = {(seed, layer): build(layer, count=3, seed=seed) for seed in (0, 1, 2**40) for layer in (0, 1)}
    parts = [part for made in plans.values() for count, part in made.groups(4) for _ in range(count)]
    found = [tuple(map(frozenset, plan(part, blocks))) for part in parts]

    assert len(set(found)) == len(found) == 24
    assert build(1, count=3).groups(4) == build(1, count=3).groups(4)
    shared = {build(layer, count=3, spread="all") for layer in (0, 1)}
    assert len(shared) == 2
    assert all(made.groups(4) == ((4, made),) for made in shared)


def test_plans_of_heads_do_not_follow_each_other():
    row = np.arange(2, 20_000)
    series = [part.drawn(row, 0, 20_002) / 20_002 for _, part in build(count=1).groups(3)]
    series += [build(layer, count=1, spread="all").drawn(row, 0, 20_002) / 20_002 for layer in (0, 1)]
    together = np.corrcoef([*series, np.roll(series[0], 1)]) - np.eye(6)

    assert np.abs(together).max() < 0.03


def test_the_plan_is_the_same_every_time():
    """The numbers themselves, because checkpoints depend on them."""
    made = build(3, count=3, block=2, seed=7)
    first = made.groups(2)[0][1]

    assert isinstance(made, PerHead)
    assert [sorted(drawn) for drawn in plan(first, 12)[1:4]] == [[3, 5, 8], [4, 7, 10], [5, 7, 9]]


def test_a_decoder_refuses_it():
    made = Draws(3, 4, 0)

    assert prefix_stable(made) == "it counts from the end of the sequence, and in a decoder the sequence has no end yet"
    with pytest.raises(DependsOnLength):
        made.cover(range(50), range(50), True)
    with pytest.raises(PartError) as caught:
        context(12).build(attention(heads=4, pattern=pattern("random-blocks", count=1)))
    assert caught.value.message == "a decoder cannot use pattern 'random-blocks'"


def bigbird(block: int, count: int, **given):
    of = (
        pattern("blocks", size=block, back=1, ahead=1), pattern("global", first=block, last=block),
        pattern("random-blocks", count=count, block=block, **given),
    )  # fmt: skip
    return mixer(attention(heads=2, pattern=pattern("union", of=of)), 6, "none", layer=2)


@pytest.mark.parametrize(("n", "spread"), [(26, "heads"), (23, "heads"), (26, "all")])
def test_the_whole_pattern_by_the_formula(n, spread):
    made, blocks = bigbird(2, 2, spread=spread), -(-n // 2)
    parts = [part for count, part in build(2, count=2, block=2, spread=spread).groups(2) for _ in range(count)]
    drawn = [plan(part, blocks, n) for part in parts]

    def allowed(h, i, j):
        c, d = i // 2, j // 2
        ends = i < 2 or j < 2 or i >= n - 2 or j >= n - 2
        return ends or abs(c - d) <= 1 or d in drawn[h][c]

    agree(made, rows(1, n, 6), Axis(range(n), total=n), lambda x: naive(made, x, allowed))


def test_padding_does_not_move_the_plan():
    made, x, lengths = bigbird(2, 2), rows(3, 30, 6), (30, 21, 3)
    valid = torch.arange(30) < torch.tensor(lengths)[:, None]
    found = made(x * valid[..., None], Axis(range(30), valid, total=30)).x

    for row, n in enumerate(lengths):
        alone = made(x[row : row + 1, :n], Axis(range(n), total=n)).x
        torch.testing.assert_close(found[row : row + 1, :n], alone, rtol=0, atol=1e-12)
