"""ALiBi: the further away a key is, the less it counts, at a rate of its own in each head.

Maths    logit_ij = q_i k_j / sqrt(d) - m_h |i - j|;  m_h = 2^(-8 h / H), h = 1 .. H, where H is a power of two
         else the slopes of the next smaller power, then every second one of the next larger
Shapes   q (b n h d);  k (b m g d);  m (h);  bias (h n m)
Cost     no parameters; one product for each pair
Limits   softmax only; the paper is causal, an encoder takes the distance on both sides; a slot of a memory that
         belongs to no position has distance 0
Paper    Press, Smith, Lewis, Train Short, Test Long, ICLR 2022, arXiv:2108.12409, s. 3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xcompose.api import BEFORE_TIME, Component, Context, Point, Position, Term, hookimpl, options


@options
class AlibiOptions:
    """ALiBi."""


class Distance(Term):
    """A slope for each head times the distance."""

    def __init__(self, heads: int):
        self.slopes = slopes(heads)

    def label(self, q: Point, k: Point) -> Any:
        return abs(q.at - k.at) * (k.last > BEFORE_TIME)

    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        return -torch.tensor(self.slopes, dtype=q.dtype, device=q.device)[:, None, None] * labels


class Alibi(Position):
    """Adds distances to logits."""

    def __init__(self, options: AlibiOptions, context: Context):
        super().__init__()

    def terms(self, heads: int, head_dim: int) -> Sequence[Term]:
        return (Distance(heads),)


def slopes(heads: int) -> list[float]:
    """m_1 .. m_H."""
    power = 2 ** (heads.bit_length() - 1)
    found = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2 ** (-4 * h / power) for h in range(1, 2 * power + 1, 2)]
    return found + between[: heads - power]


@hookimpl
def components():
    return [Component(kind="position", name="alibi", options=AlibiOptions, build=Alibi)]
