"""Attention over slots, one query after the other, and the ways in which a memory has to keep its word."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from tests.plugins.helpers import in_unison, ragged, rows, sizes
from xcompose.attention.reads import Axis
from xcompose.compose.parts import Mixer, Source


def answered(made: Any, x: Tensor, keys: list[Tensor], values: list[Tensor], ends: list[int], causal: bool) -> Tensor:
    """What queries of x (b n c) read in slots (b g d), each from position `end` on where `causal`."""
    batch, n, _ = x.shape
    heads, d = made.heads, made.head_dim
    share = heads // made.kv_heads
    q = made.q(x).reshape(batch, n, heads, d)
    out = []
    for i in range(n):
        there = [c for c, end in enumerate(ends) if not causal or end <= i]
        for h in range(heads):
            if not there:
                out.append(torch.zeros_like(q[:, 0, 0]))
                continue
            logits = torch.stack([(q[:, i, h] * keys[c][:, h // share]).sum(-1) / sqrt(d) for c in there], -1)
            weights = logits.softmax(-1)
            out.append(sum(weights[:, s, None] * values[c][:, h // share] for s, c in enumerate(there)))
    return made.out(torch.stack(out, 1).reshape(batch, n, heads * d))


def agree(found: Tensor, wanted: Tensor, inputs: list[Tensor]) -> None:
    """The same numbers and the same gradients."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    upstream = rows(*found.shape, seed=3)
    pairs = zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def decodes(made: Mixer, n: int) -> None:
    """Cut anywhere, and ragged, a decoder says what it says at once, and its state has the size it declares."""
    x = rows(2, n, made.dim, seed=5)
    whole = made(x, Axis(range(n))).x
    for cuts in (range(n), (1, 5, 6), (n // 2,)):
        found, state = in_unison(made, x, cuts)
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)
        assert sizes(state) == made.state_shape(n)
    found, _ = ragged(made, x, [(3, 1), (1, 4), (0, 2), (n - 4, n - 7)])
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)


def is_strict(made: Mixer, n: int) -> None:
    """No output moves when a later row does, to the last bit."""
    x = rows(2, n, made.dim)
    before = made(x, Axis(range(n))).x
    for at in range(1, n):
        other = torch.cat([x[:, :at], rows(2, n - at, made.dim, seed=at + 7)], 1)
        assert made(other, Axis(range(n))).x[:, :at].equal(before[:, :at])


def padding_counts_for_nothing(made: Mixer, n: int, causal: bool = False) -> None:
    """A padded sequence is answered as if it stood alone; of an encoder, of whatever length."""
    x = rows(2, n, made.dim)
    for length in range(1, n):
        valid = torch.arange(n) < torch.tensor([n, length])[:, None]
        total, short = (None, None) if causal else (n, length)
        found = made(torch.where(valid[..., None], x, 99.0), Axis(range(n), valid, total=total)).x
        alone = made(x[1:, :length], Axis(range(length), total=short)).x
        torch.testing.assert_close(found[1:, :length], alone, rtol=0, atol=1e-12)
        torch.testing.assert_close(found[:1], made(x[:1], Axis(range(n), total=total)).x, rtol=0, atol=1e-12)


def source_of(m: int, dim: int, lengths: tuple[int, int] | None = None) -> Source:
    """Another sequence, in which padding holds zeros."""
    x = rows(2, m, dim, seed=11)
    if lengths is None:
        return Source(x, Axis(range(m), total=m, clock="source"))
    valid = torch.arange(m) < torch.tensor(lengths)[:, None]
    return Source(torch.where(valid[..., None], x, 0.0), Axis(range(m), valid, total=m, clock="source"))


def summarises_a_source(made: Mixer, n: int, m: int) -> dict[str, tuple[int, ...]]:
    """A cross layer reads its source once, padded or not; gives the sizes of what it then keeps."""
    x, source = rows(2, n, made.dim), source_of(m, made.dim)
    whole = made(x, Axis(range(n)), None, source).x
    first = made(x[:, :2], Axis(range(2)), made.start(2, x), source)
    second = made(x[:, 2:], Axis(range(2, n)), first.state)
    torch.testing.assert_close(torch.cat([first.x, second.x], 1), whole, rtol=0, atol=1e-12)

    padded = made(x, Axis(range(n)), None, source_of(m, made.dim, (m, m - 4))).x
    short = Source(source.x[1:, : m - 4], Axis(range(m - 4), total=m - 4, clock="source"))
    torch.testing.assert_close(padded[:1], whole[:1], rtol=0, atol=1e-12)
    torch.testing.assert_close(padded[1:], made(x[1:], Axis(range(n)), None, short).x, rtol=0, atol=1e-12)
    return sizes(second.state)
