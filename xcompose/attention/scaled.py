"""Kernel sums of features that come with log-scales: features of exponentials, which no float could hold by themselves.

    o_i = sum_j e^(a_j) phi(q_i) phi(k_j) v_j / sum_j e^(a_j) phi(q_i) phi(k_j)

Everything is kept relative to the largest log-scale so far. That maximum looks at the past alone, and it stands above
and below the line: no answer depends on it, only its digits do.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

TOGETHER = 64
"""Chunks whose sums are made by one product."""


class ScaledSums(NamedTuple):
    """What the keys so far add up to, divided by e^m."""

    s: Tensor
    """(b g r e) keys times values, turned"""
    z: Tensor
    """(b g r) keys, plain"""
    m: Tensor
    """(b g) the largest log-scale so far; -inf before the first key"""


def scan_scaled(
    q: tuple[Tensor, Tensor], k: tuple[Tensor, Tensor], logs: Tensor, v: Tensor, before: ScaledSums, chunk: int
) -> tuple[Tensor, ScaledSums]:
    """Answer every query from the keys before it and its own.

    Time O(n r e + n chunk (r + e)), memory O(n (r + e + chunk) + n r e / chunk); exact for any chunk.

    Args:
        q: features (b n h r), turned and plain.
        k: features (b n g r) of the same rows, turned and plain.
        logs: (b n g) log-scales of the keys; -inf where a row does not count.
        v: (b n g e).
        before: sums over the keys of earlier calls.

    Returns:
        (b n h e), 0 where nothing counts; and the sums with these keys.
    """
    n, groups = v.shape[1], v.shape[2]
    size = min(chunk, n)
    logs = padded(logs, size, -torch.inf)
    top = torch.maximum(logs.detach().cummax(1).values, before.m[:, None])
    tops, scales = (rearrange(t, "b (t c) g -> b t g c", c=size) for t in (top, logs))
    ends = torch.cat([before.m[:, None], tops[..., -1]], 1)
    values = rearrange(padded(v, size), "b (t c) g e -> b t g c e", c=size)
    held = below(scales, ends[:, 1:, :, None]).exp()
    past = torch.ones(size, size, dtype=torch.bool, device=v.device).tril()
    near = below(torch.where(past, scales[..., None, :], -torch.inf), tops[..., None]).exp()
    far = below(ends[:, :-1, :, None], tops).exp()
    each = q[0].shape[2] // groups
    near, far = near.repeat(1, 1, 1, each, 1), far.repeat(1, 1, 1, each)[..., None]

    def part(asked: Tensor, keys: Tensor, what: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """(b n h e) weighted sums over `what` (b t g c e), and the sum over all keys (b g r e)."""
        asked = rearrange(padded(rearrange(asked, "b n (g j) r -> b n g j r", g=groups), size),
                          "b (t c) g j r -> b t g (j c) r", c=size)  # fmt: skip
        keys = rearrange(padded(keys, size), "b (t c) g r -> b t g c r", c=size)
        added = (keys * held[..., None]).transpose(-1, -2) @ what
        earlier, last = running(added, ends, first)
        found = ((asked @ keys.transpose(-1, -2)) * near) @ what + (asked @ earlier) * far
        return rearrange(found, "b t g (j c) e -> b (t c) (g j) e", c=size)[:, :n], last

    numerator, s = part(q[0], k[0], values, before.s)
    ones = torch.ones_like(values[..., :1])
    divisor, z = part(q[1], k[1], ones, before.z[..., None])
    answer = numerator / torch.where(divisor == 0, 1.0, divisor)
    return answer, ScaledSums(s, z[..., 0], ends[:, -1])


def running(added: Tensor, ends: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """The sum before each chunk, relative to the scale at its start, and the sum after the last.

    Args:
        added: (b t g r e) what each chunk adds, relative to the scale at its end.
        ends: (b t+1 g) the scale before each chunk, and after the last.
        first: (b g r e) the sum before the first chunk.
    """
    found = []
    for low in range(0, added.shape[1], TOGETHER):
        some = added[:, low : low + TOGETHER]
        then = ends[:, low + 1 : low + 1 + some.shape[1]]
        past = torch.ones(then.shape[1], then.shape[1], dtype=torch.bool, device=then.device).tril()[..., None]
        held = below(torch.where(past, then[:, None], -torch.inf), then[:, :, None]).exp()
        carried = below(ends[:, low, None], then).exp()[..., None, None] * first[:, None]
        after = torch.einsum("btsg,bsgre->btgre", held, some) + carried
        found += [first[:, None], after[:, :-1]]
        first = after[:, -1]
    return torch.cat(found, 1), first


def total_scaled(k: tuple[Tensor, Tensor], logs: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over all rows, divided by the largest scale: (b g r e) and (b g r)."""
    held = below(logs, logs.detach().amax(1, keepdim=True)).exp()[..., None]
    return torch.einsum("bngr,bnge->bgre", k[0] * held, v), (k[1] * held).sum(1)


def below(a: Tensor, b: Tensor) -> Tensor:
    """a - b for a not above b, where -inf stays -inf whatever b is."""
    nothing = a == -torch.inf
    return torch.where(nothing, -torch.inf, torch.where(nothing, 0.0, a) - torch.where(nothing, 0.0, b))


def padded(t: Tensor, size: int, value: float = 0.0) -> Tensor:
    """t (b n ...) with `value` behind, so that n is a multiple of size."""
    missing = -t.shape[1] % size
    return F.pad(t, [0] * (2 * (t.ndim - 2)) + [0, missing], value=value) if missing else t
