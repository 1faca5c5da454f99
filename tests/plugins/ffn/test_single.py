"""One layer, row by row."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.built import built, leaf

B, N, C = 2, 5, 3


def single(**options):
    return built("ffn", "single", C, **options)


class TestSingle:
    @pytest.mark.parametrize(("act", "formula"), [("relu", lambda x: max(x, 0.0)), ("identity", lambda x: x)])
    def test_equals_its_formula(self, act, formula):
        made, x = single(act=act), leaf(B, N, C)
        weight, bias = made.linear.weight.tolist(), made.linear.bias.tolist()
        wanted = [
            [[formula(bias[c] + sum(weight[c][a] * row[a] for a in range(C))) for c in range(C)] for row in rows]
            for rows in x.tolist()
        ]

        torch.testing.assert_close(made(x), torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-13)

    def test_gradients(self):
        made = single(act="tanh")

        assert torch.autograd.gradcheck(lambda x, *_: made(x), (leaf(B, N, C), *made.parameters()))

    def test_what_it_says_of_itself(self):
        assert single().extra_repr() == "3 → 3, relu"
        assert [name for name, _ in single(bias=False).named_parameters()] == ["linear.weight"]
