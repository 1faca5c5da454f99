"""Linformer: keys and values of the whole sequence are projected to a fixed number of slots.

Maths    K' = E K, V' = F V;  o_i = softmax(q_i K'^T / sqrt(d)) V'
Shapes   k (b n g d);  v (b n g e);  E, F (r length), with share=none (g r length);  K' (b r g d)
         of E and F the first n columns serve
Cost     time n r d for the projection and n r pairs a head;  parameters in l layers: share=none 2 l g r length,
         headwise 2 l r length, key-value l r length, layerwise r length;  as cross-attention a decoder keeps r slots
Limits   encoders, and cross-attention;  the model must state its `length`, a cross layer's is that of the source;
         for relative positions all slots stand at 0, so use positions that are added to the embedding;
         layers that share need equal r and length
Paper    Wang et al., Linformer, arXiv:2006.04768, s. 4; headwise sharing if not told otherwise
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from einops import einsum
from torch import Tensor, nn

from xcompose.api import (
    Axis,
    Component,
    Context,
    Count,
    Everything,
    Matrix,
    Memory,
    PartError,
    Slots,
    Spans,
    TooLong,
    fill_rows,
    hookimpl,
    option,
    options,
)


@options
class LinformerOptions:
    """Linformer."""

    rank: Count = option(main=True, at_least=1)
    """Number of slots r."""
    share: Literal["none", "headwise", "key-value", "layerwise"] = option("headwise")
    """What E and F serve: one key/value head; all heads of a layer; keys and values alike, too; all layers, too."""


class Linformer(Memory):
    """Two projections along the sequence."""

    pattern = Everything()

    def __init__(self, options: LinformerOptions, context: Context):
        super().__init__()
        if context.length is None:
            raise PartError(
                f"memory 'linformer' needs the length of the {'source' if context.role == 'cross' else 'model'}",
                label="its projections have one column for each position",
                fixes=("encoder.length: 1Ki" if context.role == "cross" else "model.length: 1Ki",),
            )  # fmt: skip
        assert context.kv_heads is not None, "a memory is built inside an attention"
        self.rank, self.length = options.rank, context.length
        self.groups = context.kv_heads if options.share == "none" else 1
        """How many pairs E, F there are: one for each key/value head, or one."""

        alike = options.share in ("key-value", "layerwise")
        self.e = self._shared(context) if options.share == "layerwise" else self._projection()
        self.f = self.e if alike else self._projection()

    def _projection(self) -> nn.Linear:
        return Matrix(self.length, self.groups * self.rank, bias=False)

    def _shared(self, context: Context) -> nn.Linear:
        found = context.shared(("linformer", context.role, self.length), self._projection)
        if found.out_features != self.rank:
            raise PartError(
                f"layers that share one projection have one rank: {self.rank} here, {found.out_features} in an earlier "
                "layer",
                option="rank", fixes=(f"rank={found.out_features}", "share=key-value"),
            )  # fmt: skip
        return found

    def spans(self, n: int) -> Spans:
        return Spans([0] * self.rank, [n - 1] * self.rank, [0] * self.rank)

    def slots(self, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Mapping[str, Tensor]]:
        n = k.shape[1]
        if n > self.length:
            raise TooLong(
                f"a sequence of {n} tokens is longer than the {self.length} columns of memory 'linformer'", self.length
            )
        weight = None
        if axis.valid is not None:
            k, v = fill_rows(k, axis.valid), fill_rows(v, axis.valid)
            empty = ~axis.valid.any(1, keepdim=True).expand(-1, self.rank)
            weight = torch.zeros_like(empty, dtype=k.dtype).masked_fill(empty, -torch.inf)
        k, v = self._projected(self.e, k), self._projected(self.f, v)
        at = torch.zeros(self.rank, dtype=torch.long, device=k.device)
        return Slots(k, v, at, start=at, end=at + n - 1, log_weight=weight), {}

    def _projected(self, along: nn.Linear, t: Tensor) -> Tensor:
        """(b n g d) to (b r g d)."""
        matrix = along.weight[:, : t.shape[1]].to(t.dtype)
        if self.groups == 1:
            return einsum(matrix, t, "r n, b n g d -> b r g d")
        return einsum(matrix.unflatten(0, (self.groups, self.rank)), t, "g r n, b n g d -> b r g d")


@hookimpl
def components():
    return [
        Component(
            kind="memory", name="linformer", options=LinformerOptions, build=Linformer, facts={"needs": ("length",)}
        )
    ]
