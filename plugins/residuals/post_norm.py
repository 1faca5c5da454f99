"""Each sub-layer reads the stream as it is; the sum is normalised.

Maths    x <- norm_j(x + branch_j(x)), for the sub-layers j of a layer in order; no norm at the end of the stack
         around=ffn: x <- norm_j(branch_j(x)) for the mixers, which then add what they want of x themselves
Shapes   x (b n c)
Cost     one norm and one addition a sub-layer, O(n c)
Limits   deep stacks need a warm-up of the learning rate;  with around=ffn a mixer must bring the row's own contents
Paper    Vaswani et al., Attention Is All You Need, arXiv:1706.03762, s. 3.1;  around=ffn: Lee et al., Set Transformer,
         arXiv:1810.00825, the authors' code, where each head adds its query
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from xcompose.api import Branch, Component, Context, Residual, hookimpl, option, options


@options
class PostNormOptions:
    """Options of the post-norm residual."""

    around: Literal["all", "ffn"] = option("all")
    """What it goes around: all sub-layers, or the feed-forward network only, so that mixers replace the stream."""


class PostNorm(Residual):
    final_norm = False

    def __init__(self, options: PostNormOptions, context: Context):
        super().__init__()
        self.norms = nn.ModuleList(context.norms())
        roles = context.roles or ("",) * len(self.norms)
        self.adds = tuple(options.around == "all" or role == "ffn" for role in roles)
        self.keeps = all(self.adds)
        self.roles = roles

    def norm_behind(self, role: str) -> nn.Module | None:
        place = self.roles.index(role)
        return self.norms[place] if self.adds[place] else None

    def forward(self, carry: Tensor, branches: Sequence[Branch]) -> tuple[Tensor, list[Any]]:
        beside = []
        for norm, adds, branch in zip(self.norms, self.adds, branches, strict=True):
            x, extra = branch(carry)
            carry = norm(carry + x if adds else x)
            beside.append(extra)
        return carry, beside


@hookimpl
def components():
    return [Component(kind="residual", name="post-norm", options=PostNormOptions, build=PostNorm, also=("post-ln",))]
