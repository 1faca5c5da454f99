"""Adam: steps scaled by running moments of the gradient.

Maths    g = g + decay w;  m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;  both divided by 1 - b^t
         w = w - lr m / (sqrt(s) + eps)
Shapes   m and s like the weight w
Cost     two more copies of the weights
Limits   its weight decay passes through the moments, so large gradients weaken it; `adamw` keeps it apart
Paper    Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, arXiv:1412.6980, alg. 1
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.optim import Adam, Optimizer

from xcompose.api import Component, Context, OptimizerFactory, Real, hookimpl, option, options, two_betas


@options
class AdamOptions:
    """Adam."""

    betas: tuple[Real, ...] = option((0.9, 0.999), at_least=0, at_most=1)
    """How much of the running moments is kept in a step: of the gradient, of its square."""
    eps: Real = option(1e-8, above=0)
    """Added to the divisor."""
    weight_decay: Real = option(0.0, at_least=0)
    """How strongly weights are drawn to zero, as a part of the gradient."""


def build(options: AdamOptions, context: Context) -> OptimizerFactory:
    """What makes the optimizer from parameter groups and a learning rate."""
    betas = two_betas(options.betas)

    def make(groups: Iterable[Any], lr: float) -> Optimizer:
        return Adam(groups, lr=lr, betas=betas, eps=options.eps, weight_decay=options.weight_decay, fused=True)

    return make


@hookimpl
def components():
    return [Component(kind="optimizer", name="adam", options=AdamOptions, build=build)]
