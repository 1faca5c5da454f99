"""Layer normalisation: each row to mean 0 and variance 1, then scaled and shifted.

Maths    y = (x - mean(x)) / sqrt(var(x) + eps) * g + b, mean and biased variance over the c features of a row
Shapes   x, y (... c);  g, b (c)
Cost     time O(n c), memory O(n c)
Limits   none
Paper    Ba, Kiros, Hinton, Layer Normalization, 2016, arXiv:1607.06450, s. 3.1
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xcompose.api import Component, Context, Norm, Real, exact, hookimpl, option, options


@options
class LayerNormOptions:
    """Options of layer normalisation."""

    eps: Real = option(1e-5, above=0)
    """Added to the variance."""
    shift: bool = option(True)
    """Whether b is learned; else it is 0."""


class LayerNorm(Norm):
    def __init__(self, options: LayerNormOptions, context: Context):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(context.dim))
        self.bias = nn.Parameter(torch.zeros(context.dim)) if options.shift else None
        self.eps = options.eps

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else exact(self.bias)
        return F.layer_norm(exact(x), self.weight.shape, exact(self.weight), bias, self.eps).to(x.dtype)


@hookimpl
def components():
    return [Component(kind="norm", name="layer", options=LayerNormOptions, build=LayerNorm, also=("layernorm", "ln"))]
