"""RAdam: Adam whose first steps are held back as long as the spread of the gradient is not known well.

Maths    g = g + decay w;  m = b1 m + (1 - b1) g, s = b2 s + (1 - b2) g^2;  m' = m / (1 - b1^t)
         p = 2 / (1 - b2) - 1;  p_t = p - 2 t b2^t / (1 - b2^t)
         p_t > 5:  w = w - lr r m' sqrt(1 - b2^t) / (sqrt(s) + eps), r^2 = (p_t - 4) (p_t - 2) p / ((p - 4) (p - 2) p_t)
         else:     w = w - lr m'
Shapes   m and s like the weight w
Cost     two more copies of the weights
Limits   its weight decay passes through the moments, so large gradients weaken it;  a warm-up beside it is one more
Paper    Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, ICLR 2020, arXiv:1908.03265, alg. 2
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer, RAdam

from xcompose.api import Component, Context, OptimizerFactory, Real, hookimpl, option, options, two_betas


@options
class RAdamOptions:
    """RAdam."""

    betas: tuple[Real, ...] = option((0.9, 0.999), at_least=0, at_most=1)
    """How much of the running moments is kept in a step: of the gradient, of its square."""
    eps: Real = option(1e-8, above=0)
    """Added to the divisor."""
    weight_decay: Real = option(0.0, at_least=0)
    """How strongly weights are drawn to zero, as a part of the gradient."""


def build(options: RAdamOptions, context: Context) -> OptimizerFactory:
    """What makes the optimizer from parameter groups and a learning rate."""
    betas = two_betas(options.betas)

    def make(groups: Iterable[Any], lr: float) -> Optimizer:
        return RAdam(groups, lr=lr, betas=betas, eps=options.eps, weight_decay=options.weight_decay)

    return make


@hookimpl
def components():
    return [Component(kind="optimizer", name="radam", options=RAdamOptions, build=build)]
