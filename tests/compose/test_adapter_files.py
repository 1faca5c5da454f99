"""Adapters in files of their own, on the base that they were trained on."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

import xcompose as xc
from tests.plugins.addons.adapting import built, tokens
from xcompose import registry
from xcompose.compose.adapter_files import about_adapter, attach_adapter, base_hash, load_adapter, save_adapter
from xcompose.compose.adapters import active, use
from xcompose.compose.weights import save_weights
from xcompose.spec import load_text

KINDS = ["adapter(3)", "adapter(3, style=parallel)", "lora(3)", "lora(3, dora=true)", "ia3"]


def trained(*addons, seed: int = 1, **keys):
    """A model with the base of seed 0, whose adapters have other weights than at the start."""
    m = built(*addons, **keys)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in m.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return m


def refusal(call, *args) -> str:
    with pytest.raises(xc.SpecError) as caught:
        call(*args)
    (found,) = caught.value.diagnostics
    assert found.code == "XC042"
    return "; ".join([found.message, found.label, *found.fixes])


@pytest.mark.parametrize("addon", KINDS)
def test_it_is_read_back_exactly(addon, tmp_path):
    m, fresh = trained(addon), built(addon, seed=0)
    name = m.addons[0].node.options["name"]
    file = save_adapter(m, name, tmp_path / "one.safetensors")

    held = safetensors.torch.load_file(file)
    assert sum(t.numel() for t in held.values()) == sum(p.numel() for p in m.parameters() if p.requires_grad)
    assert load_adapter(fresh, file) == name
    assert torch.equal(fresh(tokens()).logits, m(tokens()).logits)


@pytest.mark.parametrize("addon", KINDS)
def test_it_is_put_on_a_base_that_does_not_have_it(addon, tmp_path):
    m, base = trained(addon), built()
    file = save_adapter(m, m.addons[0].node.options["name"], tmp_path / "one.safetensors")
    attach_adapter(base, file)

    assert torch.equal(base(tokens()).logits, m(tokens()).logits)
    whole = save_weights(base, tmp_path / "whole.safetensors")
    assert torch.equal(xc.load(whole)(tokens()).logits, m(tokens()).logits)


def test_several_on_one_base(tmp_path):
    files = []
    for seed, name in enumerate(("de", "en")):
        one = trained(f"adapter(3, name={name})", seed=seed)
        files.append((name, one, save_adapter(one, name, tmp_path / f"{name}.safetensors")))
    base = built()
    for name, _, file in files:
        attach_adapter(base, file, acts=name == "de")

    for name, one, _ in files:
        if name != "de":
            use(base, name)
        assert active(base) == (name,)
        assert torch.equal(base(tokens()).logits, one(tokens()).logits)


def test_norms_and_head_go_with_it(tmp_path):
    addon, plain = "adapter(3, norms=true, head=true)", {"output": "lm(tied=false)"}
    m, fresh = trained(addon, **plain), built(addon, **plain)
    file = save_adapter(m, "adapter", tmp_path / "one.safetensors")
    load_adapter(fresh, file)

    assert torch.equal(fresh(tokens()).logits, m(tokens()).logits)
    assert base_hash(m) == base_hash(fresh)


def test_what_the_file_says(tmp_path):
    m = trained("share(all)", "adapter(3, name=de)", "lora(2)")
    texts = about_adapter(save_adapter(m, "lora", tmp_path / "one.safetensors"))

    assert texts["adapter"] == "lora"
    assert texts["base"] == base_hash(m) == base_hash(built("share(all)"))
    spec = load_text(texts["spec"], texts["name"], catalogue=registry.load().catalogue)
    assert [(node.name, node.options.get("name")) for node in spec.addons] == [("share", None), ("lora", "lora")]


class TestTheHash:
    def test_is_that_of_the_base_alone(self):
        several = ((), ("lora(2)",), ("ia3", "adapter(3)"), ("lora(4, dora=true)",))
        same = {base_hash(built(*addons)) for addons in several}

        assert len(same) == 1
        assert base_hash(built(seed=1)) not in same
        assert base_hash(built().float()) not in same

    def test_sees_a_single_bit(self):
        m = built("lora(2)")
        before = base_hash(m)
        weight = m.layers[2].mixer.q.base.weight
        weight.data.view(torch.int64)[0, 0] ^= 1

        assert base_hash(m) != before

    def test_sees_buffers(self):
        m = built("lora(2)", mixer="attention(score=favor)")
        before = base_hash(m)
        next(iter(m.buffers())).add_(1)

        assert base_hash(m) != before


class TestRefusals:
    def test_another_base(self, tmp_path):
        file = save_adapter(trained("lora(2)"), "lora", tmp_path / "one.safetensors")
        here, there = base_hash(built(seed=1)), base_hash(built())
        expected = (
            f"the adapter 'lora' in {file} was trained on another base; "
            f"its base has the hash {there[:12]}, this one {here[:12]}; "
            "build the model with the weights that it was trained on, then load it"
        )
        m, plain = built("lora(2)", seed=1), built(seed=1)
        before = m(tokens()).logits

        assert refusal(load_adapter, m, file) == expected
        assert torch.equal(m(tokens()).logits, before)
        assert refusal(attach_adapter, plain, file) == expected
        assert list(plain.state_dict()) == list(built().state_dict())

    def test_an_adapter_that_is_not_there(self, tmp_path):
        file = save_adapter(trained("lora(2, name=de)"), "de", tmp_path / "one.safetensors")

        assert refusal(load_adapter, built("lora(2)"), file) == (
            f"the model has no adapter 'de' of {file}; it has: lora; list it in addons, under this name: name=de"
        )
        assert refusal(save_adapter, built(), "de", file) == (
            "the model has no adapter 'de'; it has none; list it in addons, under this name: name=de"
        )

    def test_another_size(self, tmp_path):
        file = save_adapter(trained("lora(2)"), "lora", tmp_path / "one.safetensors")

        assert refusal(load_adapter, built("lora(3)"), file).startswith(
            f"the weights in {file} are not those of this model; stack.layers.0.mixer.q.inner.lora_A.lora.weight is "
            "(2, 24) there and (3, 24) here"
        )

    def test_a_file_of_something_else(self, tmp_path):
        file = save_weights(built(), tmp_path / "whole.safetensors")

        assert refusal(load_adapter, built("lora(3)"), file) == (
            f"{file} is no file of an adapter; ; xcompose adapter save RUN writes one"
        )


@pytest.mark.parametrize("base", [[], ["quantize"], ["share(all)"]])
def test_a_refused_one_leaves_the_model_as_it_was(base, tmp_path):
    keys = {"dim": 32, "output": "lm(tied=false)"}
    dora = "lora(3, dora=true, name=second, targets=[k, output])"
    there = ["lora(3, dora=true, targets=[output])"] if not base else ["lora(3, targets=[output])"]
    if base:
        file = save_adapter(trained(*base, "lora(3, name=second)", **keys), "second", tmp_path / "one.safetensors")
        held = safetensors.torch.load_file(file)
        with safetensors.safe_open(file, "pt") as opened:
            about = opened.metadata()
        held.popitem()
        safetensors.torch.save_file(held, file, about)
    else:
        file = save_adapter(trained(dora, **keys), "second", tmp_path / "one.safetensors")
    m = trained(*base, *there, **keys)
    modules = {name: id(module) for name, module in m.named_modules()}
    free = {name: p.requires_grad for name, p in m.named_parameters()}
    before, spec, addons = m(tokens()).logits, m.spec, m.addons
    with pytest.raises(xc.SpecError) as caught:
        attach_adapter(m, file)

    assert ("not those of this model" if base else "cannot act together") in caught.value.diagnostics[0].message
    assert {name: id(module) for name, module in m.named_modules()} == modules
    assert {name: p.requires_grad for name, p in m.named_parameters()} == free
    assert torch.equal(m(tokens()).logits, before)
    assert m.spec is spec
    assert m.addons is addons
