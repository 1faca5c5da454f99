"""Rows of numbers instead of tokens: points, frames, measurements. Each is projected to the model's width.

Maths    x_i = W p_i + b
Shapes   p (b n w), numbers of any type;  W (c w);  x (b n c)
Cost     time O(n w c);  w c + c parameters
Limits   no vocabulary: no output can tie to it, and tokens cannot be drawn from such a model and read again
Paper    Lee et al., Set Transformer, ICML 2019, arXiv:1810.00825, s. 5, whose sets hold points
"""

from __future__ import annotations

from torch import Tensor, nn

from xcompose.api import Component, Context, Count, Embedding, hookimpl, option, options


@options
class VectorsOptions:
    """Options of the projection."""

    width: Count = option(main=True, at_least=1)
    """Numbers w in a row."""
    bias: bool = option(True, inherited=True)
    """Whether the projection has a bias."""


class Vectors(Embedding):
    def __init__(self, options: VectorsOptions, context: Context):
        super().__init__()
        self.width = options.width
        self.project = nn.Linear(options.width, context.dim, bias=options.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.project(tokens.to(next(self.project.parameters()).dtype))

    def extra_repr(self) -> str:
        return f"{self.project.in_features} → {self.project.out_features}"


@hookimpl
def components():
    return [Component(kind="embedding", name="vectors", options=VectorsOptions, build=Vectors)]
