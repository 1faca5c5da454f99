"""A sum is the sum."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import attention, context, mixer, part, pattern, rows
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

N, C = 7, 12


def test_formula_and_gradients():
    members = (attention(heads=3, pattern=pattern("window", size=2)), attention(heads=3, score="linear"))
    made, x = mixer(part("mixer", "sum", of=members), C), rows(2, N, C).requires_grad_()
    first, second = made.members

    found = made(x, Axis(range(N))).x
    wanted = first(x, Axis(range(N))).x + second(x, Axis(range(N))).x

    assert torch.equal(found, wanted)
    inputs = [x, *made.parameters()]
    for one, other in zip(*(torch.autograd.grad(y.square().sum(), inputs) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_nothing_to_add_is_refused():
    with pytest.raises(PartError) as caught:
        context(C).build(part("mixer", "sum", of=()))

    assert caught.value.message == "mixer 'sum' joins at least one mixer, found none"
    assert caught.value.option == "of"
