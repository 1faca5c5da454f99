"""Linformer against the formula, in its three ways to share projections."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from tests.plugins.helpers import attention, context, mixer, part, rows
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

B, N, C, H, G, D, R, LENGTH = 2, 7, 12, 6, 3, 2, 5, 11
SHARES = ("headwise", "key-value", "layerwise")


def options(share: str = "headwise"):
    memory = part("memory", "linformer", rank=R, share=share)
    return attention(heads=H, kv_heads=G, pattern="none", memory=memory)


@pytest.mark.parametrize("share", SHARES)
def test_formula_and_gradients(share):
    made, x = mixer(options(share), C, "none", length=LENGTH), rows(B, N, C).requires_grad_()
    memory = made.inner.memories[0]
    e, f = memory.e.weight, (memory.f.weight if share == "headwise" else memory.e.weight)
    q = made.q(x).reshape(B, N, H, D)
    k, v = (layer(x).reshape(B, N, G, D) for layer in (made.k, made.v))
    out = []
    for i in range(N):
        for h in range(H):
            keys = [sum(e[r, j] * k[:, j, h // 2] for j in range(N)) for r in range(R)]
            values = [sum(f[r, j] * v[:, j, h // 2] for j in range(N)) for r in range(R)]
            weights = torch.stack([(q[:, i, h] * key).sum(-1) / sqrt(D) for key in keys], -1).softmax(-1)
            out.append(sum(weights[:, r, None] * values[r] for r in range(R)))
    wanted = made.out(torch.stack(out, 1).reshape(B, N, C))

    found = made(x, Axis(range(N), total=N)).x

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    inputs, upstream = [x, *made.parameters()], rows(B, N, C, seed=3)
    for one, other in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("share", "projections"), [("headwise", 4), ("key-value", 2), ("layerwise", 1)])
def test_projections_of_two_layers(share, projections):
    around = context(C, "none", length=LENGTH)
    layers = torch.nn.ModuleList(around.build(options(share)) for _ in range(2))
    memories = [p for name, p in layers.named_parameters() if "memory" in name]

    assert len(memories) == projections
    assert all(p.shape == (R, LENGTH) for p in memories)


def test_padding_counts_for_nothing():
    made, x = mixer(options(), C, "none", length=LENGTH), rows(B, N, C)
    valid = torch.arange(N) < torch.tensor([N, 4])[:, None]

    found = made(torch.where(valid[..., None], x, 99.0), Axis(range(N), valid, total=N)).x

    torch.testing.assert_close(found[1:, :4], made(x[1:, :4], Axis(range(4), total=4)).x, rtol=0, atol=1e-12)


def test_a_row_of_padding_only_reads_nothing():
    made = mixer(options(), C, "none", length=LENGTH)
    valid = torch.zeros(B, N, dtype=torch.bool)

    found = made(rows(B, N, C), Axis(range(N), valid, total=N)).x

    torch.testing.assert_close(found, made.out.bias.expand(B, N, C))


def test_every_query_reads_every_position():
    (found,) = mixer(options(), C, "none", length=LENGTH).visible(N)

    assert found.matrix.all()


def test_a_longer_sequence_is_refused():
    made = mixer(options(), C, "none", length=4)

    with pytest.raises(ValueError, match="^a sequence of 7 tokens is longer than the 4 columns of memory 'linformer'$"):
        made(rows(B, N, C), Axis(range(N), total=N))


def test_a_model_without_a_length_is_refused():
    with pytest.raises(PartError) as caught:
        context(C, "none").build(options())

    assert caught.value.message == "memory 'linformer' needs the length of the model"
    assert caught.value.label == "its projections have one column for each position"
    assert caught.value.fixes == ("model.length: 1Ki",)
