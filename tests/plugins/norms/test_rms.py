"""Length sqrt(c), row by row."""

from __future__ import annotations

import math

import torch

from tests.plugins.built import built, leaf

B, N, C = 2, 3, 5


def rms(**options):
    made = built("norm", "rms", C, **options)
    with torch.no_grad():
        made.weight.add_(torch.arange(C) / 7)
    return made


def formula(m, row: list[float]) -> list[float]:
    root = math.sqrt(sum(x * x for x in row) / C + m.eps)
    return [x / root * g for x, g in zip(row, m.weight.tolist(), strict=True)]


class TestRmsNorm:
    def test_equals_its_formula(self):
        for m in (rms(), rms(eps=0.5)):
            x = leaf(B, N, C)
            expected = torch.tensor([[formula(m, row) for row in rows] for rows in x.tolist()], dtype=torch.float64)

            torch.testing.assert_close(m(x), expected, rtol=0, atol=1e-12)

    def test_gradients(self):
        m = rms()

        assert torch.autograd.gradcheck(lambda x, *_: m(x), (leaf(B, N, C), *m.parameters()))

    def test_a_row_of_zeros_stays_one(self):
        assert not rms()(torch.zeros(1, C, dtype=torch.float64)).any()
