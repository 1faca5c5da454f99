"""Prefix: every pair with a prefix row, one of the rows that an embedding puts before the tokens.

Maths    S_i = all for i < 0, else {j : j < 0};  prefix rows stand at -g .. -1, tokens at 0 .. n - 1
Shapes   q (b n h d), k (b m g d);  one sequence
Cost     g^2 + 2 g n pairs per head; none in a model without prefix rows
Limits   encoders only, as prefix rows are
Paper    the global tokens of Ainslie et al., ETC, EMNLP 2020, arXiv:2004.08483, s. 3.1
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Pattern, Point, Steady, Tiles, hookimpl, options


@options
class Prefix(Pattern):
    prefix_pairs = "all"

    def allows(self, q: Point, k: Point) -> Any:
        return (q.at < 0) | (k.at < 0)

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        return ()

    def steady(self, length: int) -> Steady:
        return Steady(low=0)

    def last_reader(self, at: Any) -> Any:
        return at


@hookimpl
def components():
    return [Component(kind="pattern", name="prefix", options=Prefix)]
