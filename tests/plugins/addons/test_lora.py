"""Changes of low rank around linear layers, through peft."""

from __future__ import annotations

import math

import pytest
import torch
import yaml
from peft import LoraConfig, inject_adapter_in_model

from tests.cli.calling import call
from tests.plugins.addons.adapting import built, frozen_hash, refused, spec_of, tokens, train
from xcompose.api import PartError
from xcompose.compose.adapters import adapter_weights, use
from xcompose.compose.build import build_model, finish_model
from xcompose.compose.tuned import Tuned, merge
from xcompose.cost.count import counts
from xcompose.train.learner import groups
from xcompose.verify.subject import redraw

R = 3


def tuned(m, part: str, layer: int = 0) -> Tuned:
    return getattr(m.layers[layer].mixer, part)


def low_rank(w, b, rows, a_, b_, scale):
    """W x + b + s B A x, element by element."""
    out = torch.zeros(len(rows), len(w), dtype=torch.float64)
    for i, x in enumerate(rows):
        inner = [sum(a_[r, j] * x[j] for j in range(len(x))) for r in range(len(a_))]
        for o in range(len(w)):
            change = sum(b_[o, r] * inner[r] for r in range(len(a_)))
            out[i, o] = sum(w[o, j] * x[j] for j in range(len(x))) + b[o] + scale * change
    return out


def with_magnitude(w, b, rows, a_, b_, scale, m):
    """(m / |W + s B A|) (W + s B A) x + b, row by row of W; the length is a constant."""
    whole = w + scale * b_ @ a_
    out = torch.zeros(len(rows), len(w), dtype=torch.float64)
    for o in range(len(w)):
        length = math.sqrt(sum(v**2 for v in whole[o].tolist()))
        for i, x in enumerate(rows):
            out[i, o] = m[o] / length * (whole[o] * x).sum() + b[o]
    return out


def same_gradients(one, other, wanted) -> None:
    for found, expected in zip(*(torch.autograd.grad(y.sin().sum(), wanted) for y in (one, other)), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


class TestFormulas:
    @pytest.mark.parametrize(("options", "scale"), [
        ("", 1.0), (", alpha=7", 7 / R), (", alpha=7, rslora=true", 7 / R**0.5), (", rslora=true", R**0.5),
    ])  # fmt: skip
    def test_a_change_of_low_rank(self, options, scale):
        m = built(f"lora({R}{options})", dim=8)
        redraw(m, 1)
        place, x = tuned(m, "q"), torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
        (layer,) = place.layers()
        a_, b_ = layer.lora_A["lora"].weight, layer.lora_B["lora"].weight
        expected = low_rank(place.base.weight, place.base.bias, x, a_, b_, scale)

        torch.testing.assert_close(place(x), expected, rtol=0, atol=1e-12)
        same_gradients(place(x), expected, [x, a_, b_])

    def test_dora(self):
        m = built(f"lora({R}, dora=true, alpha=5)", dim=8)
        redraw(m, 1)
        place, x = tuned(m, "q"), torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
        (layer,) = place.layers()
        a_, b_, length = (layer.lora_A["lora"].weight, layer.lora_B["lora"].weight,
                          layer.lora_magnitude_vector["lora"].weight)  # fmt: skip
        expected = with_magnitude(place.base.weight, place.base.bias, x, a_, b_, 5 / R, length)

        torch.testing.assert_close(place(x), expected, rtol=0, atol=1e-12)
        same_gradients(place(x), expected, [x, a_, b_, length])

    def test_the_start(self):
        m, dora = built(f"lora({R})"), built(f"lora({R}, dora=true)")
        (layer,), (other,) = tuned(m, "v").layers(), tuned(dora, "v").layers()
        a_, bound = layer.lora_A["lora"].weight.detach(), 24**-0.5

        assert not layer.lora_B["lora"].weight.any()
        assert float(a_.abs().max()) <= bound  # kaiming with a = sqrt 5 is uniform in +-1/sqrt(i)
        assert float(a_.std()) == pytest.approx(bound / 3**0.5, rel=0.2)
        lengths = torch.linalg.norm(tuned(dora, "v").base.weight, dim=1)
        torch.testing.assert_close(other.lora_magnitude_vector["lora"].weight, lengths, rtol=0, atol=0)
        for found in (m, dora):
            assert frozen_hash(found) == frozen_hash(built())
            torch.testing.assert_close(found(tokens()).logits, built()(tokens()).logits, rtol=0, atol=1e-14)

    def test_it_acts_before_the_features_of_a_kernel(self):
        m = built(f"lora({R})", mixer="attention(score=linear)", layers=1, dim=8)
        redraw(m, 1)
        mixer = m.layers[0].mixer
        whole = {}
        for part in ("q", "k", "v", "out"):
            layer = getattr(mixer, part)
            base = layer.base if isinstance(layer, Tuned) else layer
            whole[part] = base.weight + (
                layer.layers()[0].lora_B["lora"].weight @ layer.layers()[0].lora_A["lora"].weight
                if isinstance(layer, Tuned) else 0
            )  # fmt: skip
        plain = built(mixer="attention(score=linear)", layers=1, dim=8)
        state = {name.replace(".inner.base_layer", ""): tensor for name, tensor in m.state_dict().items()}
        plain.load_state_dict({name: tensor for name, tensor in state.items() if "lora_" not in name})
        for part, weight in whole.items():
            getattr(plain.layers[0].mixer, part).weight.data = weight.detach()

        torch.testing.assert_close(m(tokens()).logits, plain(tokens()).logits, rtol=0, atol=1e-12)


class TestPeft:
    """The same change put in by peft itself."""

    @pytest.mark.parametrize("dora", [False, True])
    def test_the_model_that_peft_makes_answers_the_same(self, dora):
        ours, theirs = built(f"lora({R}, alpha=5, dora={str(dora).lower()})"), built()
        redraw(ours, 1)
        config = LoraConfig(r=R, lora_alpha=5, target_modules=["q", "v"], use_dora=dora)
        inject_adapter_in_model(config, theirs, adapter_name="lora")
        theirs.double()
        state = {name.replace(".inner.", "."): tensor for name, tensor in ours.state_dict().items()}

        assert state.keys() == theirs.state_dict().keys()
        theirs.load_state_dict(state)
        torch.testing.assert_close(ours(tokens()).logits, theirs(tokens()).logits, rtol=0, atol=1e-12)

    def test_names_and_shapes_are_those_of_peft(self):
        weights = adapter_weights(built(f"lora({R}, name=de)"), "de")

        assert {name.partition(".inner.")[2] for name in weights} == {"lora_A.de.weight", "lora_B.de.weight"}
        assert {tuple(p.shape) for p in weights.values()} == {(R, 24), (24, R)}


class TestTargets:
    @pytest.mark.parametrize(("targets", "expected"), [
        ("q, v", {"mixer.q", "mixer.v"}),
        ("mixer", {"mixer.q", "mixer.k", "mixer.v", "mixer.out"}),
        ("ffn", {"ffn.up", "ffn.down"}),
        ("out, up", {"mixer.out", "ffn.up"}),
    ])  # fmt: skip
    def test_words_in_the_paths(self, targets, expected):
        m = built(f"lora({R}, targets=[{targets}])")
        found = {path for path, module in m.named_modules() if isinstance(module, Tuned)}

        assert found == {f"stack.layers.{i}.{part}" for i in range(3) for part in expected}

    def test_several_words(self):
        addon = {"type": "lora", "rank": R, "targets": ["layers.1.mixer.q", "ffn.down"]}
        found = [path for path, module in built(addon).named_modules() if isinstance(module, Tuned)]

        assert found == [
            "stack.layers.0.ffn.down", "stack.layers.1.mixer.q", "stack.layers.1.ffn.down", "stack.layers.2.ffn.down",
        ]  # fmt: skip

    def test_several_words_in_an_expression(self):
        m = built(f'lora({R}, targets=["mixer.q", "ffn.down"])')
        assert isinstance(m.layers[0].ffn.down, Tuned)

        found = refused(f"lora({R}, targets=[mixer.q])")
        assert found.code == "XC016"
        assert found.message == "`mixer.q` is not a name"
        assert found.fixes == ('write "mixer.q" in double quotes, where a text is wanted',)

    def test_an_output_of_its_own(self):
        m = built(f"lora({R}, targets=[output])", output="lm(tied=false)")

        assert isinstance(m.output.linear, Tuned)

    def test_one_that_is_nowhere(self):
        found = refused(f"lora({R}, targets=[q, query])")

        assert found.message == "no linear layer is called 'query'"
        assert found.label == "a target is a word in the path of a layer"
        assert found.fixes == ("targets=[down, k, out, q, up, v]",)

    @pytest.mark.parametrize("addon", ["lora(2, targets=[])", "ia3(targets=[])"])
    def test_none_at_all(self, addon):
        found = refused(addon)

        assert found.message == f"'{addon.partition('(')[0]}' has no targets"
        assert found.label == "the list is empty"
        assert found.fixes == ("targets=[q, v]", "leave 'targets' out")

    def test_one_that_is_tied(self):
        found = refused(f"lora({R}, targets=[output])")

        assert found.message == "'output' cannot be adapted"
        assert found.label == "its weight is another's, too, and an adapter would belong to one of them only"

    def test_one_whose_weight_is_read(self):
        found = refused(f"lora({R}, targets=[r])", mixer="attention(position=transformer-xl)", layers=2)

        assert found.message == "'r' cannot be adapted"
        assert found.label == (
            "its weight is read without calling the layer, so that an adapter around it would change nothing"
        )

    def test_one_that_is_no_linear_layer(self):
        found = refused(f"lora({R}, targets=[embedding])", output="lm(tied=false)")

        assert found.message == "'embedding' cannot be adapted"
        assert found.label == "embedding.tokens.weight is no linear layer"

    def test_a_role_leaves_what_cannot_be_adapted_and_says_so(self):
        m = built(f"lora({R}, targets=[mixer])", mixer="attention(position=transformer-xl)", layers=2)

        (said,) = m.addons[0].addon.describe(m)
        assert said.startswith("lora: left as they are, nothing can stand around them: stack.layers.0.mixer.")

    def test_the_weight_of_an_adapted_layer_cannot_be_read(self):
        with pytest.raises(PartError) as caught:
            _ = tuned(built(f"lora({R})"), "q").weight
        assert caught.value.label == (
            "its weight is read without calling the layer, and an adapter around it would change nothing"
        )

    def test_shared_queries_and_keys(self):
        m = built(f"lora({R})", mixer="attention(shared_qk=true)")

        assert m.addons[0].addon.describe(m) == (
            "lora: where queries are the keys, what adapts q adapts the keys, too",
        )
        assert built(f"lora({R})").addons[0].addon.describe(built(f"lora({R})")) == ()


class TestTraining:
    @pytest.mark.parametrize("options", ["", ", dora=true", ", dropout=0.3", ", targets=[mixer, ffn]"])
    def test_the_optimizer_holds_the_change_alone_and_the_base_stays(self, options):
        m = built(f"lora({R}{options})")
        held = {id(p) for group in groups(m) for p in group["params"]}
        before, start = frozen_hash(m), m(tokens()).logits
        train(m.train(), steps=3)

        assert held == {id(p) for p in adapter_weights(m, "lora").values()}
        assert frozen_hash(m) == before == frozen_hash(built())
        assert not torch.equal(m.eval()(tokens()).logits, start)

    def test_reversible_layers_drop_the_same_twice(self, monkeypatch):
        def gradients():
            m = built(f"lora({R}, dropout=0.4, targets=[mixer, ffn])", residual="reversible")
            redraw(m, 2)
            torch.manual_seed(5)
            m.train()(tokens()).logits.square().sum().backward()
            return [p.grad for p in m.parameters() if p.requires_grad]

        found = gradients()
        residual = type(built(residual="reversible").layers[0].residual)
        enter = residual.enter
        monkeypatch.setattr(residual, "enter", lambda self, x: enter(self, x)._replace(tape=None))
        for one, other in zip(found, gradients(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)

    def test_projections_are_counted_as_such(self):
        plain, adapted = (counts(build_meta(*a), 16) for a in ((), (f"lora({R})",)))

        assert adapted.attention == plain.attention
        assert adapted.forward - plain.forward == 3 * 2 * 2 * 16 * (24 * R + R * 24)


class TestSharedLayers:
    def test_one_change_for_all_places(self):
        m = built("share(all)", f"lora({R})")

        assert tuned(m, "q", 0) is tuned(m, "q", 2)
        assert sum(p.numel() for p in m.parameters() if p.requires_grad) == 2 * 2 * 24 * R

    def test_or_one_for_each_application(self):
        m = built("share(all)", f"lora({R}, per=application)")
        redraw(m, 1)

        assert sum(p.numel() for p in m.parameters() if p.requires_grad) == 3 * 2 * 2 * 24 * R
        assert tuned(m, "q", 0).base.weight is tuned(m, "q", 2).base.weight
        assert m.layers[0].mixer.k.weight is m.layers[2].mixer.k.weight
        plain, own = built(), {}
        for i, block in enumerate(m.layers):
            for name, tensor in block.state_dict().items():
                own[f"stack.layers.{i}.{name}"] = tensor
        state = {k: v for k, v in m.state_dict().items() if not k.startswith("stack.layers.")} | own
        plain_lora = built(f"lora({R})")
        plain_lora.load_state_dict(state)
        torch.testing.assert_close(m(tokens()).logits, plain_lora(tokens()).logits, rtol=0, atol=1e-12)
        assert len(plain.layers) == 3

    def test_only_what_is_adapted_comes_apart(self):
        m = built("share(all)", f"lora({R}, per=application)", mixer="attention(pattern=routing(3, window=3))")
        m.to(torch.float32).double()
        first, last = m.layers[0].mixer, m.layers[2].mixer

        assert first is not last
        assert first.q is not last.q
        assert first.q.base is last.q.base
        assert list(first.buffers())
        for one, other in zip(first.buffers(), last.buffers(), strict=True):
            assert one is other
        own = adapter_weights(m)
        mine, theirs = ({n: p for n, p in x.named_parameters() if "lora_" not in n} for x in (first, last))
        assert all(theirs[name] is p for name, p in mine.items())
        assert len(own) == 3 * 2 * 2
        train(m.train(), steps=3)
        assert all(p.grad is not None and p.grad.any() for p in own.values())

    def test_it_is_still_said_that_weights_are_shared(self):
        from xcompose.compose.summary import summarise

        texts = [str(summarise(built("share(all)", *more))) for more in ((), (f"lora({R}, per=application)",))]
        assert all("one set of weights" in text for text in texts)

    def test_behind_one_for_each_none_for_all(self):
        found = refused("share(all)", f"lora({R}, per=application)", "lora(2, name=b)")

        assert found.message == "stack.layers.0.mixer.q cannot have one adapter for all of its places"
        assert found.label == "an adapter for each application stands in them"
        assert found.fixes == ("per=application", "list it before")
        m = built("share(all)", f"lora({R}, per=application)", "lora(2, name=b, per=application)")
        train(m, steps=3)
        assert all(p.grad.any() for p in adapter_weights(m).values())
        assert len(adapter_weights(m)) == 2 * 3 * 2 * 2

    @pytest.mark.parametrize("addons", [
        [f"lora({R}, per=application)"], [f"lora({R})", "lora(2, name=c, per=application)"], ["ia3(per=application)"],
    ])  # fmt: skip
    def test_what_is_said_of_each_application(self, addons, tmp_path):
        m = build_model(xc_read("share(all)", *addons), training=True)
        assert [line for listed in m.addons for line in listed.addon.describe(m)] == []

        file = tmp_path / "own.xc.yaml"
        file.write_text(yaml.safe_dump(spec_of("share(all)", *addons)), encoding="utf-8")
        called = call("xcompose build", str(file))
        assert called.code == 0, called.said
        assert "left as they are" not in called.said

    def test_each_application_cannot_be_merged(self):
        found = refused("share(all)", f"lora({R}, per=application, merge=true)")

        assert found.message == "an adapter for each application cannot be merged"
        assert found.label == "layers that share weights would need weights of their own"
        assert found.fixes == ("per=weights", "merge=false")


class TestSeveral:
    def test_they_add_and_are_switched(self):
        m = built(f"lora({R}, name=de)", "lora(2, name=en, targets=[q, out])")
        redraw(m, 1)
        place, x = tuned(m, "q"), torch.randn(5, 24, dtype=torch.float64)
        layers = dict(zip(place.names, place.layers(), strict=True))
        changes = {n: layer.lora_B[n].weight @ layer.lora_A[n].weight for n, layer in layers.items()}

        for names in (("de", "en"), ("en",), ()):
            use(m, *names)
            weight = place.base.weight + sum(changes[name] for name in names)
            torch.testing.assert_close(place(x), x @ weight.T + place.base.bias, rtol=0, atol=1e-12)
        assert isinstance(m.layers[0].mixer.out, Tuned)

    def test_dora_acts_alone(self):
        found = refused(f"lora({R}, name=de, dora=true)", f"lora({R}, name=en, dora=true)")

        assert found.message == "'de' and 'en' cannot act together"
        assert found.label == (
            "dora gives the adapted weight a length of its own, which leaves no room for another adapter"
        )
        assert found.fixes == ("active=false in one of them", "dora=false")
        m = built(f"lora({R}, name=de, dora=true)", f"lora({R}, name=en, dora=true, active=false)")
        redraw(m, 1)
        first = m(tokens()).logits
        use(m, "en")
        assert not torch.allclose(m(tokens()).logits, first)
        with pytest.raises(PartError):
            use(m, "en", "de")
        use(m, "de")
        assert torch.equal(m(tokens()).logits, first)


class TestMerging:
    @pytest.mark.parametrize("options", ["", ", alpha=5, rslora=true", ", dora=true", ", targets=[mixer, ffn]"])
    def test_a_merged_model_is_plain_and_answers_the_same(self, options):
        m = built(f"lora({R}{options})")
        redraw(m, 1)
        before = m(tokens()).logits
        merge(m)

        torch.testing.assert_close(m(tokens()).logits, before, rtol=0, atol=1e-12)
        assert list(m.state_dict()) == list(built().state_dict())
        assert all(p.requires_grad for p in m.parameters())
        assert m.addons == m.spec.addons == ()

    def test_at_the_end_of_training(self):
        spec = xc_read(f"lora({R}, merge=true)")
        m = build_model(spec, training=True, dtype=torch.float64)
        redraw(m, 1)
        before = m(tokens()).logits
        finish_model(m)

        torch.testing.assert_close(m(tokens()).logits, before, rtol=0, atol=1e-12)
        for plain in (build_model(spec, dtype=torch.float64), built()):
            plain.load_state_dict(m.state_dict())
            assert torch.equal(plain(tokens()).logits, m(tokens()).logits)

    def test_shared_weights_are_merged_once(self):
        m = built("share(all)", f"lora({R})")
        redraw(m, 1)
        before = m(tokens()).logits
        merge(m)

        torch.testing.assert_close(m(tokens()).logits, before, rtol=0, atol=1e-12)
        assert m.layers[0].mixer.q is m.layers[2].mixer.q

    def test_what_does_not_act_is_dropped(self):
        m = built("adapter(2, active=false)", f"lora({R}, name=de)", f"lora({R}, name=en)")
        redraw(m, 1)
        use(m, "en")
        before = m(tokens()).logits
        merge(m)

        torch.testing.assert_close(m(tokens()).logits, before, rtol=0, atol=1e-12)
        assert list(m.state_dict()) == list(built().state_dict())

    def test_refusals(self):
        m = built(f"adapter({R})", f"lora({R})")
        with pytest.raises(PartError) as caught:
            merge(m)
        assert caught.value.message == "'adapter' cannot be merged"
        assert caught.value.label == "it is a network of its own behind a sub-layer"
        assert caught.value.fixes == ("switch it off first", "keep it as an adapter")

        found = refused(f"lora({R}, merge=true)", f"adapter({R})")
        assert found.message == "'adapter' comes after 'lora'"
        assert found.code == "XC034"
        found = refused(f"lora({R}, merge=true, active=false)")
        assert found.message == "an adapter that does not act cannot be merged"
        found = refused(f"lora({R})", "ia3(merge=true)")
        assert found.message == "'ia3' cannot be merged beside 'lora'"
        assert found.label == "'lora' belongs to the weights as they were before"
        assert found.fixes == ("merge=false", "train 'ia3' alone first, and 'lora' on what it became")
        found = refused(f"adapter({R})", f"lora({R}, merge=true)")
        assert found.message == "'lora' cannot be merged beside 'adapter'"


def xc_read(*addons):
    import xcompose as xc

    return xc.read(spec_of(*addons))


def build_meta(*addons):
    from xcompose.compose.build import plan_model

    return plan_model(xc_read(*addons))
