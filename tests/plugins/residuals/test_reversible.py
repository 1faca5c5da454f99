"""Two streams: the paper's formula, its gradients, and activations that do not grow with depth."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xcompose as xc
from tests.compose.fakes import layer, model, node, registry
from tests.plugins.built import leaf
from tests.plugins.residuals.streams import C, branches, residual
from xcompose.api import Branch
from xcompose.compose.build import build_model, plan_model


def formula(r, parts, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The paper's block: y1 = x1 + f(norm x2), y2 = x2 + g(norm y1)."""
    y1 = first + parts[0](r.norms[0](second))[0]
    y2 = second + parts[1](r.norms[1](y1))[0]
    return y1, y2


def stack(depth: int, **keys: Any) -> Any:
    """Layers of a mean that also gives a loss."""
    options = {"residual": node("residual", "reversible", join=keys.pop("join", "mean")), **keys}
    layers = tuple(layer(number=i, mixer=node("mixer", "mean", loss=True), **options) for i in range(depth))
    tied = {} if options["residual"].options["join"] == "mean" else {"output": node("output", "lm", tied=False)}
    return build_model(model(layers=layers, **tied), registry=registry(), dtype=torch.float64)


def tokens() -> Tensor:
    return torch.randint(0, 17, (3, 7), generator=torch.Generator().manual_seed(1))


def gradients(m: Any, plain: bool, monkeypatch) -> list[Tensor]:
    """Of the outputs and the losses; `plain` keeps all activations, as any other residual does."""
    with monkeypatch.context() as patched:
        if plain:
            patched.setattr("torch.compiler.is_compiling", lambda: True)
        torch.manual_seed(9)
        out = m(tokens())
        total = out.logits.square().sum() + 3 * sum(out.losses.values())
    return list(torch.autograd.grad(total, list(m.parameters())))


class TestFormula:
    def test_one_layer_equals_the_paper(self):
        r, parts, x = residual("reversible"), branches(), leaf(2, 3, C)
        expected = formula(r, parts, *formula(r, parts, x, x))
        carry = r.enter(x)
        for _ in range(2):
            carry, beside = r(carry, parts)

        torch.testing.assert_close(carry.first, expected[0], rtol=0, atol=1e-14)
        torch.testing.assert_close(carry.second, expected[1], rtol=0, atol=1e-14)
        assert [sorted(b) for b in beside] == [["loss", "seen"]] * 2

    @pytest.mark.parametrize("join", ["mean", "concat"])
    def test_the_end_joins_both_streams(self, join):
        r, x = residual("reversible", join=join), leaf(2, 3, C)
        carry, _ = r(r.enter(x), branches())
        first, second = carry.first, carry.second
        expected = (first + second) / 2 if join == "mean" else torch.cat([first, second], -1)

        assert torch.equal(r.leave(carry), expected)
        assert r.width_out(C) == expected.shape[-1]

    def test_with_one_branch_the_streams_take_turns(self):
        r, parts, x = residual("reversible", 1), branches(1), leaf(2, 3, C)
        carry = r.enter(x)
        for _ in range(2):
            carry, _ = r(carry, parts)
        y1 = x + parts[0](r.norms[0](x))[0]
        y2 = x + parts[0](r.norms[0](y1))[0]

        torch.testing.assert_close(carry.first, y1, rtol=0, atol=1e-14)
        torch.testing.assert_close(carry.second, y2, rtol=0, atol=1e-14)


class TestGradients:
    @pytest.mark.parametrize("join", ["mean", "concat"])
    @pytest.mark.parametrize(
        "keys", [{}, {"dropout": 0.4}, {"ffn": node("ffn", "none")}, {"norm": node("norm", "rms"), "dropout": 0.2}]
    )
    def test_equal_those_of_the_plain_formula(self, join, keys, monkeypatch):
        m = stack(4, join=join, **keys)
        found, expected = gradients(m, False, monkeypatch), gradients(m, True, monkeypatch)

        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)

    def test_backward_fills_the_same(self, monkeypatch):
        m = stack(3)
        expected = gradients(m, True, monkeypatch)
        torch.manual_seed(9)
        out = m(tokens())
        (out.logits.square().sum() + 3 * sum(out.losses.values())).backward()

        for p, b in zip(m.parameters(), expected, strict=True):
            torch.testing.assert_close(p.grad, b, rtol=1e-10, atol=1e-10)

    def test_reach_what_a_branch_reads_beside_its_rows(self):
        r, x, source = residual("reversible"), leaf(2, 3, C), leaf(2, 3, C, seed=8)
        parts = [Branch(lambda t: (t * source, None), (), (source,)), branches(1)[0]]
        carry, _ = r(r.enter(x), parts)
        found = torch.autograd.grad(r.leave(carry).square().sum(), [x, source])
        y1 = x + r.norms[0](x) * source
        y2 = x + parts[1](r.norms[1](y1))[0]
        expected = torch.autograd.grad(((y1 + y2) / 2).square().sum(), [x, source])

        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)

    def test_frozen_parameters_get_none(self):
        m = stack(2)
        m.layers[0].ffn.requires_grad_(False)
        m(tokens()).logits.sum().backward()

        assert m.layers[0].ffn.up.weight.grad is None
        assert m.layers[0].mixer.linear.weight.grad is not None

    def test_a_second_backward_pass_is_refused(self):
        m = stack(2)
        total = m(tokens()).logits.sum()
        total.backward(retain_graph=True)

        with pytest.raises(
            RuntimeError,
            match=re.escape("a reversible stack gives its gradient once, from its end, for each forward pass"),
        ):
            total.backward()

    def test_in_an_encoder_decoder_they_reach_the_source(self, monkeypatch):
        keys = {"type": "encoder-decoder", "dim": 24, "heads": 2, "vocab": 17, "residual": "reversible"}
        sides = {"encoder": {"layers": 2}, "decoder": {"layers": 2}}
        m = xc.build({"xcompose": 1, "model": {**keys, **sides}}, dtype=torch.float64)
        found = []
        for plain in (False, True):
            with monkeypatch.context() as patched:
                if plain:
                    patched.setattr("torch.compiler.is_compiling", lambda: True)
                out = m(tokens(), source=tokens().flip(1))
            found.append(torch.autograd.grad(out.logits.square().sum(), list(m.parameters())))

        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


class TestMemory:
    def kept(self, m: nn.Module) -> int:
        """Bytes that autograd keeps, without parameters."""
        own = {p.untyped_storage().data_ptr() for p in m.parameters()}
        seen: dict[int, int] = {}

        def pack(t: Tensor) -> Tensor:
            storage = t.untyped_storage()
            if storage.data_ptr() not in own:
                seen[storage.data_ptr()] = storage.nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            out = m(tokens())
        assert out.logits.requires_grad
        return sum(seen.values())

    def test_activations_do_not_grow_with_depth(self):
        assert self.kept(stack(2)) == self.kept(stack(9))

    def test_those_of_a_plain_stack_do(self):
        plain = [build_model(model(layers=n), registry=registry()) for n in (2, 9)]

        assert self.kept(plain[1]) > 3 * self.kept(plain[0])


def test_costs_are_counted_on_the_meta_device():
    layers = tuple(layer(number=i, residual=node("residual", "reversible")) for i in range(2))
    m = plan_model(model(layers=layers), registry=registry())
    out = m(torch.zeros(1, 7, dtype=torch.long, device="meta"))
    out.logits.sum().backward()

    assert out.logits.shape == (1, 7, 17)
    assert all(p.grad is not None for p in m.parameters())


class TestDecoding:
    def test_step_by_step_equals_at_once(self):
        model = {"type": "decoder", "dim": 24, "heads": 2, "vocab": 17, "layers": 3, "residual": "reversible"}
        m, t = xc.build({"xcompose": 1, "model": model}, dtype=torch.float64), tokens()
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                state, parts = m.start(3), []
                for i in range(7):
                    out = m(t[:, i : i + 1], state=state)
                    state = out.state
                    parts.append(out.logits)

            torch.testing.assert_close(torch.cat(parts, 1), m(t).logits, rtol=0, atol=1e-12)


def test_a_tied_output_cannot_read_both_streams_side_by_side():
    keys = {"type": "decoder", "dim": 64, "layers": 1, "residual": "reversible(join=concat)"}
    with pytest.raises(xc.SpecError) as caught:
        xc.build({"xcompose": 1, "model": keys})
    (found,) = caught.value.diagnostics

    assert found.message == "rows of width 128 cannot be tied to a table of width 64"
    assert found.fixes == ("tied=false",)
    assert found.path == "model.output.tied"
