"""Random blocks: each block of queries reads a few blocks drawn from those that windows and global ends leave.

Maths    the sequence has t = ceil(n / block) blocks; block c of 1 .. t - 2 draws min(count, t - 5) distinct ones of
         {1 .. t - 2} without {c - 1, c, c + 1}, where block 1 leaves out t - 2, too, and block t - 2 leaves out 1;
         one from each of count equal parts of them. S_i = {j : the block of i drew the block of j}
         The draws are a hash of (seed, number of the layer, of the head, c, number of the draw)
Shapes   q (b n h d), k (b m g d);  one sequence of known length; n need not be a multiple of block
Cost     (t - 2) count block^2 pairs per head for n = t block. Joined to blocks(b, back=1, ahead=1) and
         global(first=b, last=b): b^2 (2 t + 2 (4 + count) + (t - 4) (5 + count)) pairs. A plan is made once for each
         length, layer and head; with spread=heads the kernel is called for each head by itself
Limits   the length decides what is drawn, so a decoder refuses it; `random` draws without looking at the length.
         Where fewer than count blocks are left, all of them are drawn: nothing else changes in short sequences. Links
         are read one way, by the block that drew. The last block may be a part of one; global(last=b) counts from the
         end. The released plan draws from the first few blocks at some lengths; here all that are left are about as
         likely
Paper    Zaheer et al., Big Bird, 2020, arXiv:2007.14062, s. 2; blocks: the released code
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from xcompose.api import (
    Component,
    Count,
    DependsOnLength,
    Gather,
    Grouped,
    Pattern,
    Point,
    Tiles,
    hookimpl,
    option,
    options,
)

BITS = 31  # products of two such numbers fit in 64 bits, so integers, numpy and tensors agree
MASK = 2**BITS - 1


@options
class RandomBlocksOptions:
    count: Count = option(main=True, at_least=1)
    """Blocks that each block draws."""
    block: Count = option(1, at_least=1)
    """Positions in a block."""
    seed: Count = option(0)
    """Another number gives other blocks."""
    spread: Literal["heads", "all"] = option("heads")
    """heads: every head draws for itself. all: the heads of a layer have one plan, which is quicker."""


@attrs.frozen
class Draws(Pattern):
    """One plan."""

    needs_length = True

    count: int
    block: int
    seed: int
    """Below 2^31; layer and head are in it already."""

    def allows(self, q: Point, k: Point) -> Any:
        blocks = -(-q.length // self.block)
        row, col = q.at // self.block, k.at // self.block
        found = self.drawn(row, 0, blocks) == col
        for number in range(1, self.count):
            found = found | (self.drawn(row, number, blocks) == col)
        return found & (row >= 1) & (row <= blocks - 2) & (col >= 0)

    def drawn(self, row: Any, number: int, blocks: Any) -> Any:
        """Which block a row (integer or array, 1 .. blocks - 2) draws; -1 where none is left for this draw."""
        left = (blocks > 5) * (blocks - 5)
        start, end = left * number // self.count, left * (number + 1) // self.count
        choice = start + (self._hash(row, number) * (end - start) >> BITS)
        # Counted among those left: from block 1 on, with a gap of three around the row.
        block = choice + 3 * (choice + 2 >= row) + (row != 1) + (row == blocks - 2)
        return (start < end) * (block + 1) - 1

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if causal:
            raise DependsOnLength
        if not queries or not keys or queries.step != 1 or keys.step != 1:
            return super().cover(queries, keys, causal)
        import numpy as np

        blocks = -(-keys.stop // self.block)
        rows = np.arange(max(1, queries.start // self.block), min(blocks - 2, queries[-1] // self.block) + 1)
        drawn = np.stack([self.drawn(rows, number, blocks) for number in range(self.count)], 1)
        asking, asked = self._positions(rows[:, None], queries), self._positions(drawn, keys)
        used = (asking >= 0).any(1) & (asked >= 0).any(1)
        return (Gather(queries=asking[used], keys=asked[used]),) if used.any() else ()

    def _hash(self, row: Any, number: int) -> Any:
        found = (row * 0x2F5C1B37 ^ self.seed ^ number * 0x3C9E4D15) & MASK
        for factor in (0x5A2E9B5, 0x6D3C7F1, 0x4B8D12D):
            found = ((found ^ (found >> 15)) * factor) & MASK
        return found ^ (found >> 15)

    def _positions(self, blocks: Any, where: range) -> Any:
        """The positions of blocks (t s) as (t, s block); -1 where there are none."""
        import numpy as np

        at = blocks[:, :, None] * self.block + np.arange(self.block)
        there = (blocks[:, :, None] >= 0) & (at >= where.start) & (at < where.stop)
        return np.where(there, at, -1).reshape(len(blocks), blocks.shape[1] * self.block)


@attrs.frozen
class PerHead(Grouped):
    """A plan for each head."""

    needs_length = True

    count: int
    block: int
    seed: int

    def groups(self, heads: int) -> tuple[tuple[int, Pattern], ...]:
        return tuple((1, Draws(self.count, self.block, mixed(self.seed, head + 1))) for head in range(heads))


def mixed(*numbers: int) -> int:
    """One number of several, below 2^31."""
    found = 0
    for number in numbers:
        found = ((found ^ number) * 0x1D8AF1A3 + 0x3C6EF35F) & MASK
        found ^= found >> 13
    return found


def _build(options: RandomBlocksOptions, context: Any) -> Pattern:
    seed = mixed(options.seed & MASK, options.seed >> BITS, context.layer)
    made = Draws if options.spread == "all" else PerHead
    return made(options.count, options.block, seed)


@hookimpl
def components():
    return [
        Component(
            kind="pattern", name="random-blocks", options=RandomBlocksOptions, build=_build, facts={"stochastic": True}
        )
    ]
