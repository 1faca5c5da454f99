"""All sub-layers of a layer read the same normalised stream and are added at once.

Maths    x <- x + sum_j branch_j(norm(x)); one norm a layer, one at the end of the stack
Shapes   x (b n c)
Cost     one norm a layer, O(n c)
Limits   a feed-forward network does not see what the mixer of its own layer found
Paper    Chowdhery et al., PaLM, 2022, arXiv:2204.02311, s. 2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from xcompose.api import Branch, Component, Context, Residual, hookimpl, options


@options
class ParallelOptions:
    """It has none."""


class Parallel(Residual):
    def __init__(self, options: ParallelOptions, context: Context):
        super().__init__()
        self.norm = context.build(context.norm)

    def forward(self, carry: Tensor, branches: Sequence[Branch]) -> tuple[Tensor, list[Any]]:
        read = self.norm(carry)
        beside = []
        for branch in branches:
            x, extra = branch(read)
            carry = carry + x
            beside.append(extra)
        return carry, beside


@hookimpl
def components():
    return [Component(kind="residual", name="parallel", options=ParallelOptions, build=Parallel)]
