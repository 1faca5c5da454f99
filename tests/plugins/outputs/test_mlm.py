"""Logits through one more layer."""

from __future__ import annotations

import math

import pytest
import torch

from tests.plugins.built import built, leaf
from xcompose.api import Axis

V, C = 17, 5


def mlm(rank: int | None, **options):
    table = torch.nn.Parameter(leaf(V, rank or C, seed=7).detach())
    made = built("output", "mlm", C, {"table": table}, rank=rank, **options)
    made.linear.bias.data += torch.arange(V) / 9
    return made


def formula(made, row: list[float]) -> list[float]:
    w, b = made.transform.weight.tolist(), made.transform.bias.tolist()
    inner = [sum(w[r][c] * row[c] for c in range(C)) + b[r] for r in range(len(w))]
    inner = [t * 0.5 * (1 + math.erf(t / math.sqrt(2))) for t in inner]
    mean = sum(inner) / len(inner)
    spread = math.sqrt(sum((t - mean) ** 2 for t in inner) / len(inner) + made.norm.eps)
    inner = [(t - mean) / spread for t in inner]
    weight, bias = made.linear.weight.tolist(), made.linear.bias.tolist()
    return [sum(weight[v][r] * inner[r] for r in range(len(inner))) + bias[v] for v in range(V)]


class TestMlm:
    @pytest.mark.parametrize("rank", [None, 3])
    @pytest.mark.parametrize("tied", [True, False])
    def test_equals_its_formula(self, rank, tied):
        made, x = mlm(rank, tied=tied), leaf(2, 3, C)
        expected = [[formula(made, row) for row in rows] for rows in x.tolist()]

        torch.testing.assert_close(
            made(x, Axis(range(3))), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12
        )

    def test_gradients(self):
        made = mlm(3, tied=False)

        assert torch.autograd.gradcheck(lambda x, *_: made(x, Axis(range(3))), (leaf(2, 3, C), *made.parameters()))

    def test_sizes(self):
        made = mlm(3)
        own = sum(p.numel() for p in made.parameters()) - made.linear.weight.numel()

        assert own == C * 3 + 3 * 3 + V
        assert made.extra_repr() == "5 → 3 → 17"
