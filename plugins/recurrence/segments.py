"""Segments: a query reads its own segment, and rows of earlier ones through which no gradient flows.

Maths    position i lies in segment s = floor(i / L);  it reads tokens of s, and rows j with s L - M <= j < s L
         of these rows keys and values are projected anew from sg(x_j), where sg stops the gradient
Shapes   x (b n c);  k, v (b n g d)
Cost     n (L / 2 + M) pairs a head, and a second projection of keys and values;  a decoder keeps at most L + M rows
         and L keys and values
Limits   decoders only;  rows are kept as attention receives them, so with a norm before attention its parameters learn
         from a segment's own rows only;  positions are absolute, so use a relative position or rotary
Paper    Dai et al., Transformer-XL, ACL 2019, arXiv:1901.02860, s. 3.2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from einops import rearrange
from torch import Tensor

from xcompose.api import (
    Axis,
    Component,
    Context,
    Count,
    Memory,
    PartError,
    Pattern,
    Point,
    Run,
    Slots,
    Spans,
    Steady,
    Tiles,
    append,
    drop,
    hookimpl,
    kept,
    option,
    options,
)


@options
class SegmentsOptions:
    """Segments."""

    length: Count = option(main=True, at_least=1)
    """Tokens L in a segment."""
    memory: Count = option(at_least=0)
    """Rows M before the segment that its queries may read."""


@attrs.frozen
class OwnSegment(Pattern):
    """Tokens of the query's segment."""

    length: int

    def allows(self, q: Point, k: Point) -> Any:
        return q.at // self.length == k.at // self.length

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        return segment_tiles(queries, self.length, 0, self.length)

    def steady(self, length: int) -> Steady:
        return Steady(self.length)

    def last_reader(self, at: Any) -> Any:
        return at // self.length * self.length + self.length - 1


@attrs.frozen
class EarlierRows(Pattern):
    """Rows before the query's segment, the nearest `memory` ones."""

    length: int
    memory: int

    def allows(self, q: Point, k: Point) -> Any:
        begin = q.at // self.length * self.length
        return (k.at < begin) & (k.at >= begin - self.memory)

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        return segment_tiles(queries, self.length, self.memory, self.memory)

    def steady(self, length: int) -> Steady:
        return Steady(self.length)

    def last_reader(self, at: Any) -> Any:
        """The end of the last segment that begins after the row and at most `memory` behind it."""
        begin = (at + self.memory) // self.length * self.length
        return at + (begin > at) * (begin + self.length - 1 - at)


def segment_tiles(queries: range, length: int, back: int, cols: int) -> Tiles:
    """One tile for each segment of the queries, with the keys from `back` before its start."""
    if not queries or not cols:
        return ()
    first, last = queries.start // length, queries[-1] // length
    return (
        Run(
            count=last - first + 1, rows=length, cols=cols, q_start=first * length, q_step=length,
            k_start=first * length - back, k_step=length,
        ),
    )  # fmt: skip


class Segments(Memory):
    """Earlier rows, detached."""

    level = "rows"

    def __init__(self, options: SegmentsOptions, context: Context):
        super().__init__()
        if context.causal == "none":
            raise PartError(
                "an encoder cannot use recurrence 'segments'",
                label="it sees the whole sequence at once, so there is nothing to carry",
                fixes=("recurrence: none",),
            )  # fmt: skip
        self.dim = context.dim
        self.pattern = EarlierRows(options.length, options.memory)
        self.tokens = OwnSegment(options.length)

    def spans(self, n: int) -> Spans:
        return Spans(range(n), range(n), range(n))

    def slots(self, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Mapping[str, Tensor]]:
        return self._slots(k.detach(), axis.at), {}

    def start(self, batch: int, k: Tensor, v: Tensor) -> Any:
        return {"x": k, "at": torch.zeros(batch, 0, dtype=torch.long, device=k.device)}

    def extend(self, state: Any, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Any, Mapping[str, Tensor]]:
        rows = append(state, {"x": k.detach()}, axis)
        anew = state["at"].shape[1] == 0 and isinstance(axis.at, range)
        return self._slots(rows["x"], axis.at if anew else rows["at"]), drop(rows, self.pattern.last_reader, axis), {}

    def state_shape(self, n: int, groups: int, width: int, value_width: int) -> Mapping[str, tuple[int, ...]]:
        m = kept(self.pattern, range(n), n)
        return {"x": (m, self.dim), "at": (m,)}

    @staticmethod
    def _slots(x: Tensor, at: range | Tensor) -> Slots:
        rows = rearrange(x, "b n c -> b n 1 c")
        return Slots(rows, rows, at)


@hookimpl
def components():
    return [
        Component(kind="recurrence", name="segments", options=SegmentsOptions, build=Segments, also=("transformer-xl",))
    ]
