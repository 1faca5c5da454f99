"""Dense: every query may read every key.

Maths    S_i = {j : 0 <= j < n};  in a decoder the core keeps j <= i
Shapes   q (b n h d), k (b m g d);  also between two sequences, n != m
Cost     n m pairs per head; n (n + 1) / 2 in a decoder; the cache keeps every key
Limits   quadratic; the yardstick for all others
Paper    Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762, s. 3.2
"""

from __future__ import annotations

from typing import Any

import attrs

from xcompose.api import Component, Pattern, Point, Steady, Tiles, hookimpl, options


@options
class Dense(Pattern):
    crosses = True
    full = True

    def allows(self, q: Point, k: Point) -> Any:
        return (q.at - k.at) * 0 == 0

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        return tuple(attrs.evolve(tile, allows=None) for tile in super().cover(queries, keys, causal))

    def steady(self, length: int) -> Steady:
        return Steady()


@hookimpl
def components():
    return [Component(kind="pattern", name="dense", options=Dense, also=("full",))]
