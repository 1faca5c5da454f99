"""A causal stack that predicts the next token."""

from __future__ import annotations

import torch

import xcompose as xc
from tests.compose.fakes import model, registry
from xcompose.compose.build import build_model

REAL = {"type": "decoder", "dim": 24, "heads": 2, "vocab": 17, "layers": 2}


def tokens(b: int = 2, n: int = 7) -> torch.Tensor:
    return torch.randint(0, 17, (b, n), generator=torch.Generator().manual_seed(4))


class TestDecoder:
    def test_equals_its_formula(self):
        m = build_model(model(), registry=registry(), dtype=torch.float64)
        t = tokens(1)
        x = m.embedding.tokens.weight[t[0]]
        for block in m.layers:
            normal = block.residual.norms[0](x)
            means = torch.stack([sum(normal[: i + 1]) / (i + 1) for i in range(7)])
            x = x + block.mixer.linear(means)
            x = x + block.ffn(block.residual.norms[1](x)[None])[0]
        expected = m.stack.norm(x) @ m.embedding.tokens.weight.T

        torch.testing.assert_close(m(t).logits[0], expected, rtol=0, atol=1e-12)

    def test_no_row_reads_what_comes_later(self):
        m, t = xc.build({"xcompose": 1, "model": REAL}, dtype=torch.float64), tokens()
        whole = m(t).logits
        for place in range(7):
            other = t.clone()
            other[:, place] = (other[:, place] + 1) % 17
            changed = (m(other).logits - whole).abs().amax((0, 2))

            assert changed[:place].max() < 1e-12 if place else True
            assert (changed[place:] > 1e-6).all()

    def test_every_parameter_gets_a_gradient(self):
        m = xc.build({"xcompose": 1, "model": REAL})
        m(tokens()).logits.square().sum().backward()

        assert [name for name, p in m.named_parameters() if p.grad is None] == []

    def test_the_spec_says_how_strict_it_is(self):
        for causal in ("strict", "value"):
            m = build_model(model(causal=causal), registry=registry())
            assert {block.mixer.causal for block in m.layers} == {causal}
