"""Blocks: the sequence is cut into blocks; a query reads its own block and some of its neighbours.

Maths    S_i = {j : floor(i / size) - back <= floor(j / size) <= floor(i / size) + ahead};  in a decoder ahead is 0
Shapes   q (b n h d), k (b m g d);  one sequence; n need not be a multiple of size
Cost     n size (1 + back + ahead) pairs per head at most, no pair is computed in vain except for the last block;
         the cache keeps (1 + back) size keys at most
Limits   with back = ahead = 0 nothing ever crosses a block's border
Paper    Qiu et al., Blockwise Self-Attention, 2019, arXiv:1911.02972; Liu et al., 2018, arXiv:1801.10198, s. 4.2.4
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Count, Pattern, Point, Run, Steady, Tiles, hookimpl, option, options


@options
class Blocks(Pattern):
    size: Count = option(main=True, at_least=1)
    """Positions in a block."""
    back: Count = option(0)
    """Earlier blocks that are read too."""
    ahead: Count = option(0)
    """Later blocks that are read too; none of them in a decoder."""

    def allows(self, q: Point, k: Point) -> Any:
        apart = q.at // self.size - k.at // self.size
        return (apart <= self.back) & (-apart <= self.ahead)

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if not queries or not keys or queries.step != 1 or keys.step != 1:
            return super().cover(queries, keys, causal)
        size = self.size
        first, last = queries[0] // size, queries[-1] // size
        back = min(self.back, max(0, last - keys[0] // size))
        ahead = 0 if causal else min(self.ahead, max(0, keys[-1] // size - first))
        run = Run(
            count=last - first + 1, rows=size, cols=size * (back + 1 + ahead),
            q_start=first * size, q_step=size, k_start=(first - back) * size, k_step=size,
        ).clipped(queries, keys)  # fmt: skip
        return (run,) if run.cols else ()

    def steady(self, length: int) -> Steady:
        return Steady(period=self.size)

    def last_reader(self, at: Any) -> Any:
        return (at // self.size + self.back + 1) * self.size - 1


@hookimpl
def components():
    return [Component(kind="pattern", name="blocks", options=Blocks, also=("blockwise", "chunked"))]
