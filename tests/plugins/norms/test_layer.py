"""Mean 0 and variance 1, row by row."""

from __future__ import annotations

import math

import torch

from tests.plugins.built import built, leaf

B, N, C = 2, 3, 5


def layer(**options):
    made = built("norm", "layer", C, **options)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.arange(C) / 7)
    return made


def formula(m, row: list[float]) -> list[float]:
    mean = sum(row) / C
    variance = sum((x - mean) ** 2 for x in row) / C
    shift = [0.0] * C if m.bias is None else m.bias.tolist()
    scale = m.weight.tolist()
    return [(x - mean) / math.sqrt(variance + m.eps) * g + b for x, g, b in zip(row, scale, shift, strict=True)]


class TestLayerNorm:
    def test_equals_its_formula(self):
        for m in (layer(), layer(eps=0.5), layer(shift=False)):
            x = leaf(B, N, C)
            expected = torch.tensor([[formula(m, row) for row in rows] for rows in x.tolist()], dtype=torch.float64)

            torch.testing.assert_close(m(x), expected, rtol=0, atol=1e-12)

    def test_gradients(self):
        m = layer()

        assert torch.autograd.gradcheck(lambda x, *_: m(x), (leaf(B, N, C), *m.parameters()))

    def test_it_starts_as_a_plain_normalisation(self):
        m = built("norm", "layer", C)

        assert m.weight.tolist() == [1] * C
        assert m.bias.tolist() == [0] * C
        assert built("norm", "layer", C, shift=False).bias is None
