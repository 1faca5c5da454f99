"""Transformer-XL's relative position: a learned view of the distance, and two learned queries that ask everyone.

Maths    logit_ij = ((q_i + u) k_j + (q_i + v) (W_R R_{i-j})) / sqrt(d);  u, v for each head, the same in all layers
         unless `untied`;  in training the numbers of R are dropped with the rate `dropout`
         R_t = (sin(t w_0), .., sin(t w_{c/2-1}), cos(t w_0), .., cos(t w_{c/2-1}));  w_s = 10000^(-2 s / c)
Shapes   q (b n h d);  k (b m g d);  u, v (h d);  W_R (h d, c) in each layer, without bias
Cost     c^2 parameters a layer;  (2 m) d for each query and head, beside the d of its products;  W_R R once for all
         distances of a call, (n + m) c h d;  fewer queries than d are projected instead, n c h d, then c a pair
Limits   softmax only, with the scale 1 / sqrt(d); beyond `clamp` all distances look alike; each layer, and in it each
         source of slots, drops numbers of R by itself, where the paper's code drops the same in all layers
Paper    Dai et al., Transformer-XL, ACL 2019, arXiv:1901.02860, s. 3.3; `clamp`, `dropout`, `untied`: its released code
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from xcompose.api import (
    NEVER,
    Component,
    Context,
    Count,
    Matrix,
    PartError,
    Point,
    Position,
    Real,
    Term,
    asked,
    hookimpl,
    looked_up,
    option,
    options,
)

BASE = 10000.0
"""The slowest wave has a length of 2 pi times this many tokens."""


@options
class TransformerXLOptions:
    """Transformer-XL's relative position."""

    clamp: Count | None = option(None, at_least=1)
    """The largest distance that is told from smaller ones; none if not written."""
    dropout: Real = option(0.0, at_least=0, at_most=1)
    """Share of the numbers of R that are dropped in training."""
    untied: bool = option(False)
    """Whether every layer has u and v of its own."""


class TransformerXL(Position):
    """u is a turn of the query; v and the distances are a term."""

    def __init__(self, options: TransformerXLOptions, context: Context):
        super().__init__()
        if context.dim % 2:
            raise PartError(f"position 'transformer-xl' needs an even 'dim', found {context.dim}")
        self.clamp, self.dim, self.causal = options.clamp, context.dim, context.causal != "none"
        self.dropout = nn.Dropout(options.dropout)
        if context.heads is None or context.head_dim is None:
            return
        shape = (context.heads, context.head_dim)
        own = (lambda key, make: make()) if options.untied else context.shared
        self.u = own(("transformer-xl u", *shape), lambda: asking(shape))
        self.v = own(("transformer-xl v", *shape), lambda: asking(shape))
        self.r = Matrix(context.dim, shape[0] * shape[1], bias=False)

    def turn(self, t: Tensor, at: Tensor, side: Literal["query", "key"]) -> Tensor:
        return t + self.u.to(t.dtype) if side == "query" else t

    def terms(self, heads: int, head_dim: int) -> Sequence[Term]:
        return (Distances(self),)

    def waves(self, distances: Tensor) -> Tensor:
        """R at these distances, dropped: (t c)."""
        return self.dropout(waves(distances, self.dim).to(self.r.weight.dtype))

    def seen(self, distances: Tensor) -> Tensor:
        """W_R R: (t h d)."""
        return rearrange(self.r(self.waves(distances)), "t (h d) -> t h d", h=self.v.shape[0])


class Distances(Term):
    """(q + v) (W_R R).

    Args:
        seen: W_R R for the distances from `low` on, where it was made for all tiles of a read.
    """

    trainable = True
    by_distance = True

    def __init__(self, position: TransformerXL, seen: Tensor | None = None, low: int = 0):
        self.position, self.seen, self.low = position, seen, low
        self.anywhere = position.clamp is not None

    def label(self, q: Point, k: Point) -> Any:
        """i - j; in a decoder never below 0, where the causal rule hides the pair anyway."""
        low, high = self._limits()
        return torch.clamp(q.at - k.at, low, high)

    def ready(self, apart: range) -> Term:
        low, high = (min(max(end, self._limits()[0]), self._limits()[1]) for end in (apart[0], apart[-1]))
        distances = torch.arange(low, high + 1, device=self.position.r.weight.device)
        return Distances(self.position, self.position.seen(distances), low)

    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        position = self.position
        asking = q + position.v.to(q.dtype)
        if self.seen is None and q.shape[0] * q.shape[1] < q.shape[3]:
            # Few queries: they are projected, not all distances.
            each = rearrange(position.r.weight.to(q.dtype), "(h d) c -> h d c", h=q.shape[2])
            asking = einsum(asking, each, "b n h d, h d c -> b n h c")
            found = asked(asking, labels, lambda which: position.waves(which).to(q.dtype)[:, None])
        else:
            found = asked(asking, labels, lambda which: self._seen(which).to(q.dtype))
        return found * q.shape[-1] ** -0.5

    def _seen(self, distances: Tensor) -> Tensor:
        return self.position.seen(distances) if self.seen is None else looked_up(self.seen, distances - self.low)

    def _limits(self) -> tuple[int, int]:
        limit = NEVER if self.position.clamp is None else self.position.clamp
        return 0 if self.position.causal else -limit, limit


def waves(distances: Tensor, dim: int) -> Tensor:
    """R, (t c): sines, then cosines."""
    steps = torch.arange(dim // 2, device=distances.device, dtype=torch.float64) / (dim // 2)
    angles = distances[:, None] * BASE**-steps
    return torch.cat([angles.sin(), angles.cos()], -1)


def asking(shape: tuple[int, int]) -> nn.Parameter:
    """u or v, as the paper starts them."""
    return nn.Parameter(torch.randn(shape) * 0.02)


@hookimpl
def components():
    return [
        Component(
            kind="position", name="transformer-xl", options=TransformerXLOptions, build=TransformerXL, also=("xl",)
        )
    ]
