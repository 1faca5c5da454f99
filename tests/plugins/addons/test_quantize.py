"""Linear layers in few bits: the numbers, what is left as it is, the forms on the way through training, and files."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

import xcompose as xc
from xcompose.compose.addons import extra
from xcompose.compose.build import build_model, finish_model, plan_model
from xcompose.compose.quantized import MOST, Quantized, Rounding, Scheme, meant, parts_of, quantized
from xcompose.compose.weights import bytes_of_weights, load_model, load_weights, plain_tensors, save_weights
from xcompose.cost.count import counts, parameters
from xcompose.diagnostics import SpecError
from xcompose.verify.stored import apart

torchao = pytest.importorskip("torchao", reason="pip install 'xcompose[quantize]'")

C, V = 32, 17
MODEL = {"type": "decoder", "dim": C, "heads": 2, "vocab": V, "layers": 2}
KINDS = ("int8", "int8, group=8", "int8-dynamic", "int4", "int4, group=8")
SCHEMES = {
    "int8": Scheme(8), "int8, group=8": Scheme(8, 8), "int8-dynamic": Scheme(8, dynamic=True), "int4": Scheme(4, 32),
    "int4, group=8": Scheme(4, 8),
}  # fmt: skip


def spec(*addons: str, **keys):
    return {"xcompose": 1, "model": {**MODEL, **keys}, "addons": list(addons)}


def built(*addons: str, seed: int = 0, dtype: torch.dtype = torch.float32, **keys):
    return xc.build(spec(*addons, **keys), seed=seed, dtype=dtype).eval()


def resolved(*addons: str, **keys):
    return xc.read(spec(*addons, **keys))


def tokens() -> torch.Tensor:
    return torch.randint(0, V, (2, 7), generator=torch.Generator().manual_seed(4))


def linear(rows: int = 5, columns: int = 64, seed: int = 3) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(columns, rows)


def message(*addons: str, **keys) -> str:
    with pytest.raises(SpecError) as caught:
        built(*addons, **keys)
    (found,) = caught.value.diagnostics
    return "; ".join([found.message, *([found.label] if found.label else []), *found.fixes])


def naive(row: list[float], most: int) -> tuple[list[int], float]:
    """Integers and scale of one group, by the formula."""
    largest = max(abs(w) for w in row)
    if largest == 0:
        return [0] * len(row), 1.0
    scale = float(torch.tensor(largest) / most)
    exact = [float(torch.tensor(w) / torch.tensor(scale)) for w in row]
    return [max(-most, min(most, round(e))) for e in exact], scale


class TestNumbers:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_stored_weight_is_that_of_the_formula(self, kind):
        layer, scheme = linear(), SCHEMES[kind]
        layer.weight.data[1] = 0.0
        weight = Quantized(layer, scheme).weight
        group = scheme.group or 64
        exact = meant(weight)
        for o in range(5):
            for start in range(0, 64, group):
                numbers, scale = naive(layer.weight[o, start : start + group].tolist(), scheme.most)
                assert parts_of(weight)["scale"][o, start // group] == scale
                assert exact[o, start : start + group].tolist() == [n * scale for n in numbers]

    @pytest.mark.parametrize("kind", KINDS)
    def test_both_signs_are_alike_and_the_largest_is_kept(self, kind):
        layer, other, scheme = linear(), linear(), SCHEMES[kind]
        other.weight.data = -layer.weight.data
        one, two = (meant(Quantized(one, scheme).weight) for one in (layer, other))
        largest = layer.weight.detach().double().abs().argmax(1)

        assert torch.equal(one, -two)
        kept = one.gather(1, largest[:, None]) / layer.weight.double().gather(1, largest[:, None])
        torch.testing.assert_close(kept, torch.ones_like(kept), rtol=0, atol=1e-6)

    def test_halves_go_to_the_even_number(self):
        layer = nn.Linear(6, 1, bias=False)
        layer.weight.data = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]])

        assert parts_of(Quantized(layer, Scheme(8)).weight)["qdata"].tolist() == [[127, 0, 2, 2, 0, -2]]

    def test_torchao_rounds_alike_where_it_is_given_the_scale_and_uses_minus_128_where_not(self):
        from torchao.quantization import Int8Tensor, PerRow

        layer = linear()
        layer.weight.data[0] = -layer.weight.data[0].abs()
        ours = Quantized(layer, Scheme(8)).weight
        theirs = Int8Tensor.from_hp(layer.weight.detach(), PerRow(), scale=parts_of(ours)["scale"])
        alone = Int8Tensor.from_hp(layer.weight.detach(), PerRow())

        assert torch.equal(theirs.qdata, parts_of(ours)["qdata"])
        assert torch.equal(theirs.dequantize(), ours.dequantize())  # type: ignore[operator]
        assert int(alone.qdata.min()) == -128
        assert int(parts_of(ours)["qdata"].min()) == -127

    def test_four_bits_are_those_of_torchao_with_this_scale(self):
        from torchao.quantization.quant_primitives import quantize_affine

        layer = linear()
        ours = Quantized(layer, Scheme(4, 8)).weight
        scale, zero = parts_of(ours)["scale"], torch.zeros(5, 8)
        theirs = quantize_affine(
            layer.weight.detach(), (1, 8), scale, zero, torch.int8, quant_min=-8, quant_max=7
        )  # fmt: skip

        assert torch.equal(ours.numbers(), theirs)  # type: ignore[operator]
        assert parts_of(ours)["qdata"].shape == (5, 32)
        assert parts_of(ours)["qdata"].dtype == torch.uint8

    def test_dynamic_rows_are_those_of_the_formula(self):
        layer = linear()
        stored = Quantized(layer, Scheme(8, dynamic=True))
        x = torch.randn(3, 64, generator=torch.Generator().manual_seed(8))
        x[2] = 0.0
        found = stored(x)
        for b in range(3):
            numbers, scale = naive(x[b].tolist(), 127)
            for o in range(5):
                weights, own = naive(layer.weight[o].tolist(), 127)
                whole = sum(n * w for n, w in zip(numbers, weights, strict=True))
                assert abs(whole * scale * own + float(layer.bias[o].detach()) - float(found[b, o].detach())) < 1e-5

    @pytest.mark.parametrize("shape", [(64,), (1, 64), (0, 64), (2, 3, 64), (2, 0, 64)])
    @pytest.mark.parametrize("kind", ["int8", "int8-dynamic", "int4"])
    def test_rows_may_have_any_shape(self, kind, shape):
        layer = linear()
        x = torch.randn(shape)

        assert Quantized(layer, SCHEMES[kind])(x).shape == layer(x).shape

    def test_what_is_no_number_stays_none(self):
        stored, x = Quantized(linear(), Scheme(8, dynamic=True)), torch.zeros(3, 64)
        x[0, 3], x[1, 5] = torch.nan, torch.inf
        found = stored(x)

        assert found[:2].isnan().all()
        assert found[2].isfinite().all()

    @pytest.mark.parametrize("kind", KINDS)
    def test_double_precision_is_the_exact_twin(self, kind):
        layer, scheme = linear(), SCHEMES[kind]
        stored = Quantized(layer, scheme)
        x = torch.randn(7, 64)

        assert apart(stored, x) < 1e-6
        twin = Quantized(layer, scheme).double()
        assert torch.equal(twin.weight, meant(stored.weight))
        assert type(twin.weight) is nn.Parameter
        assert twin.exact
        assert twin.float().weight.dtype == torch.float32
        assert twin.exact, "a twin stays one"

    @pytest.mark.parametrize("kind", KINDS)
    def test_bf16_keeps_the_numbers_and_the_scales(self, kind):
        stored = Quantized(linear(), SCHEMES[kind])
        before = {name: part.clone() for name, part in parts_of(stored.weight).items()}
        stored.bfloat16()

        assert stored.weight.dtype == torch.bfloat16
        for name, part in parts_of(stored.weight).items():
            assert part.dtype == before[name].dtype
            assert torch.equal(part, before[name])
        out = stored(torch.randn(3, 64, dtype=torch.bfloat16))
        assert out.dtype == torch.bfloat16


class TestGradients:
    @pytest.mark.parametrize("kind", ["int8", "int8-dynamic", "int4"])
    def test_of_rows_are_those_of_the_stored_weight(self, kind):
        stored = Quantized(linear(), SCHEMES[kind])
        x, g = torch.randn(3, 64, requires_grad=True), torch.randn(3, 5)
        (found,) = torch.autograd.grad((stored(x) * g).sum(), x)

        torch.testing.assert_close(found.double(), g.double() @ meant(stored.weight), rtol=0, atol=1e-5)
        assert not stored.weight.requires_grad

    @pytest.mark.parametrize("kind", KINDS)
    def test_while_it_learns_they_pass_as_if_nothing_were_rounded(self, kind):
        layer, scheme = linear().double(), SCHEMES[kind]
        learning = Rounding(layer, scheme)
        x, g = torch.randn(3, 64, dtype=torch.float64, requires_grad=True), torch.randn(3, 5, dtype=torch.float64)
        found = torch.autograd.grad((learning(x) * g).sum(), [x, layer.weight, layer.bias])
        weight, rows = torch.zeros_like(layer.weight), x.detach().clone()
        for o in range(5):
            for start in range(0, 64, scheme.group or 64):
                own = slice(start, start + (scheme.group or 64))
                scale = layer.weight[o, own].abs().max() / scheme.most
                weight.data[o, own] = (layer.weight[o, own] / scale).round() * scale
        if scheme.dynamic:
            for b in range(3):
                scale = rows[b].abs().max() / 127
                rows[b] = (rows[b] / scale).round() * scale

        torch.testing.assert_close(learning(x), functional.linear(rows, weight, layer.bias), rtol=0, atol=1e-12)
        for got, expected in zip(found, (g @ weight, g.T @ rows, g.sum(0)), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_was_learnt_is_what_is_stored(self, kind):
        layer, x = linear(), torch.randn(3, 64)
        learning, stored = Rounding(layer, SCHEMES[kind]), Quantized(layer, SCHEMES[kind])

        torch.testing.assert_close(learning(x), stored(x), rtol=0, atol=1e-5)


class TestModel:
    def test_every_linear_layer_but_a_tied_one(self):
        m = built("quantize(int8)")
        names = [path.rpartition(".")[2] for path, _ in quantized(m)]

        assert names == ["q", "k", "v", "out", "up", "down"] * 2
        assert m.output.linear.weight is m.embedding.tokens.weight
        assert type(m.output.linear.weight) is nn.Parameter

    def test_tied_weights_stay_tied_both_ways(self):
        m = built("quantize(int8)")
        before = m(tokens()).logits
        with torch.no_grad():
            m.output.linear.weight.mul_(1.5)

        assert torch.equal(m.embedding.tokens.weight, m.output.linear.weight)
        assert not torch.equal(m(tokens()).logits, before)
        with torch.no_grad():
            m.embedding.tokens.weight.div_(1.5)
        torch.testing.assert_close(m(tokens()).logits, before)

    def test_an_output_of_its_own_is_stored_and_the_table_is_named(self):
        m = built("quantize(int8)", output="lm(tied=false)")

        assert isinstance(m.output.linear, Quantized)
        assert m.addons[0].addon.describe(m) == [
            "quantize leaves embedding.tokens.weight as it is: not the weight of a linear layer"
        ]

    def test_shared_layers_are_stored_once(self):
        shared, apart_ = built("share(all)", "quantize(int8)"), built("quantize(int8)")
        first, second = (block.mixer.q for block in shared.layers)

        assert first is second
        assert len(list(quantized(shared))) == 6
        weights = bytes_of_weights(apart_) - bytes_of_weights(shared)
        one = C * C * 4 + C * 4 * C * 2 + 4 * (4 * C + 4 * C + C) + 4 * (4 * C + 5 * C) + 4 * 4 * C
        assert weights == one, "integers, scales, biases and norms of one layer"

    @pytest.mark.parametrize("kind", KINDS)
    def test_counts_are_those_of_the_model_and_bytes_those_of_its_file(self, kind, tmp_path):
        plain, m = built(), built(f"quantize({kind})")
        file = save_weights(m, tmp_path / "w.safetensors")
        header = int.from_bytes(file.read_bytes()[:8], "little")
        planned = plan_model(resolved(f"quantize({kind})"))

        assert parameters(m).total == parameters(plain).total == parameters(planned).total
        assert bytes_of_weights(m) == file.stat().st_size - header - 8
        assert bytes_of_weights(planned) == bytes_of_weights(m)
        saved, scheme = 0.0, SCHEMES[kind]
        for _, layer in quantized(m):
            group = scheme.group or layer.in_features
            saved += layer.weight.numel() * ((32 - scheme.bits) / 8 - 4 / group)
        assert bytes_of_weights(plain) - bytes_of_weights(m) == saved

    @pytest.mark.parametrize("kind", ["int8", "int8-dynamic", "int4"])
    def test_the_work_that_is_counted_is_the_same(self, kind):
        one, other = (plan_model(resolved(*addons)) for addons in ((), (f"quantize({kind})",)))

        assert counts(one, 7).forward == counts(other, 7).forward

    @pytest.mark.parametrize("kind", ["int8", "int8-dynamic", "int4"])
    def test_it_compiles_whole(self, kind):
        ffn, x = built(f"quantize({kind})", layers=1).layers[0].ffn, torch.randn(2, 3, C)
        with torch.no_grad():
            found = torch.compile(ffn, backend="aot_eager", fullgraph=True)(x)

            torch.testing.assert_close(found, ffn(x), rtol=0, atol=1e-5)

    def test_only_and_keep_choose_by_place_and_name(self):
        def stored(options: str, **keys) -> set[str]:
            m = built(f"quantize(int8, {options})", **{"layers": 1, "output": "lm(tied=false)", **keys})
            return {path.removeprefix("stack.layers.0.") for path, _ in quantized(m)}

        assert stored("only=[ffn]") == {"ffn.up", "ffn.down"}
        assert stored("only=[mixer], keep=[q, k]") == {"mixer.v", "mixer.out"}
        assert stored("only=[output, up]") == {"ffn.up", "output.linear"}
        assert stored("keep=[mixer, ffn]") == {"output.linear"}

    def test_a_model_in_double_precision_gets_twins(self):
        m, single = built("quantize(int8)", dtype=torch.float64), built("quantize(int8)")

        assert all(layer.exact for _, layer in quantized(m))
        torch.testing.assert_close(m(tokens()).logits, single.double()(tokens()).logits, rtol=0, atol=1e-6)


class TestLeftAsItIs:
    def said(self, *addons: str, **keys) -> list[str]:
        m = built(*addons, **{"layers": 1, **keys})
        m(tokens())
        return [line for listed in m.addons for line in listed.addon.describe(m)]

    def test_matrices_that_are_read(self):
        assert self.said("quantize(int8)", position="transformer-xl") == [
            "quantize leaves stack.layers.0.mixer.inner.position.u, stack.layers.0.mixer.inner.position.v as they are: "
            "not the weight of a linear layer",
            "quantize leaves stack.layers.0.mixer.inner.position.r.weight as it is: read as a matrix, not applied as a "
            "layer",
            "quantize leaves output.linear.weight as it is: the weight of another module, too",
        ]

    @pytest.mark.parametrize("pattern", ["lsh(chunk=4, buckets=2)", "routing(2, window=3)"])
    def test_projections_that_feed_a_choice(self, pattern):
        said = self.said("quantize(int8)", mixer=f"attention(pattern={pattern})", type="encoder", output="lm")

        assert said[0] == (
            "quantize leaves stack.layers.0.mixer.q.weight, stack.layers.0.mixer.k.weight as they are: queries and "
            "keys that decide who reads whom, and rounding would turn decisions"
        )

    def test_who_uses_a_stored_weight_without_the_layer_hears_of_it(self):
        weight = Quantized(linear(), Scheme(8)).weight

        with pytest.raises(NotImplementedError, match="Int8Tensor dispatch"):
            torch.einsum("o i, b i -> b o", weight, torch.randn(2, 64))


class TestForms:
    def test_after_training_is_the_default(self):
        m = build_model(resolved("quantize(int8)"), training=True)

        assert not list(quantized(m))
        assert torch.equal(m(tokens()).logits, built()(tokens()).logits)
        finish_model(m)
        assert torch.equal(m(tokens()).logits, built("quantize(int8)")(tokens()).logits)

    @pytest.mark.parametrize("kind", KINDS)
    def test_aware_learns_what_will_be_stored(self, kind):
        m = build_model(resolved(f"quantize({kind}, aware=true)"), training=True)
        before = [p.clone() for p in m.parameters()]
        optimizer = torch.optim.SGD(m.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(m(tokens()).logits.flatten(0, 1), tokens().flatten()).backward()
            optimizer.step()
        moved = sum(not torch.equal(a, b) for a, b in zip(before, m.parameters(), strict=True))
        learnt = m(tokens()).logits
        finish_model(m)

        assert moved == len(before)
        assert [type(layer) for _, layer in quantized(m)] == [Quantized] * 12
        atol = 2e-2 if "dynamic" in kind else 1e-5
        torch.testing.assert_close(m(tokens()).logits, learnt, rtol=0, atol=atol)

    def test_a_shared_layer_learns_as_one(self):
        m = build_model(resolved("share(all)", "quantize(int8, aware=true)"), training=True)

        assert m.layers[0].mixer.q is m.layers[1].mixer.q
        assert isinstance(m.layers[0].mixer.q, Rounding)
        finish_model(m)
        assert m.layers[0].mixer.q is m.layers[1].mixer.q
        assert isinstance(m.layers[0].mixer.q, Quantized)

    def test_a_frozen_base_is_stored_at_once_with_the_weights_that_are_given(self, tmp_path):
        base = save_weights(built(seed=5), tmp_path / "base.safetensors")
        m = build_model(resolved("quantize(int8)", "adapter(4)"), training=True, base=base).eval()

        assert len(list(quantized(m))) == 12
        assert torch.equal(m(tokens()).logits, built("quantize(int8)", seed=5)(tokens()).logits)
        assert not any(layer.weight.requires_grad for _, layer in quantized(m))
        m(tokens()).logits.sum().backward()
        assert all(p.grad is not None for n, p in m.named_parameters() if p.requires_grad)


class TestFiles:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("output", ["lm", "lm(tied=false)"])
    def test_a_file_holds_it_bit_for_bit(self, kind, output, tmp_path):
        m = built(f"quantize({kind})", output=output)
        file = save_weights(m, tmp_path / "w.safetensors")
        loaded, again = load_model(file), built(f"quantize({kind})", output=output, seed=9)
        load_weights(again, file)

        for other in (loaded, again):
            there = plain_tensors(other)
            assert there.keys() == plain_tensors(m).keys()
            assert all(torch.equal(tensor, there[name]) for name, tensor in plain_tensors(m).items())
            assert torch.equal(other(tokens()).logits, m(tokens()).logits)

    def test_a_file_of_another_kind_is_refused(self, tmp_path):
        file = save_weights(built("quantize(int4)"), tmp_path / "w.safetensors")
        with pytest.raises(SpecError) as caught:
            load_weights(built("quantize(int8)"), file)

        assert caught.value.diagnostics[0].label == (
            "stack.layers.0.mixer.q.weight:qdata is (32, 16) there and (32, 32) here; stack.layers.0.mixer.k.weight:"
            "qdata is (32, 16) there and (32, 32) here; stack.layers.0.mixer.v.weight:qdata is (32, 16) there and "
            "(32, 32) here; stack.layers.0.mixer.q.weight:qdata is torch.uint8 there and torch.int8 here, which cannot "
            "hold it"
        )


class TestRefusals:
    def test_a_group_for_dynamic_rows(self):
        assert message("quantize(int8-dynamic, group=8)") == (
            "int8-dynamic has one scale for each row of a weight; integers of one sum need one scale; "
            "leave 'group' out; to=int8"
        )

    def test_half_a_byte(self):
        assert message("quantize(int4, group=3)") == (
            "a group of 3 numbers of 4 bits does not fill whole bytes; group=4"
        )

    def test_rows_that_do_not_divide(self):
        assert message("quantize(int4)", dim=24) == (
            "rows of 24 do not divide into groups of 32; those of stack.layers.0.mixer.q; group=24; keep=q"
        )

    def test_a_word_that_no_layer_has(self):
        assert message("quantize(int8, only=[attention])") == (
            "no linear layer of this model is called 'attention'; there are down, ffn, k, linear, mixer, out, output, "
            "q, up, v"
        )

    def test_an_empty_list(self):
        assert message("quantize(int8, only=[])") == (
            "an empty list of layers leaves nothing to quantize; leave 'only' out, for all of them; only=[mixer, ffn]"
        )

    def test_all_are_kept(self):
        assert message("quantize(int8, only=[q], keep=[q])") == (
            "there is no linear layer to quantize; 'keep' names all of them; name fewer in 'keep'"
        )

    def test_a_word_that_keeps_nothing(self):
        assert message("quantize(int8, only=[mixer], keep=[up])") == (
            "'up' keeps nothing; none of these layers is among those of 'only'; leave 'up' out of 'keep'"
        )

    def test_nothing_to_store(self):
        assert message("quantize(int8, only=[output])") == (
            "there is no linear layer to quantize; quantize leaves output.linear.weight as it is: the weight of "
            "another module, too"
        )

    def test_a_kind_that_does_not_work_here(self):
        with pytest.raises(SpecError) as caught:
            resolved("quantize(float8)")

        assert caught.value.diagnostics[0].message == "expected int8, int8-dynamic or int4, found 'float8'"

    def test_learning_under_a_frozen_base(self):
        assert message("quantize(int8, aware=true)", "adapter(4)") == (
            "'adapter' comes after 'quantize'; 'quantize' is there to train the base, and 'adapter' freezes it; "
            "keep one of 'quantize' and 'adapter'"
        )


def test_importing_is_silent():
    code = "from xcompose.compose.addons import extra; extra('torchao', 'quantize'); import torchao.quantization"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout + ran.stderr == ""
    assert extra("torchao", "quantize") is torchao
    assert math.isclose(MOST[8], 127)
