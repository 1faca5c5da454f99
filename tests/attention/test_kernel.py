"""Kernel attention in chunks against sums written as loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xcompose.attention.kernel import Features, Sums, scan, total, whole

B, N, H, G, R, E = 2, 11, 6, 3, 5, 7


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs() -> tuple[Features, Features, Tensor, Sums]:
    q = Features(drawn(B, N, H, R, seed=0), drawn(B, N, H, R, seed=1).exp())
    k = Features(drawn(B, N, G, R, seed=2), drawn(B, N, G, R, seed=3).exp())
    before = Sums(drawn(B, G, R, E, seed=4), drawn(B, G, R, seed=5).exp())
    return q, k, drawn(B, N, G, E, seed=6), before


def naive(q: Features, k: Features, v: Tensor, before: Sums) -> Tensor:
    out = torch.zeros(B, N, H, E, dtype=torch.float64)
    for b in range(B):
        for i in range(N):
            for h in range(H):
                g = h // (H // G)
                above = q.turned[b, i, h] @ before.s[b, g]
                below = q.plain[b, i, h] @ before.z[b, g]
                for j in range(i + 1):
                    above = above + (q.turned[b, i, h] @ k.turned[b, j, g]) * v[b, j, g]
                    below = below + q.plain[b, i, h] @ k.plain[b, j, g]
                out[b, i, h] = above / below
    return out


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 11, 64])
def test_scan_is_exact_for_any_chunk(chunk):
    q, k, v, before = inputs()

    found, after = scan(q, k, v, before, chunk)

    torch.testing.assert_close(found, naive(q, k, v, before), rtol=0, atol=1e-11)
    added = total(k, v)
    torch.testing.assert_close(after.s, before.s + added.s, rtol=0, atol=1e-12)
    torch.testing.assert_close(after.z, before.z + added.z, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [3, 64])
def test_gradients(chunk):
    q, k, v, before = inputs()
    leaves = [t.requires_grad_() for t in (*q, *k, v, *before)]
    upstream = drawn(B, N, H, E, seed=7)

    found = torch.autograd.grad(scan(q, k, v, before, chunk)[0], leaves, upstream)

    tracked = torch.zeros(())
    for i, h in ((i, h) for i in range(N) for h in range(H)):
        g = h // (H // G)
        past = k.turned[:, : i + 1, g]
        weights = (q.turned[:, i, h, None] * past).sum(-1)
        earlier = (q.turned[:, i, h, :, None] * before.s[:, g]).sum(1)
        above = (weights[..., None] * v[:, : i + 1, g]).sum(1) + earlier
        below = (q.plain[:, i, h] * (k.plain[:, : i + 1, g].sum(1) + before.z[:, g])).sum(-1, keepdim=True)
        tracked = tracked + (above / below * upstream[:, i, h]).sum()
    for one, other in zip(found, torch.autograd.grad(tracked, leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_rows_without_features_count_for_nothing_and_no_key_gives_zero():
    q, k, v, _ = inputs()
    blank = Sums(torch.zeros(B, G, R, E, dtype=torch.float64), torch.zeros(B, G, R, dtype=torch.float64))
    late = Features(*(torch.cat([torch.zeros_like(t[:, :4]), t[:, 4:]], 1) for t in k))
    v = v.requires_grad_()

    found, _ = scan(q, late, v, blank, 3)
    (gradient,) = torch.autograd.grad(found.sum(), v)

    assert found[:, :4].eq(0).all()
    assert gradient[:, :4].eq(0).all()
    assert gradient.isfinite().all()


def test_whole_is_the_last_query_of_a_scan():
    q, k, v, before = inputs()
    found, after = scan(q, k, v, before)
    last = Features(*(t[:, -1:] for t in q))

    torch.testing.assert_close(whole(last, after), found[:, -1:], rtol=0, atol=1e-12)


def test_nothing_of_the_size_of_n_times_a_state_is_kept_for_the_gradient():
    """The largest tensor saved is that of the weights inside chunks, n times chunk a head."""
    n, size = 4096, 16
    q, k = (Features(t, t) for t in (torch.rand(1, n, 1, size, requires_grad=True) for _ in range(2)))
    v = torch.rand(1, n, 1, size, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        scan(q, k, v, Sums(torch.zeros(1, 1, size, size), torch.zeros(1, 1, size)))

    assert max(saved) <= n * 128
    assert sum(saved) <= n * (2 * 128 + 16 * size)
