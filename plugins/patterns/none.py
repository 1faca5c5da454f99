"""No token is read; a layer that has a memory reads the memory alone.

Maths    S_i = {}
Shapes   q (b n h d);  any number of keys
Cost     no pairs; the cache keeps no token
Limits   beside a memory only: alone it would leave every query without a key
Paper    Liu et al., Generating Wikipedia by Summarizing Long Sequences, 2018, arXiv:1801.10198, s. 4.2.4 (M layers)
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Pattern, Point, Steady, Tiles, hookimpl, options


@options
class Nothing(Pattern):
    crosses = True
    empty = True
    prefix_pairs = "none"

    def allows(self, q: Point, k: Point) -> Any:
        return (q.at - k.at) * 0 == 1

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        return ()

    def steady(self, length: int) -> Steady:
        return Steady()

    def last_reader(self, at: Any) -> Any:
        return at - 1


@hookimpl
def components():
    return [Component(kind="pattern", name="none", options=Nothing)]
