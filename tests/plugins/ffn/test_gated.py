"""A gate times a projection, row by row."""

from __future__ import annotations

import math

import pytest
import torch

from tests.plugins.built import built, leaf

B, N, C, F = 2, 5, 3, 7


def gated(**options):
    return built("ffn", "gated", C, **{"width": F, **options})


def linear(layer, row: list[float]) -> list[float]:
    w, b = layer.weight.tolist(), layer.bias.tolist()
    return [sum(w[i][j] * row[j] for j in range(len(row))) + b[i] for i in range(len(w))]


class TestGated:
    def test_equals_its_formula(self):
        m, x = gated(), leaf(B, N, C)
        expected = []
        for row in x.reshape(-1, C).tolist():
            gate, up = linear(m.gate, row), linear(m.up, row)
            expected.append(linear(m.down, [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up, strict=True)]))

        torch.testing.assert_close(m(x).reshape(-1, C), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)

    def test_gradients(self):
        m = gated(act="gelu")

        assert torch.autograd.gradcheck(lambda x, *_: m(x), (leaf(B, N, C), *m.parameters()))

    @pytest.mark.parametrize("chunk", [1, 2, 9])
    def test_chunks_change_nothing(self, chunk):
        m, other, x = gated(), gated(chunk=chunk), leaf(B, N, C)
        other.load_state_dict(m.state_dict())

        torch.testing.assert_close(other(x), m(x), rtol=0, atol=1e-14)

    def test_one_and_a_half_times_the_parameters_of_a_plain_one(self):
        count = sum(p.numel() for p in gated(bias=False).parameters())

        assert count == 3 * C * F
        assert gated().extra_repr() == "3 → 7 → 3, silu"
