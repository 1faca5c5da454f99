"""Each sub-layer reads the normalised stream and is added to it.

Maths    x <- x + branch_j(norm_j(x)), for the sub-layers j of a layer in order; one norm at the end of the stack
Shapes   x (b n c)
Cost     one norm and one addition a sub-layer, O(n c)
Limits   the stream grows with depth; the last norm takes that away
Paper    Xiong et al., On Layer Normalization in the Transformer Architecture, ICML 2020, arXiv:2002.04745, s. 3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from xcompose.api import Branch, Component, Context, Residual, hookimpl, options


@options
class PreNormOptions:
    """It has none."""


class PreNorm(Residual):
    def __init__(self, options: PreNormOptions, context: Context):
        super().__init__()
        self.norms = nn.ModuleList(context.norms())

    def forward(self, carry: Tensor, branches: Sequence[Branch]) -> tuple[Tensor, list[Any]]:
        beside = []
        for norm, branch in zip(self.norms, branches, strict=True):
            x, extra = branch(norm(carry))
            carry = carry + x
            beside.append(extra)
        return carry, beside


@hookimpl
def components():
    return [Component(kind="residual", name="pre-norm", options=PreNormOptions, build=PreNorm, also=("pre-ln",))]
