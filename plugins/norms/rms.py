"""Root-mean-square normalisation: each row to length sqrt(c), then scaled.

Maths    y = x / sqrt(mean(x^2) + eps) * g, mean over the c features of a row
Shapes   x, y (... c);  g (c)
Cost     time O(n c), memory O(n c)
Limits   keeps the mean of a row
Paper    Zhang, Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019, arXiv:1910.07467, s. 4
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xcompose.api import Component, Context, Norm, Real, exact, hookimpl, option, options


@options
class RmsNormOptions:
    """Options of root-mean-square normalisation."""

    eps: Real = option(1e-6, above=0)
    """Added to the mean square."""


class RmsNorm(Norm):
    def __init__(self, options: RmsNormOptions, context: Context):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(context.dim))
        self.eps = options.eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(exact(x), self.weight.shape, exact(self.weight), self.eps).to(x.dtype)


@hookimpl
def components():
    return [Component(kind="norm", name="rms", options=RmsNormOptions, build=RmsNorm, also=("rmsnorm",))]
