"""Each sub-layer reads the stream as it is; the sum is normalised.

Maths    x <- norm_j(x + branch_j(x)), for the sub-layers j of a layer in order; no norm at the end of the stack
Shapes   x (b n c)
Cost     one norm and one addition a sub-layer, O(n c)
Limits   deep stacks need a warm-up of the learning rate
Paper    Vaswani et al., Attention Is All You Need, arXiv:1706.03762, s. 3.1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from xcompose.api import Branch, Component, Context, Residual, hookimpl, options


@options
class PostNormOptions:
    """It has none."""


class PostNorm(Residual):
    final_norm = False

    def __init__(self, options: PostNormOptions, context: Context):
        super().__init__()
        self.norms = nn.ModuleList(context.norms())

    def forward(self, carry: Tensor, branches: Sequence[Branch]) -> tuple[Tensor, list[Any]]:
        beside = []
        for norm, branch in zip(self.norms, branches, strict=True):
            x, extra = branch(carry)
            carry = norm(carry + x)
            beside.append(extra)
        return carry, beside


@hookimpl
def components():
    return [Component(kind="residual", name="post-norm", options=PostNormOptions, build=PostNorm, also=("post-ln",))]
