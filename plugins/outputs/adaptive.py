"""Log-probabilities of the next token in two steps: a frequent token or a cluster, then a token of the cluster.

Maths    p(t) = softmax([E_0 P_0 x + b_0; G P_0 x + g])_t for tokens of the first cluster
         p(t) = softmax([E_0 P_0 x + b_0; G P_0 x + g])_{cluster s} softmax(E_s P_s x + b_s)_{t - a_s} for the others
         logits = log p, so that a softmax over them gives p again
Shapes   x (b n c);  E_s (a_{s+1} - a_s, r_s);  P_s (r_s c);  G (clusters - 1, r_0);  logits (b n v)
Cost     sum over s of (a_{s+1} - a_s + c) r_s multiplications a row: narrow clusters save time and parameters, but all
         v numbers are made, in training too
Limits   beside embedding `adaptive`, whose clusters it has; E_s are those of the embedding where tied
Paper    Grave et al., Efficient softmax approximation for GPUs, ICML 2017, arXiv:1609.04309, s. 4; tied: Baevski, Auli,
         ICLR 2019, arXiv:1809.10853, s. 3.2; `projections: tail`: the released code of Transformer-XL, arXiv:1901.02860
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcompose.api import (
    AsMatrix,
    Axis,
    Component,
    Context,
    Matrix,
    Output,
    PartError,
    TokenClusters,
    ToLogits,
    exact,
    hookimpl,
    option,
    options,
    refuse_unused,
)


@options
class AdaptiveOptions:
    """Options of the adaptive output."""

    tied: bool = option(True)
    """Whether the tables are those of the embedding."""
    projections: Literal["own", "tail", "tied"] = option("tail")
    """Which projections are those of the embedding: none, those behind the first cluster, or all."""


class Clusters(ToLogits, AsMatrix):
    """One table for all clusters, each of which reads its rows of it."""


class Adaptive(Output):
    """A linear layer for each table, and one for the clusters."""

    def __init__(self, options: AdaptiveOptions, context: Context):
        super().__init__()
        found = context.clusters
        if found is None:
            raise PartError(
                "output 'adaptive' takes its clusters from the embedding, and this one has none",
                fixes=("embedding: adaptive(...)", "output: lm"),
            )  # fmt: skip
        if found.dim != context.dim:
            raise PartError(f"rows of width {context.dim} do not fit clusters of an embedding of width {found.dim}")
        if not found.projections:
            reason = "the embedding projects no cluster, because its tables are as wide as the model"
            refuse_unused(options, ("projections",), "output 'adaptive'", reason)
        self.edges, self.one_table = found.edges, found.one_table
        kind = Clusters if found.one_table else ToLogits
        tables = [kind(t.embedding_dim, t.num_embeddings) for t in found.tables]
        if options.tied:
            for own, table in zip(tables, found.tables, strict=True):
                own.weight = table.weight
        self.scores = nn.ModuleList(tables)
        self.gate = nn.Linear(found.widths[0], len(found.sizes) - 1)
        self.narrowing = nn.ModuleList(projections(found, options.projections))

    @property
    def tables(self) -> tuple[ToLogits, ...]:
        """One, or one for each cluster."""
        return tuple(self.scores)  # type: ignore[return-value]

    @property
    def projections(self) -> tuple[nn.Linear, ...]:
        """One for each cluster, or none."""
        return tuple(self.narrowing)  # type: ignore[return-value]

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        head = self._narrow(x, 0)
        first = exact(torch.cat([self._scores(head, 0), self.gate(head)], -1)).log_softmax(-1)
        frequent = self.edges[1]
        rest = [
            first[..., frequent + s - 1, None] + exact(self._scores(self._narrow(x, s), s)).log_softmax(-1)
            for s in range(1, len(self.edges) - 1)
        ]
        return torch.cat([first[..., :frequent], *rest], -1)

    def _narrow(self, x: Tensor, s: int) -> Tensor:
        return functional.linear(x, self.projections[s].weight.T) if self.projections else x

    def _scores(self, x: Tensor, s: int) -> Tensor:
        if not self.one_table:
            return self.tables[s](x)
        table, own = self.tables[0], slice(self.edges[s], self.edges[s + 1])
        return functional.linear(x, table.weight[own], table.bias[own])

    def extra_repr(self) -> str:
        return f"{self.gate.in_features} → {self.edges[-1]}"


def projections(found: TokenClusters, which: Literal["own", "tail", "tied"]) -> list[nn.Linear]:
    """One for each cluster, none where the embedding has none: weights (c r), as those of the embedding."""
    made = []
    for s in range(len(found.sizes) if found.projections else 0):
        theirs = found.projections[0 if found.one_table else s]
        own = Matrix(theirs.in_features, theirs.out_features, bias=False)
        if which == "tied" or (which == "tail" and s):
            own.weight = theirs.weight
        made.append(own)
    return made


@hookimpl
def components():
    return [Component(kind="output", name="adaptive", options=AdaptiveOptions, build=Adaptive)]
