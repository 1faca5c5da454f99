"""No recurrence builds nothing, and attention is as if it had not been written."""

from __future__ import annotations

import torch

from tests.plugins.helpers import attention, context, mixer, part, rows
from xcompose.attention.reads import Axis


def test_nothing_is_carried():
    assert context(12).build(part("recurrence", "none")) is None

    written = mixer(attention(heads=3, recurrence="none"), 12)
    left_out = mixer(attention(heads=3), 12)
    x = rows(2, 7, 12)
    assert torch.equal(written(x, Axis(range(7))).x, left_out(x, Axis(range(7))).x)
