"""A feed-forward network whose inner rows are gated by a second projection (GLU).

Maths    y = W3 (act(W1 x + b1) * (W2 x + b2)) + b3
Shapes   x, y (b n c);  W1, W2 (f c);  W3 (c f)
Cost     time O(n c f), memory O(n f): one and a half times `mlp` of the same width
Limits   moves no information between rows; for the parameters of `mlp` write two thirds of its width
Paper    Shazeer, GLU Variants Improve Transformer, 2020, arXiv:2002.05202, s. 2
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xcompose.api import (
    FFN,
    Activation,
    Component,
    Context,
    Count,
    ToStream,
    Width,
    activation,
    hookimpl,
    option,
    options,
)  # fmt: skip


@options
class GatedOptions:
    """Options of the gated network."""

    width: Width = option("4x", main=True, at_least=1)
    """Inner width f."""
    act: Activation = option("silu")
    """What is applied to the gate."""
    chunk: Count | None = option(None, at_least=1)
    """Rows at a time; all if not written. The result is the same."""
    bias: bool = option(True, inherited=True)
    """Whether all three layers have biases."""


class Gated(FFN):
    def __init__(self, options: GatedOptions, context: Context):
        super().__init__()
        self.gate = nn.Linear(context.dim, options.width, bias=options.bias)
        self.up = nn.Linear(context.dim, options.width, bias=options.bias)
        self.down = ToStream(options.width, context.dim, bias=options.bias)
        self.act, self.chunk = activation(options.act), options.chunk
        self.word = options.act

    def extra_repr(self) -> str:
        return f"{self.up.in_features} → {self.up.out_features} → {self.up.in_features}, {self.word}"

    def forward(self, x: Tensor) -> Tensor:
        if self.chunk is None:
            return self._rows(x)
        return torch.cat([self._rows(rows) for rows in x.split(self.chunk, dim=1)], dim=1)

    def _rows(self, x: Tensor) -> Tensor:
        return self.down(self.act(self.gate(x)) * self.up(x))


@hookimpl
def components():
    return [Component(kind="ffn", name="gated", options=GatedOptions, build=Gated, also=("swiglu", "geglu", "glu"))]
