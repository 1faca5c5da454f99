"""No output: the last rows as they are.

Maths    y = x
Shapes   x, y (b n c)
Cost     none
Limits   nothing to train on by itself
Paper    Devlin et al., BERT, NAACL 2019, arXiv:1810.04805, s. 3, for rows used as features
"""

from __future__ import annotations

from torch import Tensor

from xcompose.api import Axis, Component, Context, Output, hookimpl, options


@options
class NoOutputOptions:
    """It has none."""


class NoOutput(Output):
    predicts_tokens = False

    def __init__(self, options: NoOutputOptions, context: Context):
        super().__init__()

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        return x


@hookimpl
def components():
    return [Component(kind="output", name="none", options=NoOutputOptions, build=NoOutput)]
