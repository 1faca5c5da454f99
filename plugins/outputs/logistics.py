"""A mixture of logistics over values on a scale, such as those of pixels: near values are likely together.

Maths    y_v = 2 v / (V - 1) - 1, the V values between -1 and 1;  D = 2 / (V - 1);  e_v = y_v + D / 2, the edges between
         [log pi, mu, t]_1..k = W x + b;  F_k(e) = sigmoid((e - mu_k) / s_k), s_k = exp(max(t_k, -7))
         logits_v = log sum_k softmax(log pi)_k (F_k(e_v) - F_k(e_{v-1})), with F(e_{-1}) = 0 and F(e_{V-1}) = 1
Shapes   x (b n c);  W (3k c);  logits (b n v), logarithms of probabilities
Cost     time and memory O(n k v), beside 3 k c n for the rows;  3 k (c + 1) parameters, whatever v is
Limits   values must lie on a scale: useless for letters;  each value by itself, colours are not mixed with each other
Paper    Salimans et al., PixelCNN++, ICLR 2017, arXiv:1701.05517, s. 2.1
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcompose.api import Axis, Component, Context, Count, Output, PartError, exact, hookimpl, option, options

NARROWEST = -7.0
"""The logarithm of the smallest scale: a ninth of the distance between two of 256 values."""


@options
class LogisticsOptions:
    """Options of the mixture."""

    mixtures: Count = option(10, main=True, at_least=1)
    """Number of logistics k."""


class Logistics(Output):
    edges: Tensor

    def __init__(self, options: LogisticsOptions, context: Context):
        super().__init__()
        if context.vocab < 2:
            raise PartError(
                f"output 'logistics' needs at least 2 values on its scale, found 'vocab' {context.vocab}",
                fixes=("vocab: 256",),
            )
        # no ToLogits: starts of all zeros, which suit logits, would leave all mixtures the same for ever
        self.linear = nn.Linear(context.dim, 3 * options.mixtures)
        self.distance = 2 / (context.vocab - 1)
        edges = (torch.arange(context.vocab - 1) + 0.5) * self.distance - 1
        self.register_buffer("edges", edges, persistent=False)

    def extra_repr(self) -> str:
        return f"{self.linear.out_features // 3} logistics over {len(self.edges) + 1} values"

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        share, centre, scale = exact(self.linear(x)).unsqueeze(-1).chunk(3, -2)
        sharp = scale.clamp(min=NARROWEST).neg().exp()
        z = (self.edges.to(centre) - centre) * sharp
        # F(b) - F(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): no difference of numbers that are nearly alike
        between = torch.log(-torch.expm1(-self.distance * sharp)).expand(*z.shape[:-1], z.shape[-1] - 1)
        below, above = functional.logsigmoid(z), functional.logsigmoid(-z)
        found = functional.pad(below, (0, 1)) + functional.pad(above, (1, 0)) + functional.pad(between, (1, 1))
        return torch.logsumexp(share.log_softmax(-2) + found, -2)


@hookimpl
def components():
    return [
        Component(
            kind="output", name="logistics", options=LogisticsOptions, build=Logistics, also=("mixture-of-logistics",)
        )
    ]
