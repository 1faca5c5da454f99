"""Random links between blocks, the same ones in training, evaluation, reloads and on every machine.

Maths    block c draws min(count, c) of the blocks 0 .. c - 1 without replacement, one from each of count equal parts;
         i may read j when one of their blocks drew the other. The draws are a hash of (seed, c, number of the draw)
Shapes   q (b n h d), k (b m g d);  one sequence; one plan for all heads of a layer
Cost     n count block pairs per head in a decoder; in an encoder, where links are read both ways, twice that, and
         early blocks, which more blocks could draw, read more than late ones; the cache keeps every key
Limits   a block never draws itself, so the first has no link in a decoder: join it with blocks or a window. No draw
         looks at the length, so that a text reads the same however long it becomes and however it is padded; the
         published plan does look at it
Paper    Zaheer et al., Big Bird, 2020, arXiv:2007.14062, s. 2
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Count, Gather, Pattern, Point, Tiles, hookimpl, option, options

BITS = 31  # products of two such numbers fit in 64 bits, so integers, numpy and tensors agree
MASK = 2**BITS - 1


@options
class Random(Pattern):
    count: Count = option(main=True, at_least=1, at_most=4096)
    """Earlier blocks that each block draws."""
    block: Count = option(1, at_least=1)
    """Positions in a block."""
    seed: Count = option(0)
    """Another number gives other links."""

    def allows(self, q: Point, k: Point) -> Any:
        a, b = q.at // self.block, k.at // self.block
        late = a + (b > a) * (b - a)
        early = a + b - late
        found = self.draw(late, 0) == early
        for number in range(1, self.count):
            found = found | (self.draw(late, number) == early)
        return found & (early < late)

    def draw(self, block: Any, number: int) -> Any:
        """Which earlier block a block (integer or array) draws; meaningless for block 0."""
        start, end = block * number // self.count, block * (number + 1) // self.count
        stream = (self.seed * 0x1D8AF1A3 ^ number * 0x3C9E4D15) & MASK
        found = (block * 0x2F5C1B37 ^ stream) & MASK
        for factor in (0x5A2E9B5, 0x6D3C7F1, 0x4B8D12D):
            found = ((found ^ (found >> 15)) * factor) & MASK
        return start + ((found ^ (found >> 15)) * (end - start) >> BITS)

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if not queries or not keys or queries.step != 1 or keys.step != 1:
            return super().cover(queries, keys, causal)
        import numpy as np

        last = max(queries[-1], keys[-1]) // self.block
        late = np.repeat(np.arange(last + 1), self.count)
        number = np.tile(np.arange(self.count), last + 1)
        early = self._draws(late, number)
        drawn = early >= 0
        links = [(late[drawn], early[drawn])]
        if not causal:
            links.append((early[drawn], late[drawn]))
        return tuple(tile for q, k in links for tile in self._tiles(q, k, queries, keys))

    def _draws(self, late: Any, number: Any) -> Any:
        """The draws of many blocks at once, -1 where one has fewer."""
        import numpy as np

        found = np.full_like(late, -1)
        for which in range(self.count):
            mine = (number == which) & (late * which // self.count < late * (which + 1) // self.count)
            found[mine] = self.draw(late[mine], which)
        return found

    def _tiles(self, q: Any, k: Any, queries: range, keys: range) -> list[Gather]:
        """Tiles for links q[i] -> k[i] between blocks; those with about as many links share a gather."""
        import numpy as np

        order = np.lexsort((k, q))
        q, k = q[order], k[order]
        rows, first, degree = np.unique(q, return_index=True, return_counts=True)
        width = 2 ** np.ceil(np.log2(np.maximum(degree, self.count))).astype(int)
        width = np.where(degree <= self.count, self.count, width)
        found = []
        for size in np.unique(width):
            mine = width == size
            at = first[mine][:, None] + np.arange(size)
            linked = np.where(np.arange(size) < degree[mine][:, None], k[np.minimum(at, len(k) - 1)], -1)
            tile = Gather(queries=self._positions(rows[mine][:, None], queries), keys=self._positions(linked, keys))
            used = (tile.queries >= 0).any(1) & (tile.keys >= 0).any(1)
            if used.any():
                found.append(Gather(queries=tile.queries[used], keys=tile.keys[used]))
        return found

    def _positions(self, blocks: Any, where: range) -> Any:
        """The positions of blocks (t s) as (t, s block); -1 where there are none."""
        import numpy as np

        at = (blocks[:, :, None] * self.block + np.arange(self.block)).reshape(len(blocks), -1)
        return np.where((at >= where.start) & (at < where.stop), at, -1)


@hookimpl
def components():
    return [Component(kind="pattern", name="random", options=Random, facts={"stochastic": True})]
