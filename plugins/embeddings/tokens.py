"""A learned row for each token, of full width or factorised.

Maths    x_i = E[t_i] (W if a rank is written) + T[0];  after positions: layer-normalised if `norm`
Shapes   tokens (b n);  E (v c) or (v r);  W (c r);  T (types c);  x (b n c)
Cost     v c parameters, or v r + r c
Limits   every token is of type 0: rows of other types are kept for weights trained elsewhere
Paper    factorised: Lan et al., ALBERT, ICLR 2020, arXiv:1909.11942, s. 3.1; types and norm: Devlin et al., BERT,
         arXiv:1810.04805, s. 3
"""

from __future__ import annotations

from torch import Tensor, nn

from xcompose.api import Component, Context, Count, Embedding, hookimpl, option, options


@options
class TokensOptions:
    """Options of the token table."""

    rank: Count | None = option(None, at_least=1)
    """Width r of the table, projected to the model's width; the model's width if not written."""
    norm: bool = option(False)
    """Whether rows are layer-normalised after positions were added."""
    types: Count | None = option(None, at_least=1)
    """Size of a table of token types; none if not written."""


class Tokens(Embedding):
    def __init__(self, options: TokensOptions, context: Context):
        super().__init__()
        self.tokens = nn.Embedding(context.vocab, options.rank or context.dim)
        self.project = None if options.rank is None else nn.Linear(options.rank, context.dim)
        self.types = None if options.types is None else nn.Embedding(options.types, context.dim)
        self.norm = nn.LayerNorm(context.dim) if options.norm else None

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        if self.project is not None:
            x = self.project(x)
        return x if self.types is None else x + self.types.weight[0]

    def extra_repr(self) -> str:
        widths = [*self.tokens.weight.shape, *([] if self.project is None else [self.project.out_features])]
        return " → ".join(str(width) for width in widths)

    def finish(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)

    def table(self) -> nn.Parameter:
        return self.tokens.weight  # type: ignore[return-value]


@hookimpl
def components():
    return [Component(kind="embedding", name="tokens", options=TokensOptions, build=Tokens)]
