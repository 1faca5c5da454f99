"""Linear attention against its formula, with and without rotary, and what half precision keeps."""

from __future__ import annotations

from math import cos, exp, sin

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, context, mixer, part, rows
from xcompose.attention.reads import Axis

B, N, C, H, G, D = 2, 7, 12, 3, 1, 4


def phi(t: Tensor) -> Tensor:
    return torch.stack([one + 1 if one > 0 else one.exp() for one in t])


def turned(t: Tensor, at: int) -> Tensor:
    """Channel s goes with channel s + d/2; wave s turns by at / 10000^(2 s / d)."""
    out = [torch.zeros(())] * len(t)
    for s in range(len(t) // 2):
        angle = at * 10000.0 ** (-2 * s / len(t))
        a, b = t[s], t[s + len(t) // 2]
        out[s], out[s + len(t) // 2] = a * cos(angle) - b * sin(angle), a * sin(angle) + b * cos(angle)
    return torch.stack(out)


def naive(made, x: Tensor, rotary: bool, causal: bool) -> Tensor:
    q = made.q(x).reshape(B, N, H, D)
    k, v = made.k(x).reshape(B, N, G, D), made.v(x).reshape(B, N, G, D)
    turn = turned if rotary else lambda t, at: t
    out = []
    for b in range(B):
        for i in range(N):
            for h in range(H):
                keys = range(i + 1 if causal else N)
                asked = phi(q[b, i, h])
                above = sum((turn(asked, i) @ turn(phi(k[b, j, 0]), j)) * v[b, j, 0] for j in keys)
                below = sum(asked @ phi(k[b, j, 0]) for j in keys)
                out.append(above / below)
    return made.out(torch.stack(out).reshape(B, N, H * D))


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_formula_and_gradients(rotary, causal):
    options = attention(heads=H, kv_heads=G, score="linear", position="rotary" if rotary else None)
    made = mixer(options, C, "strict" if causal else "none")
    x = rows(B, N, C).requires_grad_()

    found, wanted = made(x, Axis(range(N))).x, naive(made, x, rotary, causal)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    inputs, upstream = [x, *made.parameters()], rows(B, N, C, seed=3)
    pairs = zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_features_are_positive_far_below_zero_and_smooth_at_zero():
    score = context(C).build(part("score", "linear"))
    t = torch.tensor([-80.0, -20.0, -1e-7, 0.0, 1e-7, 30.0])

    features, log_scale = score.features(t, "key")

    assert log_scale is None
    assert features.gt(0).all()
    torch.testing.assert_close(features, torch.tensor([exp(-80), exp(-20), 1.0, 1.0, 1.0, 31.0]))


def test_weights_add_up_to_one_without_a_turn():
    made = mixer(attention(heads=H, score="linear"), C)
    with torch.no_grad():
        made.v.weight.zero_()
        made.v.bias.fill_(1.0)

    found = made(rows(B, N, C), Axis(range(N))).x

    torch.testing.assert_close(found, made.out(torch.ones(B, N, C, dtype=torch.float64)), rtol=0, atol=1e-12)


def test_half_precision_sums_in_single_precision():
    made = mixer(attention(heads=H, score="linear"), C).to(torch.bfloat16)
    x = rows(1, 3000, C).to(torch.bfloat16)

    found = made(x, Axis(range(3000)), made.start(1, x))

    assert found.x.dtype == torch.bfloat16
    assert found.state["s"].dtype == torch.float32
    assert found.state["z"].dtype == torch.float32
    k = made.k(x).reshape(1, 3000, H, D).double()
    z = torch.where(k > 0, k + 1, k.exp()).sum(1)
    torch.testing.assert_close(found.state["z"].double(), z, rtol=1e-6, atol=0)


def test_automatic_half_precision_leaves_the_sums_alone():
    made, x = mixer(attention(heads=H, score="linear"), C).float(), rows(1, 50, C).float()

    with torch.autocast("cpu", torch.bfloat16):
        found = made(x, Axis(range(50)), made.start(1, x))
        k, v = (layer(x).reshape(1, 50, H, D).double() for layer in (made.k, made.v))

    assert found.x.dtype == torch.bfloat16
    features = torch.where(k > 0, k + 1, k.exp())
    s = torch.einsum("b n h r, b n h e -> b h r e", features, v)
    torch.testing.assert_close(found.state["s"].double(), s, rtol=0, atol=1e-5)


def test_padding_counts_for_nothing():
    made, x = mixer(attention(heads=H, score="linear", position="rotary"), C, "none"), rows(3, N, C)
    valid = torch.arange(N) < torch.tensor([N, 4, 0])[:, None]

    found = made(torch.where(valid[..., None], x, 99.0), Axis(range(N), valid, total=N)).x

    torch.testing.assert_close(found[:1], made(x[:1], Axis(range(N), total=N)).x, rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1:2, :4], made(x[1:2, :4], Axis(range(4), total=4)).x, rtol=0, atol=1e-12)
    torch.testing.assert_close(found[2], made.out.bias.expand(N, C))


def test_the_state_does_not_grow():
    made = mixer(attention(heads=H, kv_heads=G, score="linear", position="rotary"), C)

    assert made.state_shape(1) == made.state_shape(10**9) == {"s": (G, D, D), "z": (G, D)}
