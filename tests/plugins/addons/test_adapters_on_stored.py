"""Adapters beside a base that is stored in few bits, and a base of fewer bits than single precision."""

from __future__ import annotations

import pytest
import torch

import xcompose as xc
from tests.plugins.addons.adapting import frozen_hash, refused, spec_of, tokens, train
from xcompose.compose.adapter_files import load_adapter, save_adapter
from xcompose.compose.adapters import adapter_weights, adapters_of
from xcompose.compose.build import build_model, finish_model
from xcompose.compose.linear import ends_sublayer
from xcompose.compose.tuned import Tuned, merge
from xcompose.compose.weights import load_weights, save_weights
from xcompose.train.learner import groups

STORED = ["quantize", "quantize(int4)", "quantize(int8-dynamic)"]


def single(*addons, **keys):
    return xc.build(spec_of(*addons, dim=32, **keys))


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("addon", ["lora(2)", "ia3", "adapter(3)"])
def test_the_base_stays_and_the_file_comes_back(stored, addon, tmp_path):
    m, base = single(stored, addon), single(stored)
    assert torch.equal(m(tokens()).logits, base(tokens()).logits)
    before = frozen_hash(m)
    held = {id(p) for group in groups(m) for p in group["params"]}
    train(m, steps=2)

    assert held == {id(p) for p in adapter_weights(m).values()}
    assert before == frozen_hash(m) == frozen_hash(base)
    other = xc.build(spec_of(stored, addon, dim=32), seed=3)
    load_weights(other, save_weights(m, tmp_path / "m.safetensors"))
    assert torch.equal(other(tokens()).logits, m(tokens()).logits)


def test_a_change_of_low_rank_beside_integers_equals_its_formula():
    m = single("quantize", "lora(2, alpha=5)")
    train(m, steps=2)
    place, x = m.layers[0].mixer.q, torch.randn(5, 32)
    assert isinstance(place, Tuned)
    (layer,) = place.layers()
    change = 2.5 * layer.lora_B["lora"].weight @ layer.lora_A["lora"].weight

    torch.testing.assert_close(place(x), place.base(x) + x @ change.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stored", STORED)
def test_learned_factors_scale_the_same_sides_as_without_integers(stored):
    m, plain = single(stored, "ia3"), single("ia3")
    shapes = {name: tuple(p.shape) for name, p in adapter_weights(m).items()}

    assert shapes == {name: tuple(p.shape) for name, p in adapter_weights(plain).items()}
    place, x = m.layers[0].ffn.down, torch.randn(5, 128)
    (factor,) = [p for _, p in place.weights("ia3")]
    torch.nn.init.normal_(factor)
    assert factor.shape == (1, 128)
    torch.testing.assert_close(place(x), place.base(x * factor), rtol=0, atol=0)


def test_a_layer_that_learnt_rounded_ends_what_its_own_ended():
    m = build_model(xc.read(spec_of("quantize(aware=true)", dim=32)), training=True)
    for _ in range(2):
        assert [ends_sublayer(getattr(m.layers[0].ffn, part)) for part in ("up", "down")] == [False, True]
        finish_model(m)


@pytest.mark.parametrize("addon", ["lora(2)", "lora(2, dora=true)", "ia3", "adapter(3)"])
def test_beside_short_numbers_an_adapter_learns_in_single_precision(addon, tmp_path):
    m = single("precision(bf16, weights=true)", addon)
    (name,) = adapters_of(m)
    before = m(tokens()).logits
    train(m, steps=2)

    assert {p.dtype for p in adapter_weights(m).values()} == {torch.float32}
    assert m.layers[0].ffn.up.weight.dtype == torch.bfloat16
    assert not torch.equal(m(tokens()).logits, before)
    other = single("precision(bf16, weights=true)", addon)
    load_adapter(other, save_adapter(m, name, tmp_path / "a.safetensors"))
    assert torch.equal(other(tokens()).logits, m(tokens()).logits)


def test_nothing_is_merged_into_integers():
    found = refused("quantize", "lora(2, merge=true)", dim=32)
    assert found.message == "an adapter cannot be merged into stack.layers.0.mixer.q"
    assert found.label == "the weight is stored in fewer bits, which would round the adapter away"
    assert found.fixes == ("merge=false",)
    with pytest.raises(ValueError, match="an adapter cannot be merged into stack.layers.0.mixer.q"):
        merge(single("quantize", "lora(2)"))


def test_dora_reads_no_integers():
    found = refused("quantize", "lora(2, dora=true)", dim=32)

    assert found.message == "dora cannot stand beside a weight that is stored in few bits"
    assert found.label == "it measures the rows of the weight in every step"
    assert found.fixes == ("dora=false",)
