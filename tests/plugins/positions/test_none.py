"""No position leaves everything as it is."""

from __future__ import annotations

import torch

from tests.plugins.helpers import attention, context, mixer, part, rows
from xcompose.attention.reads import Axis


def test_nothing_changes():
    position = context(12).build(part("position", "none"))
    x, q = rows(2, 5, 12), rows(2, 5, 3, 4)

    assert position.embed(x, Axis(range(5))) is x
    assert position.turn(q, torch.arange(5), "query") is q
    assert position.terms(3, 4) == ()


def test_an_encoder_without_positions_takes_rows_as_a_set():
    made = mixer(attention(heads=3, position="none"), 12, "none")
    x, order = rows(2, 5, 12), torch.tensor([3, 1, 4, 0, 2])

    found = made(x[:, order], Axis(range(5), total=5)).x

    torch.testing.assert_close(found, made(x, Axis(range(5), total=5)).x[:, order], rtol=0, atol=1e-12)
