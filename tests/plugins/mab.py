"""MAB(X, Y) written with loops, for the layers inside parts that read another sequence or their own."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from tests.plugins.helpers import attention, part
from xcompose.api import InnerLayer


def linear(layer: nn.Linear, row: Tensor) -> Tensor:
    return torch.stack([weights @ row for weights in layer.weight]) + layer.bias


def normalised(norm: nn.Module, row: Tensor) -> Tensor:
    """A layer norm; or nothing, where the norm has no weights."""
    given = dict(norm.named_parameters())
    if not given:
        return row
    spread = (row - row.mean()).square().mean() + 1e-5
    return (row - row.mean()) / spread.sqrt() * given["weight"] + given["bias"]


def read_all(made, asking: Tensor, rows: Tensor, authors: bool) -> Tensor:
    """Every row of asking (n c) reads every one of rows (m c)."""
    c, d = made.dim, made.head_dim
    scale = sqrt(c) if authors else sqrt(d)
    found = []
    for row in asking:
        q, heads = linear(made.q, row), []
        for h in range(made.heads):
            own = slice(h * d, (h + 1) * d)
            weights = torch.stack([(q[own] @ linear(made.k, other)[own] / scale).exp() for other in rows])
            answer = sum(w / weights.sum() * linear(made.v, other)[own] for w, other in zip(weights, rows, strict=True))
            heads.append(q[own] + answer if authors else answer)
        found.append(torch.cat(heads) if authors else linear(made.out, torch.cat(heads)))
    return torch.stack(found)


def mab(attending, ffn, norms, asking: Tensor, rows: Tensor, authors: bool = False) -> Tensor:
    """The paper's: LN(A + rFF(A)), A = LN(X + MHA(X, Y)). The authors': A = q + softmax(q k / sqrt(c)) v by heads."""
    found = []
    for row, answer in zip(asking, read_all(attending, asking, rows, authors), strict=True):
        a = normalised(norms[0], answer if authors else row + answer)
        found.append(normalised(norms[1], a + torch.relu(linear(ffn.linear, a))))
    return torch.stack(found)


def of_layer(layer: InnerLayer, asking: Tensor, rows: Tensor, authors: bool = False) -> Tensor:
    return mab(layer.cross or layer.mixer, layer.ffn, layer.residual.norms, asking, rows, authors)


def inner(heads: int, authors: bool = False) -> dict:
    """Options of the layer inside, in the paper's form or in that of the authors' code."""
    how = {"scale": "dim", "add_query": True, "out": False} if authors else {}
    return {
        "mixer": attention(heads=heads, **how), "ffn": part("ffn", "single"),
        "norm": part("norm", "none" if authors else "layer"),
        "residual": part("residual", "post-norm", around="ffn" if authors else "all"),
    }  # fmt: skip
