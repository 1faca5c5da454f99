"""One answer for a sequence: its rows pooled, then one linear layer.

Maths    y = mean of the rows, or the first, or the last;  logits = W y + b
Shapes   x (b n c);  y (b c);  W (k c);  logits (b k), k classes
Cost     time O(n c + c k)
Limits   in a decoder only `last` has seen everything; a sequence without tokens gets zeros
Paper    Devlin et al., BERT, NAACL 2019, arXiv:1810.04805, s. 3.2
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xcompose.api import Axis, Component, Context, Count, Output, ToLogits, hookimpl, option, options


@options
class ClassifyOptions:
    """Options of the classifier."""

    classes: Count = option(main=True, at_least=1)
    """Number of classes k."""
    pool: Literal["mean", "first", "last"] = option("mean")
    """Which row stands for the sequence."""


class Classify(Output):
    each_row = False
    predicts_tokens = False

    def __init__(self, options: ClassifyOptions, context: Context):
        super().__init__()
        self.pool = options.pool
        self.linear = ToLogits(context.dim, options.classes)

    def extra_repr(self) -> str:
        return f"{self.pool}, {self.linear.in_features} → {self.linear.out_features}"

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        return self.linear(self._pooled(x, axis.valid))

    def _pooled(self, x: Tensor, valid: Tensor | None) -> Tensor:
        if self.pool == "first":
            return x[:, 0]
        if valid is None:
            return x.mean(1) if self.pool == "mean" else x[:, -1]
        count = valid.sum(1, keepdim=True).clamp(min=1)
        if self.pool == "mean":
            return torch.where(valid[..., None], x, torch.zeros_like(x)).sum(1) / count
        return x.gather(1, (count - 1)[..., None].expand(-1, 1, x.shape[-1]))[:, 0]


@hookimpl
def components():
    return [Component(kind="output", name="classify", options=ClassifyOptions, build=Classify, also=("classifier",))]
