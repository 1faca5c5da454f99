"""Summary: a query reads the last positions of every block, which are left to sum the blocks up.

Maths    S_i = {j : j mod size in [size - last, size)};  in a decoder also j <= i.
         spread=heads: blocks hold s = floor(size / last) such sub-blocks, and a head of group u in 0 .. s - 1 reads
         {j : size - (u + 1) last <= j mod size < size - u last}, counted from the block's end backwards
Shapes   q (b n h d), k (b m g d);  one sequence; n need not be a multiple of size
Cost     n last n / size pairs per head in an encoder, and for n = q size in a decoder size last q (q - 1) / 2 +
         q last (last + 1) / 2 (for the last sub-block); with size near sqrt(n) this is O(n sqrt(n) last). A query of a
         decoder stands in log2(n / size) tiles; the cache keeps last keys of every block for ever and no other one
Limits   alone, the first queries of a decoder may read nothing: join it with blocks(size), whose sets it completes, or
         with window(0). Head number h of the published code reads sub-block h mod s; here the heads of a sub-block
         stand side by side, in the order of u, as many for each: the same layer with its heads in another order
Paper    Child et al., Generating Long Sequences with Sparse Transformers, 2019, arXiv:1904.10509, s. 4.3 (fixed)
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from xcompose.api import (
    NEVER,
    Component,
    Count,
    Gather,
    Grouped,
    PartError,
    Pattern,
    Point,
    Run,
    Steady,
    Tiles,
    hookimpl,
    option,
    options,
)


@options
class SummaryOptions:
    size: Count = option(main=True, at_least=1)
    """Positions in a block."""
    last: Count = option(1, at_least=1)
    """Positions of every block that are read, the last ones."""
    spread: Literal["all", "heads"] = option("all")
    """all: every head reads the same positions. heads: groups of heads take distinct stretches of `last` positions."""


@attrs.frozen
class Cells(Pattern):
    """Some neighbouring positions of every block; `behind` positions of the block come after them."""

    size: int
    last: int
    behind: int = 0

    @property
    def low(self) -> int:
        return self.size - self.behind - self.last

    def allows(self, q: Point, k: Point) -> Any:
        place = (q.at * 0 + k.at) % self.size
        return (place >= self.low) & (place < self.low + self.last)

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if not queries or not keys or queries.step != 1 or keys.step != 1:
            return super().cover(queries, keys, causal)
        first, stop = keys.start // self.size, keys[-1] // self.size + 1
        if not causal:
            return self._read([queries.start], len(queries), [first], stop - first, queries, keys)
        found, width = list(self._own(queries, keys)), 1
        low, high = queries.start // self.size, queries[-1] // self.size + 1
        while width < high:
            # Stretches of `width` blocks in pairs: the later one reads the earlier one. All widths give all pairs once.
            later = [m for m in range(low // width | 1, -(-high // width), 2) if m * width > first]
            asking = [m * width * self.size for m in later]
            found += self._read(asking, width * self.size, [(m - 1) * width for m in later], width, queries, keys)
            width *= 2
        return tuple(found)

    def steady(self, length: int) -> Steady:
        return Steady(period=self.size)

    def last_reader(self, at: Any) -> Any:
        place = at % self.size
        return ((place >= self.low) & (place < self.low + self.last)) * (NEVER + 1) - 1

    def _own(self, queries: range, keys: range) -> Tiles:
        """The queries of a block that stand among its cells, or behind them."""
        first = max(queries.start, keys.start) // self.size
        count = min(queries[-1], keys[-1]) // self.size - first + 1
        start = first * self.size + self.low
        if count < 1:
            return ()
        run = Run(
            count=count, rows=self.last + self.behind, cols=self.last,
            q_start=start, q_step=self.size, k_start=start, k_step=self.size,
        ).clipped(queries, keys)  # fmt: skip
        return (run,) if run.rows and run.cols else ()

    def _read(
        self, asking: list[int], rows: int, blocks: list[int], count: int, queries: range, keys: range
    ) -> tuple[Gather, ...]:
        """Stretches of queries that read the cells of `count` blocks; they begin at these positions and blocks."""
        import numpy as np

        at = np.array(asking, dtype=int)[:, None] + np.arange(rows)
        block = np.array(blocks, dtype=int)[:, None, None] + np.arange(count)[:, None]
        cells = (block * self.size + self.low + np.arange(self.last)).reshape(-1, count * self.last)
        at = np.where((at >= queries.start) & (at < queries.stop), at, -1)
        cells = np.where((cells >= keys.start) & (cells < keys.stop), cells, -1)
        used = (at >= 0).any(1) & (cells >= 0).any(1)
        return (Gather(queries=at[used], keys=cells[used]),) if used.any() else ()


@attrs.frozen
class Spread(Grouped):
    """Groups of heads that read distinct cells."""

    size: int
    last: int

    def groups(self, heads: int) -> tuple[tuple[int, Pattern], ...]:
        most = min(heads, self.size // self.last)
        counts = [heads // most + (number < heads % most) for number in range(most)]
        return tuple((count, Cells(self.size, self.last, number * self.last)) for number, count in enumerate(counts))


def _build(options: SummaryOptions, context: Any) -> Pattern:
    if options.last > options.size:
        raise PartError(
            f"the last {options.last} positions of a block of {options.size} are more than there are",
            fixes=(f"last={options.size}", f"summary({options.last}, last={options.last})"), option="last",
        )  # fmt: skip
    if options.spread == "heads":
        return Spread(options.size, options.last)
    return Cells(options.size, options.last)


@hookimpl
def components():
    return [Component(kind="pattern", name="summary", options=SummaryOptions, build=_build, also=("fixed",))]
