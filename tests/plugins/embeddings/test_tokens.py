"""Rows of a table, factorised or not."""

from __future__ import annotations

import pytest
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


class TestProjectedLast:
    """Positions, types and the norm work on the narrow rows."""

    MODEL = {"type": "encoder", "dim": 12, "heads": 2, "vocab": V, "layers": 1, "length": 9, "position": "learned"}

    def built(self, embedding: str, **keys):
        spec = {"xcompose": 1, "model": {**self.MODEL, **keys, "embedding": embedding}}
        return xc.build(spec, dtype=torch.float64)

    def seen(self, m, tokens: torch.Tensor) -> torch.Tensor:
        """What the first layer gets."""
        found = []
        m.layers[0].register_forward_hook(lambda module, given, out: found.append(given[0]))
        m(tokens)
        return found[0]

    def test_equals_its_formula(self):
        m = self.built("tokens(rank=5, project=last, norm=true, types=3)")
        e, (places,) = m.embedding, m.position.parameters()
        assert [*places.shape] == [9, 5]
        x = self.seen(m, tokens())
        for row, t in enumerate(tokens()[0].tolist()):
            narrow = e.tokens.weight[t] + e.types.weight[0] + places[row]
            away = narrow - narrow.mean()
            normed = away / (away.square().mean() + 1e-5).sqrt() * e.norm.weight + e.norm.bias
            expected = e.project.weight @ normed + e.project.bias
            torch.testing.assert_close(x[0, row], expected, rtol=0, atol=1e-13)

    def test_rows_before_the_tokens_are_narrow_too(self):
        m = self.built("tokens(rank=5, project=last, norm=true, prefix=2)")
        e = m.embedding
        x = self.seen(m, tokens())

        assert [*e.first.weight.shape] == [2, 5]
        torch.testing.assert_close(x[1, :2], e.project(e.first_norm(e.first.weight)), rtol=0, atol=1e-14)

    def test_scaled_by_the_root_of_the_rank(self):
        plain, scaled = (built("embedding", "tokens", C, rank=2, project="last", scaled=s) for s in (False, True))

        torch.testing.assert_close(scaled(tokens()), plain(tokens()) * 2**0.5, rtol=0, atol=1e-14)
        assert scaled.finish(scaled(tokens())).shape == (2, 3, C)

    def test_padding_adds_nothing(self):
        m = self.built("tokens(rank=5, project=last, norm=true)")
        mask = torch.tensor([[True, True, False], [True, True, True]])

        torch.testing.assert_close(m(tokens(), mask=mask).logits[0, :2], m(tokens()[:1, :2]).logits[0])

    def test_an_encoder_decoder_takes_it(self):
        sides = {"encoder": {"layers": 1}, "decoder": {"layers": 1}}
        model = {"type": "encoder-decoder", "dim": 12, "heads": 2, "vocab": V, "length": 9, "position": "learned"}
        spec = {"xcompose": 1, "model": {**model, **sides, "embedding": "tokens(rank=5, project=last)",
                                         "output": "lm(tied=false)"}}  # fmt: skip
        m = xc.build(spec, dtype=torch.float64)

        assert [[*p.shape] for p in m.encoder.position.parameters()] == [[9, 5]]
        assert m(tokens(), source=tokens()).logits.shape == (2, 3, V)

    def test_an_axial_decoder_takes_it(self):
        sides = {"outer": {"layers": 1}, "inner": {"layers": 1}}
        model = {"type": "axial-decoder", "dim": 12, "heads": 2, "vocab": V, "grid": [3, 3], "position": "axial"}
        spec = {"xcompose": 1, "model": {**model, **sides, "embedding": "tokens(rank=5, project=last)",
                                         "output": "lm(tied=false)"}}  # fmt: skip
        m = xc.build(spec, dtype=torch.float64)

        assert m(torch.arange(9)[None]).logits.shape == (1, 9, V)

    def test_without_a_rank_it_is_refused(self):
        with pytest.raises(xc.SpecError) as caught:
            self.built("tokens(project=last)")
        (found,) = caught.value.diagnostics

        assert found.message == "'project' says when rows of a rank are projected"
        assert found.fixes == ("rank=128",)
