"""Two stacks, one of which reads the other."""

from __future__ import annotations

import pytest
import torch

import xcompose as xc
from tests.compose.fakes import layer, model, node, registry
from xcompose.compose.build import build_model
from xcompose.spec.model import Node, Section

SIDES = {"encoder": {"layers": 1}, "decoder": {"layers": 2}}
REAL = {"type": "encoder-decoder", "dim": 24, "heads": 2, "vocab": 17, **SIDES}


def tokens(n: int, seed: int = 4) -> torch.Tensor:
    return torch.randint(0, 17, (2, n), generator=torch.Generator().manual_seed(seed))


def fake() -> Node:
    base = dict(model("decoder").options)
    side = {name: base[name] for name in base if name not in ("layers", "blocks", "embedding", "init", "output")}
    for name in ("layers", "blocks"):
        base.pop(name)
    encoder = Section({**side, "layers": (layer(mixer=node("mixer", "mean", loss=True)),)})
    decoder = Section({**side, "layers": (layer(),)})
    sides = {"cross": node("mixer", "mean"), "encoder": encoder, "decoder": decoder}
    return Node("model", "encoder-decoder", {**base, **sides})


class TestEncoderDecoder:
    def test_equals_its_formula(self):
        m = build_model(fake(), registry=registry(), dtype=torch.float64)
        source, t = tokens(5), tokens(7)
        s = m.embedding.tokens.weight[source[0]]
        (block,) = m.encoder.stack.blocks
        s = s + block.mixer.linear(block.residual.norms[0](s).mean(0))
        s = s + block.ffn(block.residual.norms[1](s)[None])[0]
        s = m.encoder.stack.norm(s)
        (block,) = m.decoder.stack.blocks
        x = m.embedding.tokens.weight[t[0]]
        normal = block.residual.norms[0](x)
        x = x + block.mixer.linear(torch.stack([normal[: i + 1].mean(0) for i in range(7)]))
        x = x + block.residual.norms[1](x) + s.mean(0)  # what the cross mixer of the fakes does
        x = x + block.ffn(block.residual.norms[2](x)[None])[0]
        expected = m.decoder.stack.norm(x) @ m.embedding.tokens.weight.T

        torch.testing.assert_close(m(t, source=source).logits[0], expected, rtol=0, atol=1e-12)

    def test_losses_name_their_stack(self):
        m = build_model(fake(), registry=registry())

        assert list(m(tokens(7), source=tokens(5)).losses) == ["encoder.0.mixer.size"]

    def test_every_parameter_gets_a_gradient(self):
        m = xc.build({"xcompose": 1, "model": REAL})
        m(tokens(7), source=tokens(5)).logits.square().sum().backward()

        assert [name for name, p in m.named_parameters() if p.grad is None] == []

    def test_the_source_is_read_once_when_decoding(self):
        m, calls = xc.build({"xcompose": 1, "model": REAL}), []
        m.encoder.stack.register_forward_hook(lambda *_: calls.append(1))
        state = m.start(2, source=tokens(5))
        for _ in range(3):
            state = m(tokens(1), state=state).state

        assert calls == [1]

    @pytest.mark.parametrize("side", ["encoder", "decoder"])
    def test_findings_of_both_sides_come_at_once(self, side):
        wrong = {"layers": 1, "heads": 5}
        with pytest.raises(xc.SpecError) as caught:
            xc.build({"xcompose": 1, "model": {**REAL, "encoder": wrong, "decoder": wrong}})

        assert any(side in found.path for found in caught.value.diagnostics)
