"""A feed-forward network of a single layer, applied to each row by itself.

Maths    y = act(W x + b)
Shapes   x, y (b n c);  W (c c)
Cost     time O(n c^2), memory O(n c);  c^2 + c parameters
Limits   moves no information between rows;  with `relu` it never makes a number of the stream smaller
Paper    Lee et al., Set Transformer, ICML 2019, arXiv:1810.00825, s. 3.1: the rFF as its authors' code has it
"""

from __future__ import annotations

from torch import Tensor

from xcompose.api import FFN, Activation, Component, Context, ToStream, activation, hookimpl, option, options


@options
class SingleOptions:
    """Options of the single layer."""

    act: Activation = option("relu", main=True)
    """What is applied to what the layer gives."""
    bias: bool = option(True, inherited=True)
    """Whether the layer has a bias."""


class Single(FFN):
    def __init__(self, options: SingleOptions, context: Context):
        super().__init__()
        self.linear = ToStream(context.dim, context.dim, bias=options.bias)
        self.act, self.word = activation(options.act), options.act

    def extra_repr(self) -> str:
        return f"{self.linear.in_features} → {self.linear.out_features}, {self.word}"

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.linear(x))


@hookimpl
def components():
    return [Component(kind="ffn", name="single", options=SingleOptions, build=Single)]
