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
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xcompose.api import (
    Activation,
    Axis,
    Component,
    Context,
    Count,
    Output,
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
        self.tied = options.tied
        self.transform = nn.Linear(context.dim, rank)
        self.norm = nn.LayerNorm(rank)
        inner = attrs.evolve(context, dim=rank)
        self.weight = inner.tied() if options.tied else nn.Parameter(torch.empty(context.vocab, rank))
        if not options.tied:
            nn.init.normal_(self.weight, std=rank**-0.5)
        self.bias = nn.Parameter(torch.zeros(context.vocab))
        self.act = activation(options.act)

    def extra_repr(self) -> str:
        return f"{self.transform.in_features} → {self.weight.shape[1]} → {self.weight.shape[0]}"

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        return F.linear(self.norm(self.act(self.transform(x))), self.weight, self.bias)


@hookimpl
def components():
    return [Component(kind="output", name="mlm", options=MlmOptions, build=Mlm)]
