from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.attention.reading import PATTERNS, B, D, G, H, answers, distance, drawn, read_of, tensors_of
from xcompose.api import Axis, Read, Slots
from xcompose.attention.attend import attend
from xcompose.attention.fused import register_flops
from xcompose.attention.reference import attend_reference

N = 211


@pytest.mark.parametrize("groups", [1, G, H])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", PATTERNS)
def test_equals_the_reference_with_gradients(name, causal, groups):
    error, executor = distance([read_of(PATTERNS[name], N, causal, groups=groups)], executor="fused")
    assert executor == "fused"
    assert error < 1e-12


@pytest.mark.parametrize("groups", [1, G, H])
def test_triangles_and_large_blocks_go_through_the_kernels_own_backward(groups):
    q, k, v = drawn(1, 1100, H, D), drawn(1, 1423, groups, D), drawn(1, 1423, groups, D, seed=2)
    read = Read(q, Axis(range(323, 1423)), Slots(k, v, range(1423)), PATTERNS["dense"], True, 0.4)
    assert distance([read])[0] < 1e-12


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", ["window", "star", "dense"])
def test_log_weights_by_slot_and_by_head(name, causal):
    weight = drawn(B, N).detach()
    weight[0, 150:] = -torch.inf
    weight[1] = -torch.inf
    by_head = drawn(B, H, N).detach().masked_fill(drawn(B, H, N, seed=4) > 0, -torch.inf)
    for log_weight in (weight, by_head):
        read = read_of(PATTERNS[name], N, causal)
        read = replace(read, slots=replace(read.slots, log_weight=log_weight))
        error, executor = distance([read])
        assert executor == "fused"
        assert error < 1e-12


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("groups", [1, G])
def test_several_reads_share_one_softmax(causal, groups):
    """Tokens, a memory of summaries, and slots that always exist with their own queries and key groups."""
    tokens = read_of(PATTERNS["longformer"], N, causal)
    at = range(2, N, 3)
    m = len(at)
    memory = Slots(
        drawn(B, m, G, D, seed=5), drawn(B, m, G, D, seed=6), at, start=range(0, 3 * m, 3), end=at,
        log_weight=drawn(B, m).detach(),
    )  # fmt: skip
    always = Slots(drawn(B, 7, groups, D, seed=7), drawn(B, 7, groups, D, seed=8), range(7), end=-(2**62))
    other = drawn(B, N, H, D, seed=9)
    reads = [
        tokens,
        Read(tokens.q, tokens.queries, memory, PATTERNS["dense"], causal, 0.3, name="memory"),
        Read(other, tokens.queries, always, PATTERNS["dense"], causal, 0.7, name="always"),
    ]
    error, executor = distance(reads)
    assert executor == "fused"
    assert error < 1e-12


@pytest.mark.parametrize("start", [0, 71, 103])
def test_queries_that_do_not_start_at_zero(start):
    q, at = drawn(B, N, H, D), range(start, N + 103)
    k, v = drawn(B, len(at), G, D), drawn(B, len(at), G, D, seed=2)
    for name in ("window", "dense", "star", "blocks"):
        read = Read(q, Axis(range(103, N + 103)), Slots(k, v, at), PATTERNS[name], True, 0.4)
        error, executor = distance([read])
        assert executor in ("fused", "sdpa")
        assert error < 1e-12


@pytest.mark.parametrize("value", [3, 7])
def test_values_narrower_and_wider_than_keys(value):
    assert distance([read_of(PATTERNS["window"], N, True, value=value)], executor="fused")[0] < 1e-12


def test_queries_that_read_nothing_give_zero_and_no_gradient():
    read = read_of(PATTERNS["hole"], N, True)
    (out, dq, *_), _ = answers([read], executor="fused")
    assert (out[:, :6] == 0).all()
    assert (dq[:, :6] == 0).all()
    assert not out.isnan().any()


def test_a_read_without_any_slot():
    slots = Slots(drawn(B, 0, G, D), drawn(B, 0, G, D), range(0))
    read = Read(drawn(B, N, H, D), Axis(range(N)), slots, PATTERNS["dense"], True, 1)
    out = attend([read])
    assert out.shape == (B, N, H, D)
    assert (out == 0).all()
    out.sum().backward()


def test_no_queries():
    slots = Slots(drawn(B, 7, G, D), drawn(B, 7, G, D), range(7))
    assert attend([Read(drawn(B, 0, H, D), Axis(range(0)), slots, PATTERNS["window"], True, 1)]).shape == (B, 0, H, D)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 6e-2)])
@pytest.mark.parametrize("name", ["window", "star", "dense"])
def test_lower_precision(name, dtype, tolerance):
    exact = read_of(PATTERNS[name], N, True)
    q, k, v = (t.detach().to(dtype).requires_grad_() for t in (exact.q, exact.slots.k, exact.slots.v))
    read = replace(exact, q=q, slots=replace(exact.slots, k=k, v=v))
    found, _ = answers([read], executor="fused")
    wanted, _ = answers([exact], executor="reference")
    assert {t.dtype for t in found} == {dtype}
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).abs().max() < tolerance * b.abs().max()


def test_views_of_wider_tensors():
    """A group of heads is a slice of the layer's."""
    q, k, v = drawn(B, N, 2 * H, D), drawn(B, N, 2 * G, D), drawn(B, N, 2 * G, D, seed=2)
    read = Read(q[:, :, H:], Axis(range(N)), Slots(k[:, :, :G], v[:, :, G:], range(N)), PATTERNS["star"], True, 0.4)
    found = attend([read])
    assert (found - attend_reference([read])).abs().max() < 1e-12


def test_the_gradient_by_differences():
    read = read_of(PATTERNS["longformer"], 23, True, groups=1)
    q, k, v = (t[:1].detach().requires_grad_() for t in tensors_of([read]))

    def out(q, k, v):
        return attend([replace(read, q=q, slots=replace(read.slots, k=k, v=v))], executor="fused")

    assert torch.autograd.gradcheck(out, (q, k, v))


def test_the_meta_device_counts_what_is_computed():
    register_flops()
    n = 2**20
    q, k = (torch.empty(1, n, H, 64, device="meta", requires_grad=True) for _ in range(2))
    read = Read(q, Axis(range(n)), Slots(k, k, range(n)), PATTERNS["dense"], True, 0.1)
    with FlopCounterMode(display=False) as counter:
        attend([read]).sum().backward()
    assert counter.get_total_flops() == 14 * H * 64 * (n * (n + 1) // 2)


def test_torchs_own_fused_attention_is_counted_too():
    register_flops()
    read = read_of(PATTERNS["dense"], 67, False, groups=H)
    with FlopCounterMode(display=False) as counter:
        attend([read]).sum().backward()
    assert counter.get_total_flops() == 14 * B * H * D * 67 * 67


def test_only_inputs_answers_and_one_number_a_row_are_kept_for_the_backward():
    read = read_of(PATTERNS["star"], N, True)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        attend([read])
    assert sum(sizes) <= 3 * B * N * (2 * H + 2 * G) * D


@pytest.mark.parametrize("causal", [True, False])
def test_equals_loops_over_the_formula(causal):
    """softmax over the set, number by number."""
    read = read_of(PATTERNS["longformer"], 29, causal, groups=H)
    found = attend([read], executor="fused").detach()
    q, k, v = read.q.detach(), read.slots.k.detach(), read.slots.v.detach()
    for i in range(29):
        near = [j for j in range(29) if abs(i - j) <= 19 or i < 2 or j < 2]
        near = [j for j in near if j <= i or not causal]
        for b in range(B):
            for h in range(H):
                weights = [torch.exp(q[b, i, h] @ k[b, j, h] * 0.4) for j in near]
                wanted = sum(w * v[b, j, h] for w, j in zip(weights, near, strict=True)) / sum(weights)
                assert (found[b, i, h] - wanted).abs().max() < 1e-12
