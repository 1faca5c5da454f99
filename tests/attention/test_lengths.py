"""Padded batches whose patterns ask for the length: each length by itself, with tiles."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import attention, mixer, pattern, rows
from xcompose.api import Axis
from xcompose.attention.explain import recording

N, C = 41, 8
LENGTHS = (41, 17, 0, 17, 3, 40)


def made(position: str = "none", **given):
    ends = pattern("global", first=2, last=3)
    of = (pattern("blocks", size=5, back=1, ahead=1), ends, pattern("random-blocks", count=1, block=5))
    return mixer(attention(heads=2, pattern=pattern("union", of=of), position=position, **given), C, "none")


def batch() -> tuple[torch.Tensor, Axis]:
    valid = torch.arange(N) < torch.tensor(LENGTHS)[:, None]
    return rows(len(LENGTHS), N, C) * valid[..., None], Axis(range(N), valid, total=N)


@pytest.mark.parametrize("position", ["none", "rotary", "alibi"])
def test_rows_and_gradients_are_those_of_each_sequence_alone(position):
    layer = made(position)
    x, axis = batch()
    x.requires_grad_()
    found, upstream = layer(x, axis).x, rows(len(LENGTHS), N, C, seed=3)
    upstream = upstream * axis.valid[..., None]
    wanted = torch.zeros_like(found)
    for row, n in enumerate(LENGTHS):
        if n:
            wanted[row : row + 1, :n] = layer(x[row : row + 1, :n], Axis(range(n), total=n)).x
    mask = axis.valid[..., None]
    inputs = [x, *layer.parameters()]

    torch.testing.assert_close(found * mask, wanted, rtol=0, atol=1e-12)
    pairs = zip(
        torch.autograd.grad(found, inputs, upstream), torch.autograd.grad(wanted, inputs, upstream), strict=True
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_rows_behind_an_end_read_nothing():
    layer = made()
    found = layer(*batch()).x

    assert torch.equal(found[2], layer.out.bias.expand(N, C))
    assert torch.equal(found[1, 17:], layer.out.bias.expand(N - 17, C))


def test_every_length_has_tiles():
    with recording() as choices:
        made()(*batch())

    assert {choice.executor for choice in choices} == {"fused", "cached"}
    assert {choice.reason for choice in choices if choice.executor == "cached"} == {
        f"{few} queries need no plan" for few in (0, 3)
    }
