"""Rows of a table, factorised or not."""

from __future__ import annotations

import torch

import xcompose as xc
from tests.plugins.built import built

V, C = 17, 5


def tokens() -> torch.Tensor:
    return torch.tensor([[3, 0, 16], [3, 3, 1]])


class TestTokens:
    def test_equals_its_formula(self):
        plain, ranked = built("embedding", "tokens", C), built("embedding", "tokens", C, rank=2, types=3)
        for row, t in ((0, 3), (2, 16)):
            assert torch.equal(plain(tokens())[0, row], plain.tokens.weight[t])
            expected = ranked.project.weight @ ranked.tokens.weight[t] + ranked.project.bias + ranked.types.weight[0]
            torch.testing.assert_close(ranked(tokens())[0, row], expected, rtol=0, atol=1e-14)

    def test_scaled_rows_are_as_long_as_the_root_of_the_width(self):
        plain, scaled = (built("embedding", "tokens", C, rank=2, types=3, scaled=s) for s in (False, True))

        torch.testing.assert_close(scaled(tokens()), plain(tokens()) * 5**0.5, rtol=0, atol=1e-14)
        assert scaled.table() is scaled.tokens.weight

    def test_gradients_reach_the_rows_that_were_read(self):
        made = built("embedding", "tokens", C)
        made(tokens()).sum().backward()

        assert made.tokens.weight.grad[:, 0].nonzero().flatten().tolist() == [0, 1, 3, 16]
        assert made.tokens.weight.grad[3, 0] == 3

    def test_sizes(self):
        assert sum(p.numel() for p in built("embedding", "tokens", C).parameters()) == V * C
        ranked = built("embedding", "tokens", C, rank=2, types=3, norm=True)
        assert sum(p.numel() for p in ranked.parameters()) == V * 2 + (2 * C + C) + 3 * C + 2 * C
        assert ranked.extra_repr() == "17 → 2 → 5"
        prefixed = built("embedding", "tokens", C, prefix=3, norm=True)
        assert sum(p.numel() for p in prefixed.parameters()) == V * C + 3 * C + 4 * C
        assert prefixed.extra_repr() == "17 → 5, 3 rows before"

    def test_the_norm_comes_after_positions(self):
        keys = {"type": "encoder", "dim": 12, "heads": 2, "layers": 1, "length": 9, "position": "learned"}
        m = xc.build({"xcompose": 1, "model": {**keys, "embedding": "tokens(norm=true)"}}, dtype=torch.float64)
        seen = []
        m.layers[0].register_forward_hook(lambda module, given, out: seen.append(given[0]))
        m(torch.arange(4)[None])
        (place,) = m.position.parameters()
        expected = m.embedding.norm(m.embedding.tokens.weight[:4] + place[:4])

        torch.testing.assert_close(seen[0][0], expected, rtol=0, atol=1e-14)

    def test_the_table_can_be_tied_to(self):
        made = built("embedding", "tokens", C, rank=2)

        assert made.table() is made.tokens.weight
