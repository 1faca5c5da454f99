"""Convolved memory against a convolution written as loops, and who may read its slots."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, context, mixer, part, pattern, rows
from xcompose.attention.reads import BEFORE_TIME, Axis

B, N, C, H, G, D, F = 2, 8, 12, 6, 3, 2, 3


def conv(**given):
    return part("memory", "conv", factor=F, **given)


def summed(layer: torch.nn.Linear, t: Tensor, causal: bool) -> list[Tensor]:
    """(b g d) of each slot: the sum over taps of a block, the last of an encoder filled with zeros."""
    count = N // F if causal else -(-N // F)
    taps = layer.weight.reshape(G * D, F, G * D)
    found = []
    for c in range(count):
        total = layer.bias.expand(B, G * D)
        for tap in range(F):
            if c * F + tap < N:
                total = total + t[:, c * F + tap].reshape(B, G * D) @ taps[:, tap].T
        found.append(total.reshape(B, G, D))
    return found


def naive(made, x: Tensor, causal: bool, null: bool) -> Tensor:
    memory = made.inner.memories[0]
    q = made.q(x).reshape(B, N, H, D)
    k, v = (layer(x).reshape(B, N, G, D) for layer in (made.k, made.v))
    keys, values = summed(memory.k, k, causal), summed(memory.v, v, causal)
    ends = [c * F + F - 1 for c in range(len(keys))]
    if null:
        own = made.inner.memories[1]
        keys, values, ends = [*keys, own.k.expand(B, G, D)], [*values, own.v.expand(B, G, D)], [*ends, -1]
    out = []
    for i in range(N):
        there = [c for c, end in enumerate(ends) if not causal or end <= i]
        for h in range(H):
            if not there:
                out.append(torch.zeros(B, D, dtype=torch.float64))
                continue
            logits = torch.stack([(q[:, i, h] * keys[c][:, h // 2]).sum(-1) / sqrt(D) for c in there], -1)
            weights = logits.softmax(-1)
            out.append(sum(weights[:, s, None] * values[c][:, h // 2] for s, c in enumerate(there)))
    return made.out(torch.stack(out, 1).reshape(B, N, H * D))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("null", [True, False])
def test_formula_and_gradients(causal, null):
    options = attention(heads=H, kv_heads=G, pattern="none", memory=conv(null="learned" if null else "none"))
    made, x = mixer(options, C, "strict" if causal else "none"), rows(B, N, C).requires_grad_()

    found, wanted = made(x, Axis(range(N), total=None if causal else N)).x, naive(made, x, causal, null)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    inputs, upstream = [x, *made.parameters()], rows(B, N, C, seed=3)
    for one, other in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_before_the_first_block_ends_nothing_is_read_without_a_null_slot():
    made = mixer(attention(heads=H, pattern="none", memory=conv()), C)

    found = made(rows(B, N, C), Axis(range(N))).x

    torch.testing.assert_close(found[:, : F - 1], made.out.bias.expand(B, F - 1, C))
    short = made(rows(B, F - 1, C), Axis(range(F - 1))).x
    torch.testing.assert_close(short, made.out.bias.expand(B, F - 1, C))


def test_a_zero_slot_takes_its_share_and_gives_nothing():
    made = mixer(attention(heads=H, pattern="none", memory=conv(null="zero")), C)
    plain = mixer(attention(heads=H, pattern="none", memory=conv()), C)
    plain.load_state_dict(made.state_dict())
    with torch.no_grad():
        for one in (made, plain):
            one.q.weight.zero_()
            one.q.bias.zero_()
            one.out.bias.zero_()

    with_null, without = (one(rows(B, N, C), Axis(range(N))).x for one in (made, plain))

    slots = torch.tensor([(i + 1) // F for i in range(N)], dtype=torch.float64)[:, None]
    torch.testing.assert_close(with_null, without * slots / (slots + 1), rtol=0, atol=1e-12)


def test_a_pattern_of_its_own_counts_in_tokens_by_the_last_of_a_block():
    options = attention(heads=H, pattern="none", memory=conv(pattern=pattern("window", size=4)))
    (found,) = mixer(options, C).visible(N)

    def read(i, j):
        return j // F * F + F - 1 <= i <= j // F * F + F - 1 + 4

    expected = [[read(i, j) for j in range(N)] for i in range(N)]
    assert found.matrix.tolist() == expected


def inside(causal: str):
    return context(C, causal, heads=H, kv_heads=G, head_dim=D)


def test_spans():
    decoder, encoder = inside("strict").build(conv()), inside("none").build(conv())

    assert [list(one) for one in decoder.spans(8)] == [[0, 3], [2, 5], [2, 5]]
    assert [list(one) for one in encoder.spans(8)] == [[0, 3, 6], [2, 5, 7], [2, 5, 8]]
    assert [len(one) for one in decoder.spans(2)] == [0, 0, 0]


def test_a_null_slot_belongs_to_no_position():
    _, null = inside("strict").build(conv(null="learned"))

    assert [list(one) for one in null.spans(8)] == [[BEFORE_TIME], [BEFORE_TIME], [0]]
    assert null.k.eq(0).all()
    assert null.v.eq(0).all()


def test_padding_of_an_encoder_counts_for_nothing():
    options = attention(heads=H, kv_heads=G, position="rotary", pattern="none", memory=conv(null="learned"))
    made, x = mixer(options, C, "none"), rows(B, N, C)
    for length in (2, 3, 4):
        valid = torch.arange(N) < torch.tensor([N, length])[:, None]
        found = made(torch.where(valid[..., None], x, 99.0), Axis(range(N), valid, total=N)).x
        alone = made(x[1:, :length], Axis(range(length), total=length)).x
        torch.testing.assert_close(found[1:, :length], alone, rtol=0, atol=1e-12)


def test_parameters():
    memory, _ = inside("strict").build(conv(null="learned"))

    assert {name: tuple(p.shape) for name, p in memory.named_parameters()} == {
        "k.weight": (G * D, F * G * D), "k.bias": (G * D,), "v.weight": (G * D, F * G * D), "v.bias": (G * D,),
    }  # fmt: skip
