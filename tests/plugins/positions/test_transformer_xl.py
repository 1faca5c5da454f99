"""Transformer-XL's position against the formula of the paper, pair by pair."""

from __future__ import annotations

from math import cos, sin, sqrt

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, context, mixer, part, pattern, rows
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

B, N, C, H, D = 2, 7, 10, 2, 3


def waves(distance: int) -> Tensor:
    angles = [distance / 10000 ** (2 * s / C) for s in range(C // 2)]
    return torch.tensor([sin(a) for a in angles] + [cos(a) for a in angles], dtype=torch.float64)


def naive(made, x: Tensor, clamp: int | None, causal: bool) -> Tensor:
    position = made.inner.position
    q, k, v = (layer(x).reshape(B, N, H, D) for layer in (made.q, made.k, made.v))
    out = []
    for b in range(B):
        for i in range(N):
            for h in range(H):
                logits = []
                keys = range(i + 1) if causal else range(N)
                for j in keys:
                    distance = i - j if clamp is None else max(-clamp, min(clamp, i - j))
                    seen = (position.r.weight @ waves(distance)).reshape(H, D)[h]
                    content = (q[b, i, h] + position.u[h]) @ k[b, j, h]
                    logits.append((content + (q[b, i, h] + position.v[h]) @ seen) / sqrt(D))
                weights = torch.stack(logits).softmax(0)
                out.append(sum(w * v[b, j, h] for w, j in zip(weights, keys, strict=True)))
    return made.out(torch.stack(out).reshape(B, N, H * D))


@pytest.mark.parametrize("clamp", [None, 3])
@pytest.mark.parametrize("causal", [True, False])
def test_formula_and_gradients(clamp, causal):
    options = attention(heads=H, head_dim=D, position=part("position", "transformer-xl", clamp=clamp))
    made, x = mixer(options, C, "strict" if causal else "none"), rows(B, N, C).requires_grad_()

    found, wanted = made(x, Axis(range(N), total=None if causal else N)).x, naive(made, x, clamp, causal)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    inputs, upstream = [x, *made.parameters()], rows(B, N, C, seed=3)
    for one, other in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_groups_of_heads_see_their_own_part():
    groups = pattern("heads", of=((1, pattern("dense")), (1, pattern("window", size=N))))
    grouped = mixer(attention(heads=H, head_dim=D, position="transformer-xl", pattern=groups), C)
    plain = mixer(attention(heads=H, head_dim=D, position="transformer-xl"), C)
    x = rows(B, N, C)

    torch.testing.assert_close(grouped(x, Axis(range(N))).x, plain(x, Axis(range(N))).x, rtol=0, atol=1e-12)


def test_u_and_v_are_the_same_in_all_layers_and_the_projection_is_not():
    around = context(C)
    first, second = (around.build(attention(heads=H, head_dim=D, position="transformer-xl")) for _ in range(2))

    assert first.inner.position.u is second.inner.position.u
    assert first.inner.position.v is second.inner.position.v
    assert first.inner.position.r is not second.inner.position.r


def test_outside_attention_it_has_no_parameters():
    assert not list(context(C).build(part("position", "transformer-xl")).parameters())


def test_an_odd_width_is_refused():
    with pytest.raises(PartError) as caught:
        context(7).build(part("position", "transformer-xl"))

    assert caught.value.message == "position 'transformer-xl' needs an even 'dim', found 7"
