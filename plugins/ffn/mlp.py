"""A feed-forward network of two layers, applied to each row by itself.

Maths    y = W2 act(W1 x + b1) + b2
Shapes   x, y (b n c);  W1 (f c);  W2 (c f)
Cost     time O(n c f), memory O(n f); with `chunk` rows at a time the inner rows of one chunk only, where activations
         are not kept for the gradient
Limits   moves no information between rows
Paper    Vaswani et al., Attention Is All You Need, arXiv:1706.03762, s. 3.3; chunks: Kitaev et al., Reformer,
         arXiv:2001.04451, s. 3
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
class MlpOptions:
    """Options of the two-layer network."""

    width: Width = option("4x", main=True, at_least=1)
    """Inner width f."""
    act: Activation = option("gelu")
    """What is applied between the two layers."""
    chunk: Count | None = option(None, at_least=1)
    """Rows at a time; all if not written. The result is the same."""
    bias: bool = option(True, inherited=True)
    """Whether both layers have biases."""


class Mlp(FFN):
    def __init__(self, options: MlpOptions, context: Context):
        super().__init__()
        self.up = nn.Linear(context.dim, options.width, bias=options.bias)
        self.down = ToStream(options.width, context.dim, bias=options.bias)
        self.act, self.chunk = activation(options.act), options.chunk
        self.word = options.act

    def extra_repr(self) -> str:
        return f"{self.up.in_features} → {self.up.out_features} → {self.up.in_features}, {self.word}"

    def forward(self, x: Tensor) -> Tensor:
        if self.chunk is None:
            return self.down(self.act(self.up(x)))
        return torch.cat([self.down(self.act(self.up(rows))) for rows in x.split(self.chunk, dim=1)], dim=1)


@hookimpl
def components():
    return [Component(kind="ffn", name="mlp", options=MlpOptions, build=Mlp, also=("ffn", "feedforward"))]
