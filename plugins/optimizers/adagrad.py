"""Adagrad: steps that shrink with all the gradients a weight has seen.

Maths    g = g + decay w;  s = s + g^2;  w = w - lr g / (sqrt(s) + eps)
Shapes   s like the weight w, from `start` on
Cost     one more copy of the weights
Limits   steps only ever shrink, so the learning rate is larger than that of `adam`, and a long run slows down
Paper    Duchi, Hazan, Singer, Adaptive Subgradient Methods, JMLR 2011, s. 1.1, with a diagonal matrix
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.optim import Adagrad, Optimizer

from xcompose.api import Component, Context, OptimizerFactory, Real, hookimpl, option, options


@options
class AdagradOptions:
    """Adagrad."""

    start: Real = option(0.0, at_least=0)
    """What the sum of squared gradients starts from."""
    eps: Real = option(1e-10, above=0)
    """Added to the divisor."""
    weight_decay: Real = option(0.0, at_least=0)
    """How strongly weights are drawn to zero, as a part of the gradient."""


def build(options: AdagradOptions, context: Context) -> OptimizerFactory:
    """What makes the optimizer from parameter groups and a learning rate."""

    def make(groups: Iterable[Any], lr: float) -> Optimizer:
        return Adagrad(
            groups, lr=lr, eps=options.eps, weight_decay=options.weight_decay,
            initial_accumulator_value=options.start,
        )  # fmt: skip

    return make


@hookimpl
def components():
    return [Component(kind="optimizer", name="adagrad", options=AdagradOptions, build=build)]
