"""Heads with windows of different dilation in one attention, as in Longformer's language model, against the formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, in_unison, mixer, part, pattern, ragged, rows, sizes
from xcompose.attention.reads import Axis
from xcompose.compose.parts import Mixer

N, H, D, W, FAR = 23, 4, 3, 3, 4
C = H * D
LABELS = 5
OPTIONS = attention(
    heads=H, position=part("position", "relative", clip=LABELS, per_head=False),
    pattern=pattern(
        "heads", of=((3, pattern("window", size=W)), (1, pattern("window", size=W, dilation=FAR)))
    ),
)  # fmt: skip


def by_the_book(made: Mixer, x: Tensor, causal: bool) -> Tensor:
    """One sequence (n c): head h of query i reads i + dilation_h a for -w <= a <= w, in a decoder for a <= 0."""
    n, found = len(x), []
    q, k, v = ((x @ t.weight.T + t.bias).unflatten(-1, (H, D)) for t in (made.q, made.k, made.v))
    tables = [p for name, p in made.named_parameters() if "position" in name]
    (table,) = tables
    table = table.reshape(-1, D)
    for i in range(n):
        heads = []
        for h in range(H):
            gap = 1 if h < 3 else FAR
            reach = range(-W, 1 if causal else W + 1)
            keys = [i + gap * a for a in reach if 0 <= i + gap * a < n]
            labels = [
                min(i - j, LABELS) if causal else min(j - i, LABELS) if j >= i else LABELS + min(i - j, LABELS)
                for j in keys
            ]
            logits = [
                (q[i, h] @ k[j, h] + q[i, h] @ table[label]) / D**0.5 for j, label in zip(keys, labels, strict=True)
            ]
            weights = torch.stack(logits).softmax(0)
            heads.append(sum(w * v[j, h] for w, j in zip(weights, keys, strict=True)))
        found.append(torch.cat(heads) @ made.out.weight.T + made.out.bias)
    return torch.stack(found)


@pytest.mark.parametrize("causal", ["strict", "none"])
def test_formula(causal):
    made, x = mixer(OPTIONS, C, causal), rows(1, N, C).requires_grad_()

    found = made(x, Axis(range(N), total=None if causal == "strict" else N)).x
    wanted = by_the_book(made, x[0], causal == "strict")[None]

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    upstream, places = rows(1, N, C, seed=1), [x, *made.parameters()]
    for one, other in zip(*(torch.autograd.grad((y * upstream).sum(), places) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_decoding_and_what_is_kept():
    """Each head keeps the keys that its next queries may read: w times its dilation."""
    made, x = mixer(OPTIONS, C), rows(2, N, C)
    wanted = made(x, Axis(range(N))).x

    steps, state = in_unison(made, x, range(N))

    torch.testing.assert_close(steps, wanted, rtol=0, atol=1e-12)
    assert sizes(state) == made.state_shape(N)
    assert made.state_shape(N)["tokens.0.k"] == (W, 3, D)
    assert made.state_shape(N)["tokens.1.k"] == (W * FAR, 1, D)


def test_rows_at_different_times():
    made, x = mixer(OPTIONS, C), rows(3, N, C)
    plan = [(9, 2, 5), (0, 3, 1), (1, 1, 1), (5, 0, 9), (8, 6, 7)]

    found, _ = ragged(made, x, plan)

    wanted = made(x, Axis(range(N))).x
    for i, total in enumerate(map(sum, zip(*plan, strict=True))):
        torch.testing.assert_close(found[i, :total], wanted[i, :total], rtol=0, atol=1e-12)


def test_padded_rows_change_nothing():
    made, x = mixer(OPTIONS, C, "none"), rows(2, N, C)
    valid = torch.arange(N) < torch.tensor([N, 9])[:, None]

    found = made(torch.where(valid[..., None], x, 0.0), Axis(range(N), valid, total=N)).x

    torch.testing.assert_close(found[1, :9], by_the_book(made, x[1, :9], False), rtol=0, atol=1e-12)


def test_pairs_are_those_of_the_catalogue():
    """n(w + 1) - dilation w(w + 1) / 2 for each head of a decoder."""
    near, far = mixer(OPTIONS, C).visible(N)

    assert int(near.matrix.sum()) == N * (W + 1) - W * (W + 1) // 2
    assert int(far.matrix.sum()) == N * (W + 1) - FAR * W * (W + 1) // 2
    assert (near.heads, far.heads) == (3, 1)
