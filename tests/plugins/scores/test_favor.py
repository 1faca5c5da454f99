"""FAVOR against its formula, written as loops; against the softmax it stands for; and what looks ahead."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, context, in_unison, mixer, part, ragged, rows, sizes
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

B, N, C, H, G, D = 2, 7, 12, 3, 1, 4
KERNELS = [("relu", 5), ("softmax", 5), ("hyperbolic", 6), ("trigonometric", 6)]


def made_of(causal: str = "strict", **favor):
    return mixer(attention(heads=H, kv_heads=G, score=part("score", "favor", **favor)), C, causal)


def phi(t: Tensor, w: Tensor, kernel: str) -> Tensor:
    t = t / D**0.25
    if kernel == "relu":
        return torch.stack([(row @ t).clamp(min=0) + 1e-3 for row in w])
    if kernel == "trigonometric":
        big = (t @ t / 2).exp()
        return torch.stack([big * (row @ t).sin() for row in w] + [big * (row @ t).cos() for row in w])
    small = (-t @ t / 2).exp()
    found = [small * (row @ t).exp() for row in w]
    return torch.stack(found if kernel == "softmax" else found + [small * (-row @ t).exp() for row in w])


def naive(made, x: Tensor, features, causal: bool) -> Tensor:
    """`features` gives those of a head's vectors (n d), by side."""
    q = made.q(x).reshape(B, N, H, D)
    k, v = made.k(x).reshape(B, N, G, D), made.v(x).reshape(B, N, G, D)
    out = []
    for b in range(B):
        keys = features(k[b, :, 0], "key")
        asked = [features(q[b, :, h], "query") for h in range(H)]
        for i in range(N):
            for h in range(H):
                past = range(i + 1 if causal else N)
                above = sum((asked[h][i] @ keys[j]) * v[b, j, 0] for j in past)
                out.append(above / sum(asked[h][i] @ keys[j] for j in past))
    return made.out(torch.stack(out).reshape(B, N, H * D))


def agree(made, found: Tensor, wanted: Tensor, x: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    inputs, upstream = [x, *made.parameters()], rows(B, N, C, seed=3)
    pairs = zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("kernel", "features"), KERNELS)
@pytest.mark.parametrize("causal", [False, True])
def test_formula_and_gradients(kernel, features, causal):
    made = made_of("strict" if causal else "none", kernel=kernel, features=features)
    w, x = made.inner.score.rows.double(), rows(B, N, C).requires_grad_()

    found = made(x, Axis(range(N))).x

    agree(made, found, naive(made, x, lambda t, side: [phi(one, w, kernel) for one in t], causal), x)


@pytest.mark.parametrize("causal", [False, True])
def test_the_published_stabilizer_by_its_formula(causal):
    made = made_of("value" if causal else "none", kernel="softmax", features=5, stabilizer="global", epsilon=1e-4)
    w, x = made.inner.score.rows.double(), rows(B, N, C).requires_grad_()

    def features(t: Tensor, side: str) -> list[Tensor]:
        seen = t / D**0.25 @ w.T
        top = seen.max() if side == "key" else seen.max(1, keepdim=True).values
        half = (t / D**0.25).square().sum(1, keepdim=True) / 2
        return list((seen - half - top.detach()).exp() + 1e-4)

    agree(made, made(x, Axis(range(N))).x, naive(made, x, features, causal), x)


def test_the_published_stabilizer_looks_ahead_and_the_running_one_does_not():
    x = rows(B, N, C)
    later = torch.cat([x[:, :4], 9 * x[:, 4:]], 1)

    def change(made) -> float:
        return float((made(x, Axis(range(N))).x - made(later, Axis(range(N))).x)[:, :4].abs().max().detach())

    assert change(made_of(kernel="softmax", features=64)) == 0
    assert change(made_of("value", kernel="softmax", features=64, stabilizer="global")) > 1e-6


def test_a_strict_decoder_refuses_the_published_stabilizer():
    with pytest.raises(PartError) as caught:
        made_of(kernel="softmax", stabilizer="global")

    assert caught.value.message == "a decoder cannot use score 'favor' in this form"
    assert caught.value.label == (
        "the features of a key depend on the whole sequence, so the past would change with the future"
    )
    assert caught.value.fixes == (
        "the form that looks at the past alone", "model.causal: value admits it, and gives up exact decoding",
    )  # fmt: skip


@pytest.mark.parametrize(("kernel", "features"), KERNELS)
def test_decoding_says_what_reading_at_once_says_with_a_state_that_does_not_grow(kernel, features):
    made, x = made_of(kernel=kernel, features=features), rows(B, N, C)
    whole = made(x, Axis(range(N))).x

    found, state = in_unison(made, x, [1, 3, 1, 2])
    other, _ = ragged(made, x, [[2, 3], [1, 2], [4, 2]])

    torch.testing.assert_close(found, whole, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(other, whole, rtol=1e-9, atol=1e-10)
    assert sizes(state) == made.state_shape(N) == made.state_shape(10**6)
    scale = {} if kernel == "relu" else {"m": (G,)}
    assert made.state_shape(N) == {"s": (G, features, D), "z": (G, features), **scale}


@pytest.mark.parametrize("stabilizer", ["running", "global"])
def test_padding_counts_for_nothing(stabilizer):
    made, x = made_of("none", kernel="softmax", features=6, stabilizer=stabilizer), rows(3, N, C)
    valid = torch.arange(N) < torch.tensor([N, 4, 0])[:, None]

    found = made(torch.where(valid[..., None], x, 99.0), Axis(range(N), valid, total=N)).x

    torch.testing.assert_close(found[:1], made(x[:1], Axis(range(N), total=N)).x, rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1:2, :4], made(x[1:2, :4], Axis(range(4), total=4)).x, rtol=0, atol=1e-12)
    torch.testing.assert_close(found[2], made.out.bias.expand(N, C))


@pytest.mark.parametrize("kernel", ["softmax", "hyperbolic", "trigonometric"])
def test_products_of_features_are_the_exponential_on_average(kernel):
    """The mean over 400 draws lies within five standard errors."""
    torch.manual_seed(0)
    q, k = 0.7 * rows(1, 1, 1, D, seed=1), 0.7 * rows(1, 1, 1, D, seed=2)
    found = []
    for _ in range(400):
        score = context(C, heads=H, kv_heads=G, head_dim=D).build(part("score", "favor", kernel=kernel, features=64))
        (a, x), (b, y) = score.features(q, "query"), score.features(k, "key")
        found.append(float((a * b).sum() * (x + y).exp()) / (32 if kernel == "trigonometric" else 64))
    mean, error = torch.tensor(found).mean(), torch.tensor(found).std() / sqrt(len(found))

    assert abs(mean - (q * k).sum().mul(D**-0.5).exp()) < 5 * error
    assert error < 0.02


def test_rows_are_orthogonal_in_blocks_of_the_head():
    w = context(C, head_dim=D).build(part("score", "favor", features=6)).rows

    for block in (w[:D], w[D:]):
        gram = block @ block.T
        torch.testing.assert_close(gram, gram.diagonal().diag(), rtol=0, atol=1e-5)
    fixed = context(C, head_dim=D).build(part("score", "favor", features=6, length="fixed")).rows
    torch.testing.assert_close(fixed.norm(dim=1), torch.full((6,), sqrt(D)))
    plain = context(C, head_dim=D).build(part("score", "favor", features=6, orthogonal=False, length="fixed")).rows
    torch.testing.assert_close(plain.norm(dim=1), torch.full((6,), sqrt(D)))


def test_rows_are_drawn_anew_after_so_many_steps_and_are_saved():
    score = context(C, head_dim=D).build(part("score", "favor", features=6, redraw=3))
    first = score.rows.clone()

    score.after_step(), score.after_step()
    assert torch.equal(score.rows, first)
    score.after_step()
    assert not torch.equal(score.rows, first)
    assert set(score.state_dict()) == {"rows", "steps"}
    assert int(score.steps) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kernel": "hyperbolic", "features": 5}, "kernel 'hyperbolic' has features in pairs, found 5"),
        ({"stabilizer": "global"}, "kernel 'relu' has no exponentials that a stabilizer could be for"),
        ({"kernel": "softmax", "epsilon": 0.1}, "nothing is added to the features of kernel 'softmax'"),
    ],
)
def test_options_that_do_not_fit(given, message):
    with pytest.raises(PartError) as caught:
        context(C, head_dim=D).build(part("score", "favor", **given))

    assert caught.value.message == message
