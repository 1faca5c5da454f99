"""First: the query is one of the first ones, whatever the key is.

Maths    S_i = {0 .. n - 1} for i < size, else nothing
Shapes   q (b n h d), k (b m g d);  one sequence
Cost     size n pairs per head; size (size + 1) / 2 in a decoder, where the cache keeps keys for size steps
Limits   all other queries read nothing: it says which rows a member of `rows` answers, or joins other patterns
Paper    a building block of this project; queries of the first tokens: Beltagy, Peters, Cohan, Longformer, 2020,
         arXiv:2004.05150, s. 3.1
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Count, Pattern, Point, Run, Steady, Tiles, hookimpl, option, options


@options
class First(Pattern):
    size: Count = option(main=True)
    """Queries at the start of the sequence, rows before the first token counted in addition."""

    def allows(self, q: Point, k: Point) -> Any:
        return q.at + k.at * 0 < self.size

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if not queries or not keys or queries.step != 1 or keys.step != 1:
            return super().cover(queries, keys, causal)
        last = min(queries.stop, self.size)
        cols = min(keys.stop, last) - keys.start if causal else len(keys)
        run = Run(
            count=1, rows=last - queries.start, cols=cols, q_start=queries.start, q_step=0, k_start=keys.start,
            k_step=0,
        )  # fmt: skip
        return (run,) if run.rows > 0 and run.cols > 0 else ()

    def steady(self, length: int) -> Steady:
        return Steady(low=self.size)

    def last_reader(self, at: Any) -> Any:
        return at * 0 + self.size - 1


@hookimpl
def components():
    return [Component(kind="pattern", name="first", options=First)]
