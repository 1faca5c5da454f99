"""Sinusoidal positions: waves of falling frequency, added to the embedding.

Maths    x_i = e_i + P_i;  P_i,2t = sin(i w_t), P_i,2t+1 = cos(i w_t);  w_t = 10000^(-2 t / c), t = 0 .. c/2 - 1
Shapes   x, e, P (b n c), c even
Cost     no parameters; n c waves
Limits   the embedding must be as large as the waves, whose values are of the order of 1; c must be even
Paper    Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv:1706.03762, s. 3.5
"""

from __future__ import annotations

import torch
from torch import Tensor

from xcompose.api import Axis, Component, Context, PartError, Position, hookimpl, options

BASE = 10000.0
"""The slowest wave has a length of 2 pi times this many tokens."""


@options
class SinusoidalOptions:
    """Sinusoidal positions."""


class Sinusoidal(Position):
    """Adds waves."""

    def __init__(self, options: SinusoidalOptions, context: Context):
        super().__init__()
        if context.dim % 2:
            raise PartError(f"position 'sinusoidal' needs an even 'dim', found {context.dim}")

    def embed(self, x: Tensor, axis: Axis) -> Tensor:
        half = x.shape[-1] // 2
        steps = torch.arange(half, device=x.device, dtype=torch.float64) / half
        angles = axis.positions(x.device)[..., None] * BASE**-steps
        return x + torch.stack([angles.sin(), angles.cos()], -1).flatten(-2).to(x.dtype)


@hookimpl
def components():
    return [Component(kind="position", name="sinusoidal", options=SinusoidalOptions, build=Sinusoidal)]
