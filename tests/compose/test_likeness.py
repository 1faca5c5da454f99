"""The formulas that compare a student with its teacher, against loops in double precision and torch's own losses."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from xcompose.compose.likeness import (
    angles,
    map_divergence,
    map_squares,
    relation_divergence,
    soft_targets,
    squares,
)

B, N, V, W = 2, 5, 7, 6
EXACT = dict(rtol=1e-11, atol=1e-12)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same(found: Callable[[Tensor], Tensor], wanted: Callable[[Tensor], Tensor], student: Tensor) -> None:
    """Both formulas agree, and so do their gradients."""
    a, b = student.clone().requires_grad_(), student.clone().requires_grad_()
    one, other = found(a), wanted(b)
    one.backward()
    other.backward()
    torch.testing.assert_close(one, other, **EXACT)
    torch.testing.assert_close(a.grad, b.grad, **EXACT)


def kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher || student) of two distributions (m), term by term."""
    total = torch.zeros((), dtype=torch.float64)
    for p, q in zip(teacher, student, strict=True):
        if p > 0:
            total = total + p * (p.log() - q.log())
    return total


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_soft_targets_are_t_squared_times_the_divergence_from_the_teacher(temperature: float):
    student, teacher = drawn(N, V), drawn(N, V, seed=1)

    def naive(z: Tensor) -> Tensor:
        rows = [
            kl((teacher[i] / temperature).exp() / (teacher[i] / temperature).exp().sum(),
               (z[i] / temperature).exp() / (z[i] / temperature).exp().sum())
            for i in range(N)
        ]  # fmt: skip
        return temperature**2 * torch.stack(rows).sum() / N

    def torch_s_own(z: Tensor) -> Tensor:
        loss = nn.KLDivLoss(reduction="batchmean")
        return temperature**2 * loss((z / temperature).log_softmax(-1), (teacher / temperature).softmax(-1))

    same(lambda z: soft_targets(z, teacher, temperature), naive, student)
    same(lambda z: soft_targets(z, teacher, temperature), torch_s_own, student)


def test_the_divergence_is_the_teacher_s_from_the_student_s_and_not_the_other_way():
    student, teacher = drawn(N, V), drawn(N, V, seed=1)

    there, back = soft_targets(student, teacher, 1.0), soft_targets(teacher, student, 1.0)

    assert abs(float(there - back)) > 1e-3


def test_at_a_high_temperature_the_gradient_is_that_of_matching_centred_logits():
    """What T squared is there for: Hinton et al., s. 2.1."""
    student, teacher = drawn(N, V).requires_grad_(), drawn(N, V, seed=1)

    soft_targets(student, teacher, 1e4).backward()

    centred = [t - t.mean(-1, keepdim=True) for t in (student.detach(), teacher)]
    torch.testing.assert_close(student.grad, (centred[0] - centred[1]) / (N * V), rtol=1e-3, atol=1e-6)


def test_logits_that_are_never_chosen_add_nothing():
    student, teacher = drawn(N, V), drawn(N, V, seed=1)
    out = torch.tensor([2, 4])
    student[:, out], teacher[:, out] = -torch.inf, -torch.inf
    student.requires_grad_()
    kept = [i for i in range(V) if i not in (2, 4)]

    found = soft_targets(student, teacher, 2.0)
    found.backward()

    torch.testing.assert_close(found, soft_targets(student[:, kept], teacher[:, kept], 2.0), **EXACT)
    assert torch.isfinite(student.grad).all()


def test_rows_by_squares_and_by_angles():
    teacher = drawn(N, W, seed=1)

    def angle(x: Tensor) -> Tensor:
        found = [1 - (x[i] * teacher[i]).sum() / (x[i].norm() * teacher[i].norm()) for i in range(N)]
        return torch.stack(found).sum() / N

    same(lambda x: squares(x, teacher), lambda x: nn.MSELoss()(x, teacher), drawn(N, W))
    same(lambda x: angles(x, teacher), angle, drawn(N, W))
    same(lambda x: angles(x, teacher), lambda x: nn.CosineEmbeddingLoss()(x, teacher, torch.ones(N)), drawn(N, W))


def banded(heads: int, seed: int, reach: int) -> Tensor:
    """Logits (b h n n) of heads that read themselves and so many rows before."""
    i, j = torch.arange(N)[:, None], torch.arange(N)
    return drawn(B, heads, N, N, seed=seed).masked_fill((j > i) | (i - j > reach), -torch.inf)


VALID = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


@pytest.mark.parametrize("rows", [None, VALID], ids=["whole", "padded"])
def test_maps_are_compared_among_the_pairs_that_the_student_may_read(rows: Tensor | None):
    teacher = banded(3, 1, reach=N)

    def naive(z: Tensor) -> Tensor:
        found = []
        for b in range(B):
            for h in range(3):
                for i in range(N):
                    if rows is None or rows[b, i]:
                        here = range(max(0, i - 2), i + 1)
                        found.append(kl(teacher[b, h, i, here].softmax(0), z[b, h, i, here].softmax(0)))
        return torch.stack(found).sum() / len(found)

    same(lambda z: map_divergence(z, teacher, rows), naive, banded(3, 0, reach=2))


def test_where_the_teacher_reads_less_its_weights_are_0():
    teacher = banded(2, 1, reach=1)
    teacher[:, :, 4] = -torch.inf

    def naive(z: Tensor) -> Tensor:
        found = [
            kl(teacher[b, h, i].softmax(0), z[b, h, i].softmax(0)) for b in range(B) for h in range(2) for i in range(4)
        ]
        return torch.stack(found).sum() / len(found)

    same(lambda z: map_divergence(z, teacher, None), naive, banded(2, 0, reach=N))


def test_other_numbers_of_heads_are_compared_by_their_mean_weights():
    teacher = banded(3, 1, reach=N)

    def naive(z: Tensor) -> Tensor:
        found = []
        for b in range(B):
            for i in range(N):
                here = range(max(0, i - 2), i + 1)
                theirs = teacher[b, :, i, here].softmax(-1).mean(0)
                found.append(kl(theirs, z[b, :, i, here].softmax(-1).mean(0)))
        return torch.stack(found).sum() / len(found)

    same(lambda z: map_divergence(z, teacher, None), naive, banded(2, 0, reach=2))


@pytest.mark.parametrize("heads", [3, 2])
def test_logits_of_maps_are_compared_where_both_read(heads: int):
    teacher = banded(3, 1, reach=3)

    def naive(z: Tensor) -> Tensor:
        found = []
        for b in range(B):
            for i in range(3 if b else N):
                for j in range(max(0, i - 2), i + 1):
                    if heads == 3:
                        found += [(z[b, h, i, j] - teacher[b, h, i, j]) ** 2 for h in range(3)]
                    else:
                        found.append((z[b, :, i, j].mean() - teacher[b, :, i, j].mean()) ** 2)
        return torch.stack(found).sum() / len(found)

    same(lambda z: map_squares(z, teacher, VALID), naive, banded(heads, 0, reach=2))


def test_maps_without_a_common_pair_are_alike():
    student = banded(2, 0, reach=1).requires_grad_()
    teacher = torch.full((B, 2, N, N), -torch.inf, dtype=torch.float64)

    found = map_divergence(student, teacher, None) + map_squares(student, teacher, None)
    found.backward()

    assert found.item() == 0
    assert float(student.grad.abs().sum()) == 0


@pytest.mark.parametrize("rows", [None, VALID], ids=["whole", "padded"])
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both-sides"])
def test_relations_know_no_widths_and_no_heads_of_the_mixer(rows: Tensor | None, causal: bool):
    heads, teacher = 2, drawn(B, N, 10, seed=1)

    def relation(x: Tensor, b: int, r: int, i: int, js: list[int]) -> Tensor:
        d = x.shape[-1] // heads
        part = x[b, :, r * d : (r + 1) * d]
        return torch.stack([part[i] @ part[j] / math.sqrt(d) for j in js]).softmax(0)

    def naive(x: Tensor) -> Tensor:
        found = []
        for b in range(B):
            there = [i for i in range(N) if rows is None or rows[b, i]]
            for r in range(heads):
                for i in there:
                    js = [j for j in there if j <= i or not causal]
                    found.append(kl(relation(teacher, b, r, i, js), relation(x, b, r, i, js)))
        return torch.stack(found).sum() / len(found)

    same(lambda x: relation_divergence(x, teacher, heads, rows, causal), naive, drawn(B, N, W))


def test_half_precision_is_compared_in_single():
    student, teacher = drawn(N, V).bfloat16(), drawn(N, V, seed=1).bfloat16()

    assert soft_targets(student, teacher, 2.0).dtype == torch.float32
    assert float(soft_targets(student, student, 2.0)) == 0
