"""Window: a query reads its neighbours, on both sides, or those before it in a decoder.

Maths    S_i = {i + dilation a : -size <= a <= size};  in a decoder -size <= a <= 0
Shapes   q (b n h d), k (b m g d);  one sequence
Cost     n (2 size + 1) - dilation size (size + 1) pairs per head; n (size + 1) - dilation size (size + 1) / 2 in a
         decoder; the cache keeps size dilation + 1 keys
Limits   l layers see l size dilation positions far; a dilation above 1 alone never leaves its residue class
Paper    Beltagy, Peters, Cohan, Longformer, 2020, arXiv:2004.05150, s. 3.1 (there size is half of w)
"""

from __future__ import annotations

from typing import Any

from xcompose.api import TILE, Component, Count, Pattern, Point, Run, Steady, Tiles, hookimpl, option, options


@options
class Window(Pattern):
    size: Count = option(main=True)
    """Keys on each side of the query, itself not counted."""
    dilation: Count = option(1, at_least=1)
    """Distance between neighbouring keys."""

    def allows(self, q: Point, k: Point) -> Any:
        apart = q.at - k.at
        near = (apart <= self.size * self.dilation) & (-apart <= self.size * self.dilation)
        return near if self.dilation == 1 else near & (apart % self.dilation == 0)

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if not queries or not keys:
            return ()
        if queries.step != 1 or keys.step != 1:
            return self._sparse_cover(queries, keys, causal)
        gap = self.dilation
        behind, ahead = self._reach(queries, keys, causal)
        runs = []
        for residue in range(min(gap, len(queries))):
            length = -(-(len(queries) - residue) // gap)
            rows = min(TILE, length)
            start = queries.start + residue
            runs.append(
                Run(
                    count=-(-length // rows), rows=rows, cols=rows + behind + ahead,
                    q_start=start, q_step=rows * gap, k_start=start - behind * gap, k_step=rows * gap,
                    q_stride=gap, k_stride=gap, allows=self.allows,
                ).clipped(queries, keys)
            )  # fmt: skip
        return tuple(runs)

    def steady(self, length: int) -> Steady:
        return Steady()

    def last_reader(self, at: Any) -> Any:
        return at + self.size * self.dilation

    def _reach(self, queries: range, keys: range, causal: bool) -> tuple[int, int]:
        """How many keys behind and ahead of a query there are to read at most."""
        behind = min(self.size, max(0, queries[-1] - keys[0]) // self.dilation)
        ahead = 0 if causal else min(self.size, max(0, keys[-1] - queries[0]) // self.dilation)
        return behind, ahead

    def _sparse_cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        """Over slots at every keys.step-th position: tiles of rows that move by a multiple of this step."""
        if queries.step != 1 or keys.step < 1 or self.dilation != 1:
            return super().cover(queries, keys, causal)
        step = keys.step
        behind, ahead = self._reach(queries, keys, causal)
        rows = step * max(1, TILE // step)
        first = keys.start + (queries.start - behind - keys.start) // step * step
        return (
            Run(
                count=-(-len(queries) // rows), rows=rows, cols=(queries.start + rows - 1 + ahead - first) // step + 1,
                q_start=queries.start, q_step=rows, k_start=first, k_step=rows, k_stride=step, allows=self.allows,
            ),
        )  # fmt: skip


@hookimpl
def components():
    return [Component(kind="pattern", name="window", options=Window, also=("sliding-window", "band"))]
