"""Learned factors on keys, values and inner rows."""

from __future__ import annotations

import pytest
import torch
from peft import IA3Config, inject_adapter_in_model

import xcompose as xc
from tests.plugins.addons.adapting import built, frozen_hash, refused, spec_of, tokens, train
from xcompose.compose.adapters import adapter_weights
from xcompose.compose.build import build_model, finish_model
from xcompose.compose.tuned import Tuned, merge
from xcompose.train.learner import groups
from xcompose.verify.subject import redraw


class TestFormulas:
    def test_the_output_of_keys_and_values_the_input_of_what_ends_the_ffn(self):
        m = built("ia3", dim=8)
        redraw(m, 1)
        block = m.layers[0]
        for place, scaled_input in ((block.mixer.k, False), (block.mixer.v, False), (block.ffn.down, True)):
            (factor,) = adapter_weights_of(place)
            x = torch.randn(5, place.in_features, dtype=torch.float64, requires_grad=True)
            w, b, factors = place.base.weight, place.base.bias, factor.flatten()
            expected = torch.zeros(5, place.out_features, dtype=torch.float64)
            for i in range(5):
                for o in range(place.out_features):
                    if scaled_input:
                        expected[i, o] = sum(w[o, j] * factors[j] * x[i, j] for j in range(len(factors))) + b[o]
                    else:
                        expected[i, o] = factors[o] * ((w[o] * x[i]).sum() + b[o])

            torch.testing.assert_close(place(x), expected, rtol=0, atol=1e-12)
            mine, theirs = (torch.autograd.grad(y.sin().sum(), [x, factor]) for y in (place(x), expected))
            for one, other in zip(mine, theirs, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-12)

    def test_it_starts_as_its_base(self):
        m = built("ia3")

        assert all(bool((p == 1).all()) for p in adapter_weights(m, "ia3").values())
        assert torch.equal(m(tokens()).logits, built()(tokens()).logits)
        assert frozen_hash(m) == frozen_hash(built())

    def test_the_model_that_peft_makes_answers_the_same(self):
        ours, theirs = built("ia3"), built()
        redraw(ours, 1)
        config = IA3Config(target_modules=["k", "v", "down"], feedforward_modules=["down"])
        inject_adapter_in_model(config, theirs, adapter_name="ia3")
        theirs.double()
        state = {name.replace(".inner.", "."): tensor for name, tensor in ours.state_dict().items()}

        assert state.keys() == theirs.state_dict().keys()
        theirs.load_state_dict(state)
        torch.testing.assert_close(ours(tokens()).logits, theirs(tokens()).logits, rtol=0, atol=1e-12)


def adapter_weights_of(place: Tuned):
    return [p for _, p in place.weights("ia3")]


class TestTraining:
    def test_factors_alone_are_trained(self):
        m = built("ia3")
        before = frozen_hash(m)
        train(m, steps=3)

        held = {id(p) for group in groups(m) for p in group["params"]}
        assert held == {id(p) for p in adapter_weights(m, "ia3").values()}
        assert sum(p.numel() for p in m.parameters() if p.requires_grad) == 3 * (24 + 24 + 96)
        assert frozen_hash(m) == before

    def test_it_stands_beside_a_change_of_low_rank(self):
        m = built("ia3", "lora(2)")
        redraw(m, 1)
        place, x = m.layers[0].mixer.v, torch.randn(5, 24, dtype=torch.float64)
        inner, outer = place.layers()
        factor = inner.ia3_l["ia3"].flatten()
        change = outer.lora_B["lora"].weight @ outer.lora_A["lora"].weight
        expected = factor * (x @ place.base.weight.T + place.base.bias) + x @ change.T

        assert place.names == ("ia3", "lora")
        torch.testing.assert_close(place(x), expected, rtol=0, atol=1e-12)
        before = m(tokens()).logits
        merge(m)
        torch.testing.assert_close(m(tokens()).logits, before, rtol=0, atol=1e-12)

    def test_around_a_change_of_low_rank(self):
        m = built("lora(2)", "ia3")
        redraw(m, 1)
        before = m(tokens()).logits
        merge(m)

        torch.testing.assert_close(m(tokens()).logits, before, rtol=0, atol=1e-12)

    def test_merged_when_training_ends(self):
        spec = xc.read(spec_of("ia3(merge=true)"))
        m = build_model(spec, training=True, dtype=torch.float64)
        redraw(m, 1)
        before = m(tokens()).logits
        finish_model(m)

        torch.testing.assert_close(m(tokens()).logits, before, rtol=0, atol=1e-12)
        assert list(m.state_dict()) == list(built().state_dict()) == list(build_model(spec).state_dict())


class TestTargets:
    def test_what_is_missing_is_said(self):
        m = built("ia3", ffn="single", mixer="attention(shared_qk=true)")

        assert m.addons[0].addon.describe(m) == ("ia3: no linear layer is called k or ffn.down",)

    def test_each_application_of_an_encoder_and_a_decoder(self):
        stacks = {"encoder": {"layers": 2}, "decoder": {"layers": 2}}
        model = {"type": "encoder-decoder", "dim": 24, "heads": 2, "vocab": 17, **stacks}
        m = xc.build({"xcompose": 1, "model": model, "addons": ["share(all)", "ia3(per=application)"]})

        assert m.addons[1].addon.describe(m) == ()

    def test_none_at_all(self):
        found = refused("ia3(targets=[w])")

        assert found.message == "no linear layer is called 'w'"
        assert found.fixes == ("targets=[down, k, out, q, up, v]",)

    @pytest.mark.parametrize("ffn", ["mlp", "gated"])
    def test_every_ffn_that_ends_in_such_a_layer(self, ffn):
        assert isinstance(built("ia3", ffn=ffn).layers[0].ffn.down, Tuned)
