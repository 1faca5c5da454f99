"""Attention along axes, and a table for each axis, beside axial-attention 0.6.1.

Where the oracle departs: it has no causal form; `sum_axial_out=True`, its default, adds attentions side by side, which
is our mixer `sum`, and False runs one behind the other without a residual, which is `chain`, height first; only its
output projections have biases; keys and values come out of one matrix, keys first. Its image model has convolutions,
and a norm whose epsilon stands outside the root: nothing here is compared with that.
"""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("axial_attention", reason="pip install -e '.[oracles]'")
from axial_attention import AxialAttention, AxialPositionalEmbedding

from tests.plugins.helpers import attention, context, mixer, part, rows
from xcompose.api import Grid
from xcompose.attention.reads import Axis

pytestmark = pytest.mark.oracle
B, C, HEADS = 2, 12, 3
SIDES = [(3, 5), (5, 3), (2, 3, 4)]


def ours(name: str, sides: tuple[int, ...]) -> Any:
    axes = tuple(attention(pattern=part("pattern", "axis", along=a), heads=HEADS) for a in range(len(sides)))
    return mixer(part("mixer", name, of=axes), C, "none", grid=Grid(sides))


def copied(theirs: Any, made: Any) -> list[tuple[Tensor, list[Tensor]]]:
    """Give our members their weights; pairs of a weight of theirs and those of ours that hold it."""
    pairs = []
    for one, member in zip(theirs.axial_attentions, made.members, strict=True):
        other = one.fn
        pairs += [
            (other.to_q.weight, [member.q.weight]), (other.to_kv.weight, [member.k.weight, member.v.weight]),
            (other.to_out.weight, [member.out.weight]), (other.to_out.bias, [member.out.bias]),
        ]  # fmt: skip
        with torch.no_grad():
            for projection in (member.q, member.k, member.v):
                projection.bias.zero_()
    with torch.no_grad():
        for source, targets in pairs:
            for target, value in zip(targets, source.chunk(len(targets)), strict=True):
                target.copy_(value)
    return pairs


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize(("name", "summed"), [("sum", True), ("chain", False)])
def test_outputs_and_gradients(name, summed, sides):
    n = prod(sides)
    theirs = AxialAttention(dim=C, num_dimensions=len(sides), heads=HEADS, dim_index=-1, sum_axial_out=summed).double()
    made = ours(name, sides)
    pairs = copied(theirs, made)
    x, other = (rows(B, n, C).requires_grad_() for _ in range(2))

    found = made(x, Axis(range(n), total=n)).x
    wanted = theirs(other.unflatten(1, sides)).flatten(1, -2)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    upstream = rows(B, n, C, seed=7)
    found.backward(upstream)
    wanted.backward(upstream)
    torch.testing.assert_close(x.grad, other.grad, rtol=0, atol=1e-12)
    for source, targets in pairs:
        torch.testing.assert_close(torch.cat([t.grad for t in targets]), source.grad, rtol=0, atol=1e-11)


@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_positions(sides):
    n = prod(sides)
    theirs = AxialPositionalEmbedding(C, sides, emb_dim_index=len(sides) + 1).double()
    position = context(C).build(part("position", "axial", shape=sides)).double()
    with torch.no_grad():
        for a, table in enumerate(position.tables):
            table.weight.copy_(getattr(theirs, f"param_{a}").reshape(-1, C))
    x = rows(B, n, C)

    found = position.embed(x, Axis(range(n)))

    torch.testing.assert_close(found, theirs(x.unflatten(1, sides)).flatten(1, -2), rtol=0, atol=1e-12)
