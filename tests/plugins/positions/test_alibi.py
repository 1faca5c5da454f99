"""ALiBi: slopes, distances, and attention with them."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import attention, context, mixer, part, rows
from xcompose.attention.pattern import Point
from xcompose.attention.reads import BEFORE_TIME, Axis

SLOPES = {
    1: [2**-8],
    2: [2**-4, 2**-8],
    8: [2**-1, 2**-2, 2**-3, 2**-4, 2**-5, 2**-6, 2**-7, 2**-8],
    6: [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3],
    12: [2**-1, 2**-2, 2**-3, 2**-4, 2**-5, 2**-6, 2**-7, 2**-8, 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5],
}


@pytest.mark.parametrize("heads", SLOPES)
def test_slopes_and_bias(heads):
    (term,) = context(12).build(part("position", "alibi")).terms(heads, 2)
    labels = torch.tensor([[0, 1], [5, 3]])

    found = term.bias(rows(1, 2, heads, 2), labels)

    expected = torch.stack([-slope * labels for slope in torch.tensor(SLOPES[heads], dtype=torch.float64)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
    assert not term.trainable


def test_distance_on_both_sides_and_none_for_a_slot_without_a_position():
    (term,) = context(12).build(part("position", "alibi")).terms(2, 2)

    assert term.label(Point(at=5), Point(at=2)) == 3
    assert term.label(Point(at=2), Point(at=5)) == 3
    assert term.label(Point(at=5), Point(at=0, end=BEFORE_TIME)) == 0


@pytest.mark.parametrize("causal", ["strict", "none"])
def test_attention(causal):
    n, h, d = 7, 3, 4
    made, x = mixer(attention(heads=h, position="alibi"), h * d, causal), rows(2, n, h * d)
    q, k, v = (layer(x).reshape(2, n, h, d) for layer in (made.q, made.k, made.v))
    expected = torch.zeros(2, n, h, d, dtype=torch.float64)
    for head, slope in enumerate([2**-4, 2**-8, 2**-2]):
        for i in range(n):
            keys = range(i + 1) if causal == "strict" else range(n)
            logits = torch.stack([(q[:, i, head] * k[:, j, head]).sum(-1) / 2 - slope * abs(i - j) for j in keys], -1)
            expected[:, i, head] = (logits.softmax(-1)[..., None] * v[:, : len(keys), head]).sum(1)

    found = made(x, Axis(range(n), total=None if causal == "strict" else n)).x

    torch.testing.assert_close(found, made.out(expected.reshape(2, n, h * d)), rtol=0, atol=1e-12)
