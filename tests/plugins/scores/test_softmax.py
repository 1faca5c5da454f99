"""Softmax is the engine's own weighting: the score adds nothing to it."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import attention, context, mixer, part, rows
from xcompose.attention.reads import Axis


def test_it_is_no_kernel():
    score = context(12).build(part("score", "softmax"))

    assert not score.kernel
    assert not list(score.parameters())
    with pytest.raises(NotImplementedError, match="only kernels have features"):
        score.features(rows(1, 2, 3, 4), "key")


def test_weights_are_positive_and_add_up_to_one():
    made = mixer(attention(heads=3), 12)
    with torch.no_grad():
        made.v.weight.zero_()
        made.v.bias.fill_(1.0)

    found = made(rows(2, 7, 12) * 100, Axis(range(7))).x

    torch.testing.assert_close(found, made.out(torch.ones(2, 7, 12, dtype=torch.float64)), rtol=0, atol=1e-12)
