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


class TestTheSourceInTheState:
    """What later steps need of the source, and no more."""

    def read(self, cross: str, **more):
        keys = {**REAL, "cross": cross, "encoder": {"layers": 1, "length": 40}, **more}
        m = xc.build({"xcompose": 1, "model": keys}, dtype=torch.float64).eval()
        state, whole = m.start(2, source=tokens(37)), m(tokens(7), source=tokens(37)).logits
        pieces, begin = [], 0
        for end in (3, 4, 7):
            out = m(tokens(7)[:, begin:end], state=state)
            pieces, state, begin = [*pieces, out.logits], out.state, end
        torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-12)
        return {
            name: tuple(t.shape[1:]) for name, t in flat(state.parts).items() if "cross" in name or "source" in name
        }

    def test_slots_of_a_fixed_number_do_not_grow_with_it(self):
        found = self.read("attention(pattern=none, memory=linformer(5))")

        layer = {
            "source.0.k": (0, 2, 12), "source.0.v": (0, 2, 12), "source.1.k": (5, 2, 12), "source.1.v": (5, 2, 12),
            "source.1.log_weight": (5,),
        }  # fmt: skip
        assert found == {
            **{f"{i}.cross.{name}": size for i in (0, 1) for name, size in layer.items()},
            "source.x": (0, 24), "source.valid": (0,),
        }  # fmt: skip

    def test_a_mixer_that_does_not_remember_it_finds_its_rows(self):
        found = self.read("sum(attention, attention(pattern=none, memory=linformer(5)))")

        assert found["source.x"] == (37, 24)

    def test_a_cross_layer_that_needs_the_length_of_the_source_is_refused_without(self):
        keys = {**REAL, "cross": "attention(pattern=none, memory=linformer(5))", "length": None}
        with pytest.raises(xc.SpecError) as caught:
            xc.build({"xcompose": 1, "model": keys})

        assert {d.message for d in caught.value.diagnostics} == {"memory 'linformer' needs the length of the source"}


def flat(state, path: str = "") -> dict[str, torch.Tensor]:
    """The tensors of a state by their paths."""
    if isinstance(state, torch.Tensor):
        return {path: state}
    pairs = state.items() if isinstance(state, dict) else enumerate(state)
    return {name: t for key, value in pairs for name, t in flat(value, f"{path}.{key}" if path else str(key)).items()}
