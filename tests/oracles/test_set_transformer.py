"""The Set Transformer's blocks beside torch_geometric 2.8.1.

Where the oracle departs: nothing, in values. Its PMA has a linear layer and ReLU on its input, as the paper's
rFF; its rFF is one layer with ReLU. Outputs of padded rows are its own affair (it adds the row itself), so only rows
that are there are compared.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("torch_geometric", reason="pip install -e '.[oracles]'")
from torch_geometric.nn.aggr.utils import (
    InducedSetAttentionBlock,
    PoolingByMultiheadAttention,
    SetAttentionBlock,
)

import xcompose as xc
from tests.plugins.helpers import rows
from xcompose.attention.reads import Axis

pytestmark = pytest.mark.oracle
B, N, C, H, M, K = 3, 11, 12, 3, 5, 2
LENGTHS = [N, 4, 1]
VALID = torch.arange(N) < torch.tensor(LENGTHS)[:, None]
NORMS = pytest.mark.parametrize("norm", [True, False], ids=["norm", "bare"])


def model(mixer: str, norm: bool) -> nn.Module:
    keys = {
        "type": "encoder", "dim": C, "heads": H, "layers": 1, "embedding": "vectors(3)", "position": "none",
        "ffn": "single", "residual": "post-norm", "norm": "layer" if norm else "none", "mixer": mixer,
        "output": f"pooled-classify({K * C}, seeds={K})",
    }  # fmt: skip
    return xc.build({"xcompose": 1, "model": keys}, dtype=torch.float64)


def drawn(theirs: nn.Module) -> nn.Module:
    theirs = theirs.double()
    with torch.no_grad():
        for i, p in enumerate(theirs.parameters()):
            p.copy_(rows(*p.shape, seed=i) * 0.4)
    return theirs


def attention_of(theirs: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Their queries, keys and values stand in one matrix."""
    found = {f"{prefix}.out.weight": theirs.out_proj.weight, f"{prefix}.out.bias": theirs.out_proj.bias}
    for name, weight, bias in zip("qkv", theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True):
        found |= {f"{prefix}.{name}.weight": weight, f"{prefix}.{name}.bias": bias}
    return found


def mab_of(theirs: nn.Module, mixer: str, around: str) -> dict[str, Tensor]:
    """One MAB: its mixer's name here, and the prefix of what stands around it."""
    found = attention_of(theirs.attn, mixer)
    found |= {f"{around}ffn.linear.weight": theirs.lin.weight, f"{around}ffn.linear.bias": theirs.lin.bias}
    for i, norm in enumerate((theirs.layer_norm1, theirs.layer_norm2)):
        if norm is not None:
            found |= {f"{around}residual.norms.{i}.{name}": p for name, p in norm.named_parameters()}
    return found


def load(ours: nn.Module, weights: dict[str, Tensor]) -> None:
    own = dict(ours.named_parameters())
    assert set(own) == set(weights)
    with torch.no_grad():
        for name, p in own.items():
            p.copy_(weights[name].reshape(p.shape))


def block(norm: bool, theirs: nn.Module) -> nn.Module:
    """Our layer with the weights of their SAB or ISAB."""
    if isinstance(theirs, SetAttentionBlock):
        made = model("attention", norm).layers[0]
        load(made, mab_of(theirs.mab, "mixer", ""))
        return made
    made = model(f"attention(pattern=none, memory=inducing({M}))", norm).layers[0]
    inside = "mixer.inner.memory.0"
    weights = mab_of(theirs.mab2, "mixer", "") | mab_of(theirs.mab1, f"{inside}.read.cross", f"{inside}.read.")
    load(made, weights | {f"{inside}.points": theirs.ind})
    return made


def same(found: Tensor, wanted: Tensor, x: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    upstream = rows(*found.shape, seed=5)
    ours, theirs = (torch.autograd.grad(y, x, upstream)[0] for y in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@NORMS
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", ["sab", "isab"])
def test_blocks(kind, norm, padded):
    theirs = drawn(SetAttentionBlock(C, H, norm) if kind == "sab" else InducedSetAttentionBlock(C, M, H, norm))
    x, valid = rows(B, N, C).requires_grad_(), VALID if padded else None
    found, _ = block(norm, theirs)(x, Axis(range(N), valid, total=N), {}, None)
    wanted = theirs(x, valid)

    there = VALID if padded else torch.ones_like(VALID)
    same(found[there], wanted[there], x)


@NORMS
@pytest.mark.parametrize("padded", [False, True])
def test_pooling(norm, padded):
    theirs, made = drawn(PoolingByMultiheadAttention(C, K, H, norm)), model("attention", norm).output
    weights = mab_of(theirs.mab, "pool.cross", "pool.") | {"seeds": theirs.seed}
    weights |= {"before.linear.weight": theirs.lin.weight, "before.linear.bias": theirs.lin.bias}
    load(made, weights | {"linear.weight": torch.eye(K * C), "linear.bias": torch.zeros(K * C)})
    x = rows(B, N, C).requires_grad_()
    valid = VALID if padded else None

    same(made(x, Axis(range(N), valid, total=N)), theirs(x, valid).flatten(1), x)
