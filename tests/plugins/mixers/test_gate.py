"""A gate weighs what its members find, token by token."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import attention, context, mixer, part, pattern, rows
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

B, N, C = 2, 7, 12


def test_formula_and_gradients():
    near, far = attention(heads=3, pattern=pattern("window", size=2)), attention(heads=3, score="linear")
    members = (near, far, attention(heads=3))
    made, x = mixer(part("mixer", "gate", of=members), C), rows(B, N, C).requires_grad_()

    found = made(x, Axis(range(N))).x

    mixed = [member(x, Axis(range(N))).x for member in made.members]
    out = []
    for b in range(B):
        for i in range(N):
            logits = torch.stack([made.gate.weight[p] @ x[b, i] + made.gate.bias[p] for p in range(3)]).exp()
            out.append(sum(logits[p] / logits.sum() * mixed[p][b, i] for p in range(3)))
    wanted = torch.stack(out).reshape(B, N, C)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    inputs = [x, *made.parameters()]
    for one, other in zip(*(torch.autograd.grad(y.square().sum(), inputs) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("of", "fixes"), [((), ()), ((attention(heads=3),), ("write the mixer alone",))])
def test_a_choice_needs_two(of, fixes):
    with pytest.raises(PartError) as caught:
        context(C).build(part("mixer", "gate", of=of))

    assert caught.value.message == f"mixer 'gate' chooses between two mixers at least, found {len(of)}"
    assert (caught.value.option, caught.value.fixes) == ("of", fixes)
