"""Strided: a query reads every stride-th key, counted from itself.

Maths    S_i = {j : (i - j) mod stride = 0};  in a decoder also j <= i
Shapes   q (b n h d), k (b m g d);  one sequence
Cost     n^2 / stride pairs per head, half of it in a decoder, none computed in vain; with stride near sqrt(n) this is
         O(n sqrt(n)); the cache keeps every key
Limits   alone it never leaves a residue class: join it with a local pattern, window(64) | strided(64)
Paper    Child et al., Generating Long Sequences with Sparse Transformers, 2019, arXiv:1904.10509, s. 4.3
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Count, Pattern, Point, Run, Steady, Tiles, hookimpl, option, options


@options
class Strided(Pattern):
    stride: Count = option(main=True, at_least=1)
    """Distance between the keys that a query reads."""

    def allows(self, q: Point, k: Point) -> Any:
        return (q.at - k.at) % self.stride == 0

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if not queries or not keys or queries.step != 1 or keys.step != 1:
            return super().cover(queries, keys, causal)
        stride = self.stride
        first_key = keys.start - (keys.start - queries.start) % stride
        return (
            Run(
                count=min(stride, len(queries)), rows=-(-len(queries) // stride),
                cols=-(-(keys.stop - first_key) // stride), q_start=queries.start, q_step=1,
                k_start=first_key, k_step=1, q_stride=stride, k_stride=stride,
            ),
        )  # fmt: skip

    def steady(self, length: int) -> Steady:
        return Steady()


@hookimpl
def components():
    return [Component(kind="pattern", name="strided", options=Strided)]
