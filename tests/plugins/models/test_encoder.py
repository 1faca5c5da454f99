"""A stack that sees the whole sequence at once."""

from __future__ import annotations

import torch

import xcompose as xc
from tests.compose.fakes import model, registry
from xcompose.compose.build import build_model

REAL = {"type": "encoder", "dim": 24, "heads": 2, "vocab": 17, "layers": 1}


def tokens(b: int = 2, n: int = 7) -> torch.Tensor:
    return torch.randint(0, 17, (b, n), generator=torch.Generator().manual_seed(4))


class TestEncoder:
    def test_equals_its_formula(self):
        m = build_model(model("encoder"), registry=registry(), dtype=torch.float64)
        t = tokens(1)
        x = m.embedding.tokens.weight[t[0]]
        for block in m.layers:
            x = x + block.mixer.linear(block.residual.norms[0](x).mean(0))
            x = x + block.ffn(block.residual.norms[1](x)[None])[0]

        torch.testing.assert_close(m(t).logits[0], m.stack.norm(x), rtol=0, atol=1e-12)

    def test_every_row_reads_every_row(self):
        m, t = xc.build({"xcompose": 1, "model": REAL}, dtype=torch.float64), tokens()
        whole = m(t).logits
        for place in range(7):
            other = t.clone()
            other[:, place] = (other[:, place] + 1) % 17

            assert ((m(other).logits - whole).abs().amax((0, 2)) > 1e-6).all()

    def test_it_gives_rows_unless_an_output_is_written(self):
        assert xc.build({"xcompose": 1, "model": REAL})(tokens()).logits.shape == (2, 7, 24)
        assert xc.build({"xcompose": 1, "model": {**REAL, "output": "mlm"}})(tokens()).logits.shape == (2, 7, 17)

    def test_mixers_know_the_length(self):
        m, seen = build_model(model("encoder"), registry=registry()), []
        m.layers[0].mixer.register_forward_hook(lambda module, given, out: seen.append(given[1]))
        m(tokens())

        assert seen[0].total == 7
