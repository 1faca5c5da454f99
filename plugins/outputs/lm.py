"""Logits of the next token, from each row.

Maths    logits_i = W x_i + b;  W is the embedding's table where it is tied
Shapes   x (b n c);  W (v c);  logits (b n v)
Cost     time O(n c v); v c parameters, none where tied
Limits   tied, the rows must be as wide as the table
Paper    Press, Wolf, Using the Output Embedding to Improve Language Models, EACL 2017, arXiv:1608.05859, s. 2
"""

from __future__ import annotations

from torch import Tensor

from xcompose.api import Axis, Component, Context, Output, ToLogits, hookimpl, option, options


@options
class LmOptions:
    """Options of the language-model output."""

    tied: bool = option(True)
    """Whether the weights are those of the embedding."""
    bias: bool = option(False)
    """Whether each token has a bias."""


class Lm(Output):
    def __init__(self, options: LmOptions, context: Context):
        super().__init__()
        self.linear = ToLogits(context.dim, context.vocab, bias=options.bias)
        if options.tied:
            self.linear.weight = context.tied()

    def extra_repr(self) -> str:
        return f"{self.linear.in_features} → {self.linear.out_features}"

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        return self.linear(x)


@hookimpl
def components():
    return [Component(kind="output", name="lm", options=LmOptions, build=Lm)]
