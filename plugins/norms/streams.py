"""A norm of their own for the rows before the tokens, beside some sub-layers or beside all.

Maths    y_i = norm'(x_i) for prefix rows i < 0, norm(x_i) for tokens; the same norm for both beside a feed-forward
         network, unless `ffn`
Shapes   x, y (b g + n c), the g prefix rows first
Cost     the parameters of the norm once more
Limits   models with prefix rows only: embedding: tokens(prefix=...)
Paper    Ainslie et al., ETC, EMNLP 2020, arXiv:2004.08483, s. 3.1, as in its released code
"""

from __future__ import annotations

import torch
from torch import Tensor

from xcompose.api import Component, Context, Norm, Part, PartError, hookimpl, option, options


@options
class StreamsOptions:
    """Options of norms by stream."""

    of: Part.norm = option("layer", main=True)
    """The norm that each stream has."""
    ffn: bool = option(False)
    """Whether the streams also have norms of their own beside feed-forward networks."""


class Streams(Norm):
    def __init__(self, options: StreamsOptions, context: Context):
        super().__init__()
        if not context.prefix:
            raise PartError(
                "norm 'streams' needs rows before the tokens, and there are none",
                fixes=("embedding: tokens(prefix=...)", f"norm: {context.name(options.of)}"),
            )  # fmt: skip
        self.prefix = context.prefix
        self.tokens: Norm = context.build(options.of)
        divided = options.ffn or context.branch != "ffn"
        self.first: Norm | None = context.build(options.of) if divided else None

    def forward(self, x: Tensor) -> Tensor:
        if self.first is None:
            return self.tokens(x)
        return torch.cat([self.first(x[:, : self.prefix]), self.tokens(x[:, self.prefix :])], 1)


@hookimpl
def components():
    return [Component(kind="norm", name="streams", options=StreamsOptions, build=Streams)]
