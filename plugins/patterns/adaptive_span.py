"""Adaptive span: every head learns how far back it reads, and pays for it.

Maths    m_z(x) = min(max((ramp + z - x) / ramp, 0), 1);  z_h = size v_h, v_h in [0, 1] learnt in each layer
         w_ij = m_zh(i - j - 1) exp(s_ij) / sum_k m_zh(i - k - 1) exp(s_ik)  over the `size` positions j < i
         the model's loss gets  loss sum_layers mean_h z_h
Shapes   q (b n h d), k (b m g d), v (h);  one sequence
Cost     h parameters a layer;  sum_i min(i, ceil(z_h + ramp), size) pairs for head h; tiles and cache are those of the
         layer's widest head, and the cache keeps max_h min(size, ceil(z_h + ramp)) keys
Limits   decoders only. The query itself is not read, so the first one reads nothing: the attention needs silence=zero.
         A plan is made for the widest head rounded up to 64, a traced graph reads all of `size`. `loss` counts
         positions, so it does not carry over to another `size`
Paper    Sukhbaatar, Grave, Bojanowski, Joulin, Adaptive Attention Span in Transformers, ACL 2019, arXiv:1905.07799,
         s. 2; the distance i - j - 1 is that of the authors' release
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from xcompose.api import (
    TILE,
    AfterStep,
    Component,
    Context,
    Count,
    PartError,
    Pattern,
    Point,
    Real,
    Run,
    Steady,
    Term,
    Tiles,
    hookimpl,
    option,
    options,
)

EDGE = 1e-30
"""The weight of a key exactly where the ramp ends: nothing, and yet its share of the gradient passes."""


@options
class AdaptiveSpanOptions:
    size: Count = option(main=True, at_least=1)
    """Previous positions that a head can come to read."""
    ramp: Real = option(32, above=0)
    """Positions over which the mask falls from one to zero."""
    loss: Real = option(2e-6, at_least=0)
    """What the loss grows by for each position of a layer's mean span."""
    start: Real = option(0.0, at_least=0, at_most=1)
    """Where the spans start, as a share of `size`."""


@attrs.frozen
class Behind(Pattern):
    """The `reach` positions before the query, itself left out."""

    reach: int

    def allows(self, q: Point, k: Point) -> Any:
        apart = q.at - k.at
        return (apart >= 1) & (apart <= self.reach)

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if not queries or not keys or not self.reach:
            return ()
        if queries.step != 1 or keys.step != 1:
            return super().cover(queries, keys, causal)
        behind = min(self.reach, max(1, queries[-1] - keys.start))
        rows = min(TILE, len(queries))
        return (
            Run(
                count=-(-len(queries) // rows), rows=rows, cols=rows + behind - 1, q_start=queries.start, q_step=rows,
                k_start=queries.start - behind, k_step=rows, allows=self.allows,
            ).clipped(queries, keys),
        )  # fmt: skip

    def steady(self, length: int) -> Steady:
        return Steady()

    def last_reader(self, at: Any) -> Any:
        return at + self.reach


class AdaptiveSpan(Pattern, nn.Module, AfterStep):
    """Spans that move while the model trains."""

    per_head = True

    def __init__(self, options: AdaptiveSpanOptions, context: Context):
        super().__init__()
        if context.causal == "none":
            raise PartError(
                "adaptive-span works in a decoder's own attention only",
                label="its distances count from a query back into its past",
                fixes=("type: decoder", "window(size) reads both sides"),
            )
        assert context.heads is not None, "a pattern is built inside an attention, which knows its heads"
        self.size, self.ramp, self.rate = options.size, float(options.ramp), options.loss
        self.v = nn.Parameter(torch.full((context.heads,), float(options.start)))

    @property
    def spans(self) -> Tensor:
        """(h) z of each head, in positions."""
        return self.size * self.v

    def reaches(self) -> list[int]:
        """How many positions back each head reads: as many as have a mask above zero. All of them without weights."""
        if self.v.is_meta:
            return [self.size] * len(self.v)
        ends = [math.ceil(z + self.ramp) for z in self.spans.detach().double().tolist()]
        return [max(0, min(self.size, end)) for end in ends]

    def widest(self) -> Behind:
        """What the head that reads furthest reads."""
        return Behind(max(self.reaches()))

    def allows(self, q: Point, k: Point) -> Any:
        apart = q.at - k.at
        return (apart >= 1) & (apart <= sum((q.head == h) * reach for h, reach in enumerate(self.reaches())))

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        return self.widest().cover(queries, keys, causal)

    def steady(self, length: int) -> Steady:
        return Steady()

    def last_reader(self, at: Any) -> Any:
        return self.widest().last_reader(at)

    def present(self, traced: bool = False) -> Pattern:
        # One more than is read: the key where a ramp ends has a gradient.
        reach = self.size if traced else self.widest().reach + 1
        return Behind(min(self.size, -(-reach // TILE) * TILE))

    def groups(self, heads: int) -> tuple[tuple[int, Pattern], ...]:
        if heads != len(self.v):
            raise PartError(
                f"adaptive-span has a span for each of {len(self.v)} heads and cannot serve {heads} of them",
                fixes=("the mixer heads(...), which gives each group an attention of its own",),
            )
        return ((heads, self),)

    def terms(self, heads: int) -> Sequence[Term]:
        return (SoftEnd(self),)

    def losses(self) -> Mapping[str, Tensor]:
        return {"span": self.rate * self.spans.mean()}

    def after_step(self) -> None:
        self.v.clamp_(0, 1)


class SoftEnd(Term):
    """log m, which makes a factor of the weight out of a part of the logit."""

    trainable = True

    def __init__(self, pattern: AdaptiveSpan):
        self.pattern = pattern

    def label(self, q: Point, k: Point) -> Any:
        """The distance of a token; 0 for a slot that stands for more than one position, which has no mask."""
        return (q.at - k.at) * (k.first == k.last)

    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        z, ramp = self.pattern.spans.to(q.dtype)[:, None, None], self.pattern.ramp
        ahead = (ramp + z - (labels - 1)) / ramp
        seen = (ahead >= 0) & (labels <= self.pattern.size)
        mask = torch.where(seen, ahead, 1).clamp(0, 1)
        return torch.where(seen, (mask + (mask == 0) * EDGE).log(), -torch.inf)


@hookimpl
def components():
    return [Component(kind="pattern", name="adaptive-span", options=AdaptiveSpanOptions, build=AdaptiveSpan)]
