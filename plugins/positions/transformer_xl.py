"""Transformer-XL's relative position: a learned view of the distance, and two learned queries that ask everyone.

Maths    logit_ij = ((q_i + u) k_j + (q_i + v) (W_R R_{i-j})) / sqrt(d);  u, v for each head, the same in all layers
         R_t = (sin(t w_0), .., sin(t w_{c/2-1}), cos(t w_0), .., cos(t w_{c/2-1}));  w_s = 10000^(-2 s / c)
Shapes   q (b n h d);  k (b m g d);  u, v (h d);  W_R (h d, c) in each layer, without bias
Cost     c^2 parameters a layer; (2 m) d for each query and head, beside the d of its products
Limits   softmax only, with the scale 1 / sqrt(d); beyond `clamp` all distances look alike
Paper    Dai et al., Transformer-XL, ACL 2019, arXiv:1901.02860, s. 3.3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from xcompose.api import NEVER, Component, Context, Count, PartError, Point, Position, Term, hookimpl, option, options

BASE = 10000.0
"""The slowest wave has a length of 2 pi times this many tokens."""


@options
class TransformerXLOptions:
    """Transformer-XL's relative position."""

    clamp: Count | None = option(None, at_least=1)
    """The largest distance that is told from smaller ones; none if not written."""


class TransformerXL(Position):
    """u is a turn of the query; v and the distances are a term."""

    def __init__(self, options: TransformerXLOptions, context: Context):
        super().__init__()
        if context.dim % 2:
            raise PartError(f"position 'transformer-xl' needs an even 'dim', found {context.dim}")
        self.clamp, self.dim, self.causal = options.clamp, context.dim, context.causal != "none"
        if context.heads is None or context.head_dim is None:
            return
        shape = (context.heads, context.head_dim)
        self.u = context.shared(("transformer-xl u", *shape), lambda: asking(shape))
        self.v = context.shared(("transformer-xl v", *shape), lambda: asking(shape))
        self.r = nn.Linear(context.dim, shape[0] * shape[1], bias=False)

    def turn(self, t: Tensor, at: Tensor, side: Literal["query", "key"]) -> Tensor:
        return t + self.u.to(t.dtype) if side == "query" else t

    def terms(self, heads: int, head_dim: int) -> Sequence[Term]:
        return (Distances(self),)


class Distances(Term):
    """(q + v) (W_R R)."""

    trainable = True

    def __init__(self, position: TransformerXL):
        self.position = position

    def label(self, q: Point, k: Point) -> Any:
        """i - j; in a decoder never below 0, where the causal rule hides the pair anyway."""
        apart, limit = q.at - k.at, self.position.clamp
        limit = NEVER if limit is None else limit
        return torch.clamp(apart, 0 if self.position.causal else -limit, limit)

    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        position = self.position
        low, high = bounds(labels, q.shape[1])
        distances = torch.arange(low, high + 1, device=q.device)
        seen = rearrange(position.r(waves(distances, position.dim).to(q.dtype)), "t (h d) -> t h d", h=q.shape[2])
        scores = einsum(q + position.v.to(q.dtype), seen, "b n h d, t h d -> b h n t") * q.shape[-1] ** -0.5
        index = (labels - low).expand(q.shape[0], 1, q.shape[1], labels.shape[-1])
        return scores.gather(-1, index.expand(-1, q.shape[2], -1, -1))


def bounds(labels: Tensor, rows: int) -> tuple[int, int]:
    """Smallest and largest label. Without data, what a tile of neighbours can have at most."""
    if labels.is_meta:
        return 0, rows + labels.shape[-1] - 2
    return int(labels.min()), int(labels.max())


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
