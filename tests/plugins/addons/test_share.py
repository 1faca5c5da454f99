"""One set of weights for many layers."""

from __future__ import annotations

import copy

import pytest
import safetensors.torch
import torch
from torch import nn
from xcompose_plugins.addons.share import Share, ShareOptions

import xcompose as xc
from tests.plugins.addons.twins import same_gradients, twin
from xcompose.compose.build import plan_model
from xcompose.compose.parts import Context
from xcompose.compose.sites import sites
from xcompose.compose.summary import summarise
from xcompose.compose.weights import load_weights, save_weights
from xcompose.cost.count import counts, parameters
from xcompose.diagnostics import PartError
from xcompose.train.learner import groups

MODEL = {"type": "decoder", "dim": 24, "heads": 2, "vocab": 17, "layers": 4}
BOTH = {"type": "encoder-decoder", "dim": 24, "heads": 2, "vocab": 17}
SIDES = {"encoder": {"layers": 4}, "decoder": {"layers": 2}}


def built(*addons: str, seed: int = 0, **keys):
    model = {**MODEL, **keys}
    if model["type"] == "encoder-decoder":
        del model["layers"]
    return xc.build({"xcompose": 1, "model": model, "addons": list(addons)}, seed=seed, dtype=torch.float64)


def tokens(n: int = 7) -> torch.Tensor:
    return torch.randint(0, 17, (2, n), generator=torch.Generator().manual_seed(4))


def count(m) -> int:
    return sum(p.numel() for p in m.parameters())


def first_users(blocks, part: str) -> list[int]:
    """For each layer the number of the first that has the same part."""
    ids = [id(getattr(block, part)) for block in blocks]
    return [ids.index(one) for one in ids]


def refused(*addons: str, **keys):
    with pytest.raises(xc.SpecError) as caught:
        built(*addons, **keys)
    (found,) = caught.value.diagnostics
    return found


class TestShare:
    def test_parameters_count_once(self):
        one = count(built(layers=1))

        assert count(built("share(all)")) == one
        assert count(built("share(all)", layers=2)) == one

    @pytest.mark.parametrize("residual", ["pre-norm", "post-norm", "parallel", "reversible"])
    def test_equals_layers_of_equal_weights_and_learns_from_all_of_them(self, residual):
        shared = built("share(all)", residual=residual)
        plain = twin(shared, built(residual=residual))

        torch.testing.assert_close(shared(tokens()).logits, plain(tokens()).logits, rtol=0, atol=1e-13)
        shared(tokens()).logits.square().sum().backward()
        plain(tokens()).logits.square().sum().backward()
        assert same_gradients(shared, plain) > 10

    def test_computing_again_changes_no_gradient(self):
        plain, again = built("share(all)"), built("share(all)")
        again.train().stack.recompute = True
        for m in (plain.train(), again):
            m(tokens()).logits.square().sum().backward()

        for ours, theirs in zip(plain.parameters(), again.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)

    def test_states_stay_apart(self):
        m = built("share(all)", layers="4*attention(pattern=window(3))")
        state, parts = m.start(2), []
        for i in range(7):
            out = m(tokens()[:, i : i + 1], state=state)
            state = out.state
            parts.append(out.logits)

        assert sorted(state.parts) == ["0.mixer", "1.mixer", "2.mixer", "3.mixer"]
        torch.testing.assert_close(torch.cat(parts, 1), m(tokens()).logits, rtol=0, atol=1e-12)

    def test_it_survives_a_copy(self):
        m = copy.deepcopy(built("share(all)"))

        assert m.layers[0].mixer is m.layers[3].mixer


class TestWhat:
    @pytest.mark.parametrize(
        ("what", "parts"),
        [
            ("all", {"mixer", "ffn", "residual"}),
            ("attention", {"mixer"}),
            ("mixer", {"mixer"}),
            ("ffn", {"ffn"}),
            ("norms", {"residual"}),
            ("[attention, ffn]", {"mixer", "ffn"}),
            ("[ffn, norms]", {"ffn", "residual"}),
        ],
    )
    def test_the_parts_of_a_layer(self, what, parts):
        m = built(f"share({what})")
        shared = {part for part in ("mixer", "ffn", "residual") if first_users(m.layers, part) == [0, 0, 0, 0]}

        assert shared == parts
        assert all(first_users(m.layers, part) == [0, 1, 2, 3] for part in {"mixer", "ffn", "residual"} - parts)

    @pytest.mark.parametrize(("what", "crosses"), [("all", 1), ("attention", 1), ("cross", 1), ("mixer", 2)])
    def test_cross_attention(self, what, crosses):
        m = built(f"share({what})", **BOTH, **SIDES)
        decoder = m.stacks()["decoder"].blocks

        assert len({id(block.cross) for block in decoder}) == crosses
        assert decoder[0].cross is not decoder[0].mixer

    def test_norms_apart(self):
        """Each layer has two norms of width 24, each with a factor and a shift."""
        assert count(built("share([attention, ffn])")) - count(built("share(all)")) == 3 * 2 * 2 * 24


class TestSets:
    @pytest.mark.parametrize(
        ("options", "layers", "expected"),
        [
            ("groups=1", 4, [0, 0, 0, 0]),
            ("groups=2", 4, [0, 0, 2, 2]),
            ("groups=3", 6, [0, 0, 2, 2, 4, 4]),
            ("groups=2, order=cycle", 4, [0, 1, 0, 1]),
            ("groups=3, order=cycle", 7, [0, 1, 2, 0, 1, 2, 0]),
            ("groups=3, order=cycle-reversed", 6, [0, 1, 2, 2, 1, 0]),
            ("groups=3, order=cycle-reversed", 9, [0, 1, 2, 0, 1, 2, 2, 1, 0]),
            ("groups=3, order=cycle-reversed", 8, [0, 1, 2, 0, 1, 2, 2, 1]),
        ],
    )
    def test_which_layers_use_the_same(self, options, layers, expected):
        m = built(f"share({options})", layers=layers)

        assert first_users(m.layers, "mixer") == expected
        assert first_users(m.layers, "residual") == expected
        assert count(m) == count(built(layers=len(set(expected))))

    def test_each_stack_by_itself(self):
        m = built("share(all)", **BOTH, **SIDES)
        encoder, decoder = (stack.blocks for stack in m.stacks().values())

        assert first_users(encoder, "mixer") == [0, 0, 0, 0]
        assert first_users(decoder, "mixer") == [0, 0]
        assert encoder[0].mixer is not decoder[0].mixer

    def test_stacks_by_name(self):
        m = built("share(groups=2, stacks=encoder)", "share(ffn, stacks=[decoder])", **BOTH, **SIDES)
        encoder, decoder = (stack.blocks for stack in m.stacks().values())

        assert first_users(encoder, "mixer") == [0, 0, 2, 2]
        assert first_users(decoder, "ffn") == [0, 0]
        assert first_users(decoder, "mixer") == [0, 1]

    def test_parts_in_different_groups(self):
        m = built("share(mixer, groups=2)", "share(ffn)")

        assert first_users(m.layers, "mixer") == [0, 0, 2, 2]
        assert first_users(m.layers, "ffn") == [0, 0, 0, 0]

    def test_every_stack_of_an_axial_decoder(self):
        sides = {"outer": {"layers": 4, "mixer": "attention(pattern=axis(1))"}, "inner": {"layers": 2}}
        m = xc.build(
            {"xcompose": 1, "addons": ["share(all)"],
             "model": {"type": "axial-decoder", "dim": 12, "heads": 2, "vocab": 17, "grid": [3, 3], **sides}},
            dtype=torch.float64,
        )  # fmt: skip

        assert [first_users(stack.blocks, "mixer") for stack in m.stacks().values()] == [[0, 0, 0, 0], [0, 0]]


class TestCountedOnce:
    def test_everywhere(self):
        spec = {"xcompose": 1, "model": MODEL, "addons": ["share(all)"]}
        m, plain, single = built("share(all)"), built(), built(layers=1)
        one = count(single)

        assert parameters(m).total == one
        assert sum(p.numel() for group in groups(m) for p in group["params"]) == one
        assert len(sites(m)) == len(sites(single))
        assert summarise(plan_model(xc.read(spec))).parameters == one
        assert count(plain) > 3 * one - 3 * 17 * 24

    def test_work_is_that_of_all_layers_and_each_is_named(self):
        shared, plain = built("share(all)").to("meta"), built().to("meta")
        ours, theirs = (counts(m, 16, training=True, activations=True) for m in (shared, plain))

        assert (ours.forward, ours.attention, ours.training) == (theirs.forward, theirs.attention, theirs.training)
        assert ours.state == theirs.state
        assert ours.activations == theirs.activations
        assert ours.mixers == theirs.mixers
        assert [path for path, _ in ours.mixers] == [f"stack.layers.{i}.mixer" for i in range(4)]

    def test_a_file_holds_each_tensor_once_and_is_read_back_tied(self, tmp_path):
        saved, fresh = built("share(groups=2)"), built("share(groups=2)", seed=1)
        place = save_weights(saved, tmp_path / "w.safetensors")
        load_weights(fresh, place)

        held = safetensors.torch.load_file(place)
        assert sum(t.numel() for name, t in held.items() if name in dict(saved.named_parameters())) == count(saved)
        assert not any(name.startswith(("stack.layers.1.", "stack.layers.3.")) for name in held)
        assert torch.equal(fresh(tokens()).logits, saved(tokens()).logits)
        assert fresh.layers[0].mixer is fresh.layers[1].mixer
        with torch.no_grad():
            fresh.layers[3].ffn.up.weight.zero_()
        assert not fresh.layers[2].ffn.up.weight.any()

    def test_an_optimizer_takes_one_step(self):
        """With plain gradient descent a step is the rate times the sum of the gradients."""
        m = built("share(all)")
        before = m.layers[0].ffn.up.weight.detach().clone()
        optimizer = torch.optim.SGD(groups(m), lr=0.5, weight_decay=0.0)
        m(tokens()).logits.square().mean().backward()
        optimizer.step()
        weight = m.layers[3].ffn.up.weight

        torch.testing.assert_close(weight, before - 0.5 * weight.grad, rtol=0, atol=1e-15)


class TestStart:
    def test_what_writes_to_the_stream_is_quiet_for_all_applications(self):
        """An init that goes by depth counts layers that are applied, whoever has their weights."""
        keys = {"dim": 128, "output": "lm(tied=false)", "init": "sparse-transformer", "layers": 8}
        for addons in ((), ("share(all)",), ("share(groups=2)",)):
            writer = built(*addons, **keys).layers[5].ffn.down
            found = writer.weight.std().item() / (0.125 * writer.in_features**-0.5)
            assert found == pytest.approx((2 * 8) ** -0.5, rel=0.02)

    def test_the_first_layer_of_a_set_gives_the_start(self):
        plain, shared = built(), built("share(groups=2)")

        assert torch.equal(shared.layers[3].ffn.up.weight, plain.layers[2].ffn.up.weight)
        assert torch.equal(shared.embedding.tokens.weight, plain.embedding.tokens.weight)


class TestRefusals:
    def test_layers_that_are_not_alike(self):
        layers = "attention, attention(pattern=window(3)), attention, attention"
        found = refused("share(all)", layers=layers)

        assert found.message == "layers 0 and 1 cannot share, they differ in mixer"
        assert found.fixes == ("make the layers alike", "share only what is alike: ffn")
        assert built("share(ffn)", layers=layers).layers[0].ffn is not None

    def test_layers_of_a_stack_that_are_not_alike(self):
        sides = {"encoder": {"layers": "attention(heads=2), attention(heads=4)"}, "decoder": {"layers": 2}}

        assert refused("share(all)", **BOTH, **sides).message == (
            "layers 0 and 1 of encoder cannot share, they differ in mixer"
        )

    def test_norms_of_layers_with_other_sub_layers(self):
        layers = [{"mixer": "attention"}, {"mixer": "attention", "ffn": "none"}]

        assert refused("share(norms)", layers=layers).message == "layers 0 and 1 cannot share, they differ in residual"

    def test_groups_that_do_not_divide(self):
        found = refused("share(groups=3)")

        assert found.message == "4 layers do not divide into 3 groups"
        assert (found.code, found.path) == ("XC032", "addons.0.groups")
        assert found.fixes == ("groups=2", "order=cycle, where the last round may be shorter")

    def test_more_groups_than_layers(self):
        found = refused("share(groups=5, order=cycle)")

        assert found.message == "4 layers do not divide into 5 groups"
        assert found.fixes == ("groups=4",)

    def test_groups_of_one_layer(self):
        found = refused("share(groups=4)")

        assert found.message == "no two layers share anything"
        assert found.label == "each layer is a group by itself"
        assert found.fixes == ("fewer groups", "more layers", "leave share out")

    def test_parts_that_no_layer_has(self):
        found = refused("share(cross)")

        assert found.message == "no layer has the part 'cross'"
        assert found.label == "layers of this model have ffn and mixer and norms"
        assert found.fixes == ("share(all)",)

    @pytest.mark.parametrize("what", ["norms", "[mixer, norms]"])
    def test_norms_that_have_no_weights(self, what):
        found = refused(f"share({what})", norm="none")

        assert found.message == "no layer has the part 'norms'"
        assert found.label == "layers of this model have ffn and mixer"
        assert first_users(built("share(all)", norm="none").layers, "ffn") == [0, 0, 0, 0]

    def test_parts_that_have_no_weights(self):
        m = built()
        for block in m.layers:
            block.ffn = nn.Identity()
        with pytest.raises(PartError) as caught:
            Share(ShareOptions(what=("ffn",)), Context(dim=24, causal="strict")).apply(m)

        found = caught.value
        assert (found.message, found.option) == ("no two layers share anything", "what")
        assert found.label == "these parts of its layers have no weights: ffn"
        assert found.fixes == ("share(all)", "leave share out")

    def test_an_empty_list_of_parts(self):
        found = refused("share([])")

        assert (found.message, found.path) == ("an empty list of parts shares nothing", "addons.0.what")
        assert found.fixes == ("share(all)", "share([attention, ffn])", "leave share out")

    @pytest.mark.parametrize("addon", ["share(stacks=[])", "universal(stacks=[])"])
    def test_an_empty_list_of_stacks(self, addon):
        alone, both = refused(addon), refused(addon, **BOTH, **SIDES)

        assert (alone.message, alone.path) == ("an empty list of stacks names none", "addons.0.stacks")
        assert alone.label == "it would change nothing"
        assert alone.fixes == ("leave stacks out, for each stack of the model",)
        assert both.fixes == ("stacks=encoder", "stacks=decoder", "leave stacks out, for each stack of the model")

    def test_a_stack_that_is_not_there(self):
        found = refused("share(all, stacks=encoders)", **BOTH, **SIDES)

        assert (found.message, found.fixes) == ("there is no stack 'encoders'", ("stacks=encoder", "stacks=decoder"))
        alone = refused("share(all, stacks=decoder)")
        assert alone.label == "this model has one stack, without a name"
        assert alone.fixes == ("leave stacks out",)

    def test_what_is_shared_already(self):
        found = refused("share(all)", "share(ffn, groups=2)")

        assert found.message == "layers 0 and 1 share their ffn already"
        assert found.label == "an add-on that is listed before has joined them"
        assert found.fixes == ("let one add-on share each part",)

    def test_behind_an_adapter(self):
        found = refused("adapter(3)", "share(all)")

        assert found.message == "'share' comes after 'adapter'"
        assert found.label == "adapters that stand in one layer would be lost or doubled where layers are joined"


class TestDescription:
    def test_a_stack_whose_layers_stay_apart_is_told(self):
        m = built("share(groups=2)", **BOTH, **SIDES)

        assert [line for listed in m.addons for line in listed.addon.describe(m)] == [
            "share: the 2 layers of decoder stay apart, each is a group by itself"
        ]
        assert built("share(all)").addons[0].addon.describe(built()) == []
