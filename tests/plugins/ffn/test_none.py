"""The sub-layer is left out."""

from __future__ import annotations

import torch

import xcompose as xc
from tests.plugins.built import built

MODEL = {"type": "decoder", "dim": 12, "heads": 2, "vocab": 17, "layers": 2}


class TestNone:
    def test_there_is_no_part(self):
        assert built("ffn", "none", 3) is None

    def test_the_layer_is_its_mixer_and_one_norm(self):
        m = xc.build({"xcompose": 1, "model": {**MODEL, "ffn": "none"}}, dtype=torch.float64)
        x = m.embedding(torch.arange(7)[None])
        for block in m.layers:
            x = x + block.mixer(block.residual.norms[0](x), axis(7)).x
        expected = m.output(m.stack.norm(x), axis(7))

        torch.testing.assert_close(m(torch.arange(7)[None]).logits, expected, rtol=0, atol=1e-12)


def axis(n: int):
    from xcompose.api import Axis

    return Axis(range(n))
