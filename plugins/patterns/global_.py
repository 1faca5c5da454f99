"""Global tokens: the first (or last) ones are read by all and read all.

Maths    S_i = {j : i or j is global};  t is global when t < first or t >= n - last
Shapes   q (b n h d), k (b m g d);  one sequence
Cost     2 n g - g^2 pairs per head for g = first + last global tokens; n first or less in a decoder, where the cache
         keeps the global keys
Limits   last counts from the end of each sequence, and a decoder has no end: there only first works;
         the global queries use the projections of all others
Paper    Beltagy, Peters, Cohan, Longformer, 2020, arXiv:2004.05150, s. 3.1; Zaheer et al., Big Bird, 2020,
         arXiv:2007.14062, s. 2
"""

from __future__ import annotations

from typing import Any

from xcompose.api import (
    NEVER,
    Component,
    Count,
    DependsOnLength,
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
class Global(Pattern):
    first: Count = option(0, main=True)
    """Global tokens at the start of the sequence."""
    last: Count = option(0)
    """Global tokens at its end; for encoders."""

    @property
    def needs_length(self) -> bool:  # type: ignore[override]
        return self.last > 0

    def allows(self, q: Point, k: Point) -> Any:
        found = (q.at < self.first) | (k.at < self.first)
        if self.last:
            found = found | (q.at >= q.length - self.last) | (k.at >= q.length - self.last)
        return found

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if causal and self.last:
            raise DependsOnLength
        if not queries or not keys or queries.step != 1 or keys.step != 1:
            return super().cover(queries, keys, causal)
        end = keys.stop - self.last
        ends = (range(min(self.first, end)), range(max(end, 0), keys.stop)) if self.last else (range(self.first),)
        middle = range(self.first, max(end, self.first))
        columns = [_tile(queries, part, queries, keys) for part in ends]
        rows = [] if causal else [_tile(part, middle, queries, keys) for part in ends]
        return tuple(tile for tile in columns + rows if tile.rows and tile.cols)

    def steady(self, length: int) -> Steady:
        return Steady(low=self.first, high=length - self.last if self.last else NEVER)

    def last_reader(self, at: Any) -> Any:
        if self.last:
            return super().last_reader(at)
        return (at < self.first) * (NEVER - self.first + 1) + self.first - 1


def _tile(rows: range, cols: range, queries: range, keys: range) -> Run:
    return Run(
        count=1, rows=len(rows), cols=len(cols), q_start=rows.start, q_step=0, k_start=cols.start, k_step=0,
    ).clipped(queries, keys)  # fmt: skip


def _build(options: Global, context: Any) -> Global:
    if not options.first + options.last:
        raise PartError(
            "global needs a number of tokens, found none",
            label="no token is global, so no query may read anything",
            fixes=("write how many of the first tokens are global: global(1)",),
            option="first",
        )
    return options


@hookimpl
def components():
    return [Component(kind="pattern", name="global", options=Global, build=_build)]
