"""Kernel sums with log-scales against sums written as loops, far beyond what a float could hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xcompose.attention.scaled import ScaledSums, scan_scaled, total_scaled

B, N, H, G, R, E = 2, 11, 6, 3, 5, 7


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor, Tensor, ScaledSums]:
    q = (drawn(B, N, H, R, seed=0), drawn(B, N, H, R, seed=1).exp())
    k = (drawn(B, N, G, R, seed=2), drawn(B, N, G, R, seed=3).exp())
    before = ScaledSums(drawn(B, G, R, E, seed=4), drawn(B, G, R, seed=5).exp(), drawn(B, G, seed=8))
    return q, k, 3 * drawn(B, N, G, seed=9), drawn(B, N, G, E, seed=6), before


def naive(q, k, logs: Tensor, v: Tensor, before: ScaledSums) -> Tensor:
    rows = []
    for b in range(B):
        for i in range(N):
            for h in range(H):
                g = h // (H // G)
                above = q[0][b, i, h] @ before.s[b, g] * before.m[b, g].exp()
                below = q[1][b, i, h] @ before.z[b, g] * before.m[b, g].exp()
                for j in range(i + 1):
                    weight = logs[b, j, g].exp()
                    above = above + weight * (q[0][b, i, h] @ k[0][b, j, g]) * v[b, j, g]
                    below = below + weight * (q[1][b, i, h] @ k[1][b, j, g])
                rows.append(above / below)
    return torch.stack(rows).reshape(B, N, H, E)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 11, 64])
def test_scan_is_exact_for_any_chunk_forward_and_gradients(chunk):
    q, k, logs, v, before = inputs()
    leaves = [t.requires_grad_() for t in (*q, *k, logs, v, before.s, before.z)]
    upstream = drawn(B, N, H, E, seed=7)

    found, after = scan_scaled(q, k, logs, v, before, chunk)
    wanted = naive(q, k, logs, v, before)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
    pairs = zip(*(torch.autograd.grad(y, leaves, upstream) for y in (found, wanted)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    scale = before.m.exp()[..., None]
    z = before.z * scale + torch.einsum("bngr,bng->bgr", k[1], logs.exp())
    torch.testing.assert_close(after.z * after.m.exp()[..., None], z, rtol=1e-12, atol=0)


def test_many_chunks_are_summed_in_runs(monkeypatch):
    q, k, logs, v, before = inputs()
    wanted, last = scan_scaled(q, k, logs, v, before, 2)

    monkeypatch.setattr("xcompose.attention.scaled.TOGETHER", 2)
    found, after = scan_scaled(q, k, logs, v, before, 2)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    torch.testing.assert_close(after.s, last.s, rtol=0, atol=1e-11)


def test_a_huge_key_of_the_future_changes_no_bit_of_the_past():
    q, k, logs, v, _ = inputs()
    blank = ScaledSums(
        torch.zeros(B, G, R, E, dtype=torch.float64), torch.zeros(B, G, R, dtype=torch.float64),
        torch.full((B, G), -torch.inf, dtype=torch.float64),
    )  # fmt: skip
    loud = logs.clone()
    loud[:, 7] = 5000.0

    calm, _ = scan_scaled(q, k, logs, v, blank, 4)
    after, sums = scan_scaled(q, k, loud, v, blank, 4)

    assert torch.equal(calm[:, :7], after[:, :7])
    assert after.isfinite().all()
    assert (sums.m == 5000.0).all()
    torch.testing.assert_close(after[:, 8:, 0] * 0 + 1, torch.ones(B, N - 8, E, dtype=torch.float64))


def test_scales_that_no_float_holds_cancel():
    q, k, logs, v, before = inputs()
    far = before._replace(m=before.m + 4000)

    found, after = scan_scaled(q, k, logs + 4000, v, far, 3)

    torch.testing.assert_close(found, scan_scaled(q, k, logs, v, before, 3)[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(after.m, scan_scaled(q, k, logs, v, before, 3)[1].m + 4000)


def test_rows_that_do_not_count_and_no_key_at_all():
    q, k, logs, v, _ = inputs()
    blank = ScaledSums(
        torch.zeros(B, G, R, E, dtype=torch.float64), torch.zeros(B, G, R, dtype=torch.float64),
        torch.full((B, G), -torch.inf, dtype=torch.float64),
    )  # fmt: skip
    late = logs.clone()
    late[:, :4] = -torch.inf
    v = v.requires_grad_()

    found, _ = scan_scaled(q, k, late, v, blank, 3)
    (gradient,) = torch.autograd.grad(found.sum(), v)

    assert found[:, :4].eq(0).all()
    assert gradient[:, :4].eq(0).all()
    assert gradient.isfinite().all()


def test_total_over_all_rows_up_to_the_common_scale():
    _, k, logs, v, _ = inputs()

    s, z = total_scaled(k, logs, v)

    top = logs.amax(1).exp()
    torch.testing.assert_close(s * top[..., None, None], torch.einsum("bngr,bng,bnge->bgre", k[0], logs.exp(), v))
    torch.testing.assert_close(z * top[..., None], torch.einsum("bngr,bng->bgr", k[1], logs.exp()))
