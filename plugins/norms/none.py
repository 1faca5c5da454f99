"""No normalisation: rows pass unchanged.

Maths    y = x
Shapes   x, y (... c)
Cost     none
Limits   deep stacks need something else that keeps rows from growing
Paper    Lee et al., Set Transformer, ICML 2019, arXiv:1810.00825, whose authors' code normalises nothing
"""

from __future__ import annotations

from torch import Tensor

from xcompose.api import Component, Context, Norm, hookimpl, options


@options
class NoNormOptions:
    """It has none."""


class NoNorm(Norm):
    def __init__(self, options: NoNormOptions, context: Context):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


@hookimpl
def components():
    return [Component(kind="norm", name="none", options=NoNormOptions, build=NoNorm)]
