"""AdamW: steps scaled by running moments of the gradient, weight decay apart from them.

Maths    m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;  both divided by 1 - b^t
         w = w (1 - lr decay) - lr m / (sqrt(s) + eps)
Shapes   m and s like the weight w
Cost     two more copies of the weights
Limits   norms, biases and other vectors are not decayed: the trainer says which
Paper    Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019, arXiv:1711.05101, alg. 2
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.optim import AdamW, Optimizer

from xcompose.api import Component, Context, OptimizerFactory, Real, hookimpl, option, options, two_betas


@options
class AdamWOptions:
    """AdamW."""

    betas: tuple[Real, ...] = option((0.9, 0.999), at_least=0, at_most=1)
    """How much of the running moments is kept in a step: of the gradient, of its square."""
    eps: Real = option(1e-8, above=0)
    """Added to the divisor."""
    weight_decay: Real = option(0.01, at_least=0)
    """How strongly weights shrink, in units of the learning rate."""


def build(options: AdamWOptions, context: Context) -> OptimizerFactory:
    """What makes the optimizer from parameter groups and a learning rate."""
    betas = two_betas(options.betas)

    def make(groups: Iterable[Any], lr: float) -> Optimizer:
        return AdamW(groups, lr=lr, betas=betas, eps=options.eps, weight_decay=options.weight_decay, fused=True)

    return make


@hookimpl
def components():
    return [Component(kind="optimizer", name="adamw", options=AdamWOptions, build=build)]
