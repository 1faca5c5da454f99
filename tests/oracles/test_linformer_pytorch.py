"""Linformer beside linformer-pytorch 0.19.3, in all four ways to share projections.

Where the oracle departs from the paper: E and F are linear layers with a bias, which is set to zero here; each head has
projections of its own for queries, keys and values (ours are theirs on top of each other); a sequence has exactly
`input_size` rows; its `causal=True` is not causal, so it is not compared. `k_reduce_by_layer` takes slots away layer by
layer.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

pytest.importorskip("linformer_pytorch", reason="pip install -e '.[oracles]'")
from linformer_pytorch import Linformer

from tests.plugins.helpers import attention, context, part, rows
from xcompose.attention.reads import Axis

pytestmark = pytest.mark.oracle
C, H, R, N, DEPTH = 12, 3, 5, 7, 2
SHARE = {"none": "none", "headwise": "headwise", "kv": "key-value", "layerwise": "layerwise"}


def oracle(sharing: str, fewer: int = 0) -> list[nn.Module]:
    """The attention of each layer."""
    made = Linformer(
        N, C, R, nhead=H, depth=DEPTH, dropout=0.0, dropout_ff=0.0, parameter_sharing=sharing, include_ff=False,
        k_reduce_by_layer=fewer,
    ).double()  # fmt: skip
    with torch.no_grad():
        for i, p in enumerate(made.parameters()):
            p.copy_(rows(*p.shape, seed=i) * 0.4)
        for layer in made.seq:
            for head in layer.fn.heads:
                head.E.bias.zero_()
                head.F.bias.zero_()
    return [layer.fn for layer in made.seq]


def ours(theirs: list[nn.Module], sharing: str) -> list[nn.Module]:
    """As many layers with the same weights."""
    around, layers = context(C, "none", length=N), []
    for one in theirs:
        memory = part("memory", "linformer", rank=one.heads[0].E.out_features, share=SHARE[sharing])
        layers.append(around.build(attention(heads=H, pattern="none", memory=memory)).double())
    with torch.no_grad():
        for made, one in zip(layers, theirs, strict=True):
            for side in "qkv":
                layer = getattr(made, side)
                layer.weight.copy_(torch.cat([head.weight for head in getattr(one, f"to_{side}")]))
                layer.bias.zero_()
            made.out.weight.copy_(one.w_o.weight)
            made.out.bias.copy_(one.w_o.bias)
            memory, heads = made.inner.memories[0], one.heads if sharing == "none" else one.heads[:1]
            memory.e.weight.copy_(torch.cat([head.E.weight for head in heads]))
            memory.f.weight.copy_(torch.cat([head.F.weight for head in heads]))
    return layers


@pytest.mark.parametrize("sharing", SHARE)
def test_outputs_and_gradients(sharing):
    theirs = oracle(sharing)
    made, x = ours(theirs, sharing), rows(2, N, C).requires_grad_()
    for one, other in zip(made, theirs, strict=True):
        found, wanted = one(x, Axis(range(N), total=N)).x, other(x)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        upstream = rows(2, N, C, seed=3)
        heads = other.heads if sharing == "none" else other.heads[:1]
        our_x, our_e = torch.autograd.grad(found, [x, one.inner.memories[0].e.weight], upstream)
        their_x, *their_e = torch.autograd.grad(wanted, [x, *(head.E.weight for head in heads)], upstream)
        torch.testing.assert_close(our_x, their_x, rtol=0, atol=1e-12)
        torch.testing.assert_close(our_e, torch.cat(their_e), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("sharing", "count"), [("none", 2 * DEPTH * H), ("headwise", 2 * DEPTH), ("kv", DEPTH), ("layerwise", 1)]
)
def test_as_many_projections(sharing, count):
    theirs = oracle(sharing)
    made = nn.ModuleList(ours(theirs, sharing))

    distinct = {id(p) for one in theirs for head in one.heads for p in (head.E.weight, head.F.weight)}
    assert len(distinct) == count
    assert sum(p.numel() for name, p in made.named_parameters() if "memory" in name) == count * R * N


def test_fewer_slots_in_higher_layers():
    theirs = oracle("headwise", fewer=2)
    x = rows(2, N, C)

    assert [one.heads[0].E.out_features for one in theirs] == [5, 3]
    for one, other in zip(ours(theirs, "headwise"), theirs, strict=True):
        torch.testing.assert_close(one(x, Axis(range(N), total=N)).x, other(x), rtol=0, atol=1e-12)
