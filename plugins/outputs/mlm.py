"""Logits of hidden tokens, from each row, through one more layer.

Maths    y = norm(act(W1 x + b1));  logits = W y + b;  W is the embedding's table where it is tied
Shapes   x (b n c);  W1 (r c);  W (v r);  logits (b n v)
Cost     time O(n r (c + v)); c r + 3 r + v parameters, and v r where W is not tied
Limits   tied, r must be the width of the table
Paper    Devlin et al., BERT, NAACL 2019, arXiv:1810.04805, s. 3.1; a smaller r: Lan et al., ALBERT, arXiv:1909.11942,
         s. 3.1
"""

from __future__ import annotations

import attrs
from torch import Tensor, nn

from xcompose.api import (
    Activation,
    Axis,
    Component,
    Context,
    Count,
    Output,
    ToLogits,
    activation,
    hookimpl,
    option,
    options,
)


@options
class MlmOptions:
    """Options of the masked-language-model output."""

    rank: Count | None = option(None, at_least=1)
    """Width r before the logits; the model's width if not written."""
    act: Activation = option("gelu")
    """What is applied behind the first layer."""
    tied: bool = option(True)
    """Whether the weights are those of the embedding."""


class Mlm(Output):
    def __init__(self, options: MlmOptions, context: Context):
        super().__init__()
        rank = options.rank or context.dim
        self.transform = nn.Linear(context.dim, rank)
        self.norm = nn.LayerNorm(rank)
        self.linear = ToLogits(rank, context.vocab)
        if options.tied:
            self.linear.weight = attrs.evolve(context, dim=rank).tied()
        self.act = activation(options.act)

    def extra_repr(self) -> str:
        return f"{self.transform.in_features} → {self.linear.in_features} → {self.linear.out_features}"

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        return self.linear(self.norm(self.act(self.transform(x))))


@hookimpl
def components():
    return [Component(kind="output", name="mlm", options=MlmOptions, build=Mlm)]
