"""Relative labels: a learned vector for each distance up to a limit, which queries ask as they ask keys.

Maths    logit_ij = (q_i k_j + q_i a_{L(i,j)} + beta_{L(i,j)}) s, s the scale of the products, beta only with `bias`
         o_i = sum_j w_ij (v_j + a'_{L(i,j)}), a' only with `values`
         in an encoder L = min(j - i, clip) for j >= i, else clip + min(i - j, clip): 2 clip + 1 labels
         in a decoder L = min(i - j, clip): clip + 1 labels; `own=false` leaves out distance 0 and its label
         between a prefix row and a token L is the next label; with `chunk` the one after it where the token stands in
         that row's own part of the text: tokens (r - 1) chunk .. r chunk - 1 for prefix row r = 1, 2 ...
Shapes   q (b n h d);  a (L h d), or (L d) where heads share it;  beta (L h), or (L 1);  a' (L h e), or (L e)
Cost     one more product a pair, d + 1 wide, with `values` another of e; a tile beyond `clip` asks but once a query;
         L (d + 1) h parameters, with `values` L e h more, a layer if layers do not share
Limits   softmax only; terms with weights take the explicit executor; parts of a text have one length (`chunk`), because
         batches do not say where sentences end; prefix rows know their distance among themselves; a slot of a memory
         counts as far away as the place it stands at
Paper    Shaw, Uszkoreit, Vaswani, NAACL 2018, arXiv:1803.02155, s. 3.1 and 3.2; the labels of parts and the biases:
         Ainslie et al., ETC, EMNLP 2020, arXiv:2004.08483, s. 3.2, and its released code; tables shared by heads and
         layers: Sukhbaatar et al., Adaptive Attention Span, ACL 2019, arXiv:1905.07799, s. 2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcompose.api import (
    Component,
    Context,
    Count,
    PartError,
    Point,
    Position,
    Real,
    Term,
    asked,
    hookimpl,
    looked_up,
    option,
    options,
    weighed,
)


@options
class RelativeOptions:
    """Relative labels."""

    clip: Count = option(main=True, at_least=1)
    """The largest distance that is told from larger ones."""
    per_head: bool = option(True)
    """Whether every head has a table of its own."""
    per_layer: bool = option(True)
    """Whether every attention has tables of its own, not one for the whole model."""
    bias: bool = option(False)
    """Whether a label also adds a learned number, whatever the query is."""
    values: bool = option(False)
    """Whether a label also adds a learned vector to the values."""
    own: bool = option(True)
    """Whether distance 0 has a label; without it a query's own place counts as its neighbour."""
    chunk: Count | None = option(None, at_least=1)
    """Tokens that belong to each prefix row; not told from others if not written."""
    rows: Count | None = option(None, at_least=1)
    """Rows of the table; as many as there are labels if not written."""
    std: Real = option(0.5, above=0)
    """How the vectors start: normal with this deviation, cut off at twice of it."""


class Relative(Position):
    """The tables; at the embedding it does nothing."""

    def __init__(self, options: RelativeOptions, context: Context):
        super().__init__()
        self.clip, self.low, self.chunk = options.clip, 0 if options.own else 1, options.chunk
        self.causal, self.prefix, self.scale = context.causal != "none", context.prefix, context.scale
        distances = options.clip + 1 - self.low if self.causal else 2 * options.clip + 1 - self.low
        self.between = distances
        labels = distances + (0 if not context.prefix else 1 if options.chunk is None else 2)
        refuse(options, context, labels)
        if context.heads is None or context.head_dim is None:
            return
        heads = context.heads if options.per_head else 1
        self.has_vectors, self.has_biases, self.has_values = context.head_dim > 0, options.bias, options.values
        size = (options.rows or labels, heads, context.head_dim)
        width = context.value_dim or context.head_dim
        key = ("relative labels", options, size, width)

        def drawn(*shape: int) -> nn.Parameter:
            vectors = torch.empty(shape)
            return nn.Parameter(nn.init.trunc_normal_(vectors, std=options.std, a=-2 * options.std, b=2 * options.std))

        def tables() -> nn.ParameterList:
            biases = [nn.Parameter(torch.zeros(size[:2]))] if options.bias else []
            vectors = [drawn(*size)] if self.has_vectors else []
            return nn.ParameterList([*vectors, *biases, *([drawn(*size[:2], width)] if options.values else [])])

        self.tables = tables() if options.per_layer else context.shared(key, tables)

    @property
    def vectors(self) -> Tensor:
        """(L h d), h = 1 where heads share it; no parameter where queries have no width."""
        first = self.tables[0]
        return first if self.has_vectors else first.new_zeros(*first.shape[:2], 0)

    @property
    def biases(self) -> nn.Parameter | None:
        """(L h)"""
        return self.tables[int(self.has_vectors)] if self.has_biases else None  # type: ignore[return-value]

    @property
    def added(self) -> nn.Parameter | None:
        """(L h e), what labels add to the values."""
        return self.tables[-1] if self.has_values else None  # type: ignore[return-value]

    def terms(self, heads: int, head_dim: int) -> Sequence[Term]:
        return (Labels(self),)


def refuse(options: RelativeOptions, context: Context, labels: int) -> None:
    """Refuse options that contradict each other or their place."""
    if context.head_dim == 0 and not options.bias and not options.values:
        raise PartError(
            "position 'relative' asks queries, and the score of this attention has none", option="bias",
            fixes=("bias=true", "position=none in this layer"),
        )  # fmt: skip
    if options.rows is not None and options.rows < labels:
        raise PartError(
            f"position 'relative' has {labels} labels, its table only {options.rows} rows", option="rows",
            fixes=(f"rows={labels}",),
        )  # fmt: skip
    if options.chunk is not None and context.heads is not None and not context.prefix:
        raise PartError(
            "position 'relative' tells parts of the text from each other by prefix rows, and there are none",
            option="chunk", fixes=("embedding: tokens(prefix=...)", "chunk=null"),
        )  # fmt: skip


class Labels(Term):
    """(q a + beta) s, looked up by label; and with `values` w a', summed up by label."""

    trainable = True

    def __init__(self, position: Relative):
        self.position, self.by_distance = position, not position.prefix
        self.adds_values = position.added is not None

    def label(self, q: Point, k: Point) -> Any:
        position, clip = self.position, self.position.clip
        apart = q.at - k.at
        if apart.is_meta:
            return apart  # where there is no data, only the shape of labels counts, and every step takes time
        behind = torch.clamp(apart, position.low, clip) - position.low
        if position.causal:
            return behind
        ahead = torch.clamp(-apart, position.low, clip) - position.low
        found = torch.where(apart > 0, clip + 1 - position.low + torch.clamp(apart, 1, clip) - 1, ahead)
        if not position.prefix:
            return found
        between = torch.full_like(found, position.between)
        if position.chunk is not None:
            row, token = torch.minimum(q.at, k.at), torch.maximum(q.at, k.at)
            between = between + (row + position.prefix == token // position.chunk)
        return torch.where((q.at < 0) != (k.at < 0), between, found)

    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        vectors, biases = self.position.vectors, self.position.biases
        scale = q.shape[-1] ** -0.5 if self.position.scale is None else self.position.scale
        if biases is None:
            return asked(q, labels, lambda which: looked_up(vectors, which).to(q.dtype), len(vectors)) * scale
        both = torch.cat([vectors, biases[..., None]], -1).to(q.dtype)
        return (
            asked(functional.pad(q, (0, 1), value=1.0), labels, lambda which: looked_up(both, which), len(both)) * scale
        )

    def values(self, weights: Tensor, labels: Tensor) -> Tensor:
        added = self.position.added
        assert added is not None
        return weighed(weights, labels, lambda which: looked_up(added, which).to(weights.dtype), len(added))


@hookimpl
def components():
    return [
        Component(
            kind="position", name="relative", options=RelativeOptions, build=Relative, also=("shaw", "relative-labels")
        )
    ]
