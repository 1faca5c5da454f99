"""Two layers, row by row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.plugins.built import built, leaf

B, N, C, F = 2, 5, 3, 7
SCALARS = {
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu-tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick-gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "identity": lambda x: x,
}


def mlp(**options):
    return built("ffn", "mlp", C, **{"width": F, **options})


def formula(m, x: Tensor, act: str) -> list[float]:
    w1, b1, w2, b2 = (t.tolist() for t in (m.up.weight, m.up.bias, m.down.weight, m.down.bias))
    row = x.tolist()
    inner = [SCALARS[act](sum(w1[f][c] * row[c] for c in range(C)) + b1[f]) for f in range(F)]
    return [sum(w2[c][f] * inner[f] for f in range(F)) + b2[c] for c in range(C)]


class TestMlp:
    @pytest.mark.parametrize("act", SCALARS)
    def test_equals_its_formula(self, act):
        m, x = mlp(act=act), leaf(B, N, C)
        expected = torch.tensor([[formula(m, row, act) for row in rows] for rows in x], dtype=torch.float64)

        torch.testing.assert_close(m(x), expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("act", ["gelu", "quick-gelu", "silu"])
    def test_gradients(self, act):
        m = mlp(act=act)

        assert torch.autograd.gradcheck(lambda x, *_: m(x), (leaf(B, N, C), *m.parameters()))

    @pytest.mark.parametrize("chunk", [1, 2, 5, 9])
    def test_chunks_change_nothing(self, chunk):
        m, other, x = mlp(), mlp(chunk=chunk), leaf(B, N, C)
        other.load_state_dict(m.state_dict())

        torch.testing.assert_close(other(x), m(x), rtol=0, atol=1e-14)

    def test_without_biases(self):
        assert [name for name, _ in mlp(bias=False).named_parameters()] == ["up.weight", "down.weight"]

    def test_what_it_says_of_itself(self):
        assert mlp(act="relu").extra_repr() == "3 → 7 → 3, relu"
