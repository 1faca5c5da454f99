"""A learned row for each token, of full width or factorised.

Maths    x_i = E[t_i] (W + b if a rank is written) + T[0], times sqrt(c) if `scaled`
         after positions: layer-normalised if `norm`
         project=last: x_i = E[t_i] + T[0], times sqrt(r) if `scaled`, and after positions norm(x) W + b
         with `prefix` g: x_i = G[g + i] for i = -g .. -1, without a position, normalised by a norm of their own
Shapes   tokens (b n);  E (v c) or (v r);  W (c r);  T (types c);  G (g c);  x (b n c);  with project=last all
         but the last of them are r wide, positions too
Cost     v c parameters, or v r + r c;  g c for the rows before the tokens
Limits   every token is of type 0: rows of other types are kept for weights trained elsewhere; rows before the tokens
         are for encoders, which drop them at the end
Paper    factorised: Lan et al., ALBERT, ICLR 2020, arXiv:1909.11942, s. 3.1, project=last in its released code;
         types and norm: Devlin et al., BERT, arXiv:1810.04805, s. 3; rows before the tokens: Ainslie et al., ETC,
         EMNLP 2020, arXiv:2004.08483, s. 3.1; scaled: Vaswani et al., Attention Is All You Need, NeurIPS 2017,
         arXiv:1706.03762, s. 3.4
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from xcompose.api import Component, Context, Count, Embedding, PartError, hookimpl, option, options


@options
class TokensOptions:
    """Options of the token table."""

    rank: Count | None = option(None, at_least=1)
    """Width r of the table, projected to the model's width; the model's width if not written."""
    project: Literal["first", "last"] = option("first")
    """Whether rows of width r are projected before types, positions and norm, or behind them."""
    norm: bool = option(False)
    """Whether rows are layer-normalised after positions were added."""
    types: Count | None = option(None, at_least=1)
    """Size of a table of token types; none if not written."""
    scaled: bool = option(False)
    """Whether rows of tokens are multiplied by the root of the model's width, to stand out beside sinusoids."""
    prefix: Count = option(0)
    """Learned rows before the tokens, the same for every text; in encoders."""


class Tokens(Embedding):
    def __init__(self, options: TokensOptions, context: Context):
        super().__init__()
        self.last = options.project == "last"
        if self.last and options.rank is None:
            raise PartError("'project' says when rows of a rank are projected", option="project", fixes=("rank=128",))
        self.narrow = options.rank if self.last else None
        width = self.narrow or context.dim
        self.tokens = nn.Embedding(context.vocab, options.rank or context.dim)
        self.project = None if options.rank is None else nn.Linear(options.rank, context.dim)
        self.types = None if options.types is None else nn.Embedding(options.types, width)
        self.norm = nn.LayerNorm(width) if options.norm else None
        self.scale = width**0.5 if options.scaled else None
        self.prefix = options.prefix
        self.first = nn.Embedding(options.prefix, width) if options.prefix else None
        self.first_norm = nn.LayerNorm(width) if options.norm and options.prefix else None

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        if self.project is not None and not self.last:
            x = self.project(x)
        x = x if self.types is None else x + self.types.weight[0]
        return x if self.scale is None else x * self.scale

    def extra_repr(self) -> str:
        widths = [*self.tokens.weight.shape, *([] if self.project is None else [self.project.out_features])]
        before = f", {self.prefix} rows before" if self.prefix else ""
        return " → ".join(str(width) for width in widths) + before

    def front(self) -> Tensor:
        return super().front() if self.first is None else self.first.weight

    def finish(self, x: Tensor) -> Tensor:
        x = self._normalised(x)
        return self.project(x) if self.last and self.project is not None else x

    def _normalised(self, x: Tensor) -> Tensor:
        if self.norm is None:
            return x
        if self.first_norm is None:
            return self.norm(x)
        return torch.cat([self.first_norm(x[:, : self.prefix]), self.norm(x[:, self.prefix :])], 1)

    def table(self) -> nn.Parameter:
        return self.tokens.weight  # type: ignore[return-value]


@hookimpl
def components():
    return [Component(kind="embedding", name="tokens", options=TokensOptions, build=Tokens)]
