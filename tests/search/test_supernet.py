"""A super-network: which combination a step trains, and that training it is what its sentences say."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.search.spaces import REGISTRY, SIZES, TINY, cells, space, supermodel
from xcompose.compose.build import build_model
from xcompose.compose.tasks import Task
from xcompose.diagnostics import PartError, SpecError
from xcompose.search.slices import Skeleton, places
from xcompose.search.supernet import Sampled, SuperModel, said, survey
from xcompose.spec import load

BATCH = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]])


class Next(Task):
    """Predict the next token."""

    def splits(self, data, length, seed):
        raise AssertionError("no data here")

    def loss(self, model, batch):
        out = model(batch["tokens"][:, :-1])
        loss = cross_entropy(out.logits.flatten(0, 1), batch["tokens"][:, 1:].flatten())
        return sum(out.losses.values(), loss), {"nats": loss.detach()}


def step(model: SuperModel, optimizer: torch.optim.Optimizer) -> float:
    """What the trainer does, without Lightning."""
    optimizer.zero_grad()
    loss, _ = Sampled(Next()).loss(model, {"tokens": BATCH})
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        model.after_step()
    return float(loss.detach())


def test_two_steps_are_those_written_by_hand():
    model = supermodel(draws=3).train()
    weights = {name: p.detach().clone() for name, p in cells(model).items()}
    drawn = [model._draw(number) for number in (0, 1)]
    assert drawn[0] != drawn[1]

    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    losses = [step(model, optimizer) for _ in drawn]

    speed = {name: torch.zeros_like(p) for name, p in weights.items()}
    for chosen, loss in zip(drawn, losses, strict=True):
        plain = build_model(model.space.resolve(chosen), registry=REGISTRY).double()
        with torch.no_grad():
            for name, p in plain.named_parameters():
                p.copy_(weights[name][tuple(slice(n) for n in p.shape)])
        expected, _ = Next().loss(plain, {"tokens": BATCH})
        expected.backward()
        assert loss == pytest.approx(float(expected.detach()), abs=1e-12)
        for name, p in plain.named_parameters():
            grad = torch.zeros_like(weights[name])
            grad[tuple(slice(n) for n in p.shape)] = p.grad
            speed[name] = 0.9 * speed[name] + grad
            weights[name] = weights[name] - 0.5 * speed[name]
    for name, p in cells(model).items():
        assert torch.allclose(p, weights[name], rtol=0, atol=1e-11), name


class TestDrawing:
    def test_a_step_draws_by_its_number_alone(self):
        few = {"let.c": ("8", "12"), "let.f": ("7", "20")}
        one, other, third = supermodel(few, draws=5), supermodel(few, draws=5), supermodel(few, draws=6)
        other.drawn += 3

        assert [one._draw(n) for n in range(20)] == [other._draw(n) for n in range(20)]
        assert other.combination() == one._draw(3)
        assert [one._draw(n) for n in range(20)] != [third._draw(n) for n in range(20)]

    def test_the_global_generator_is_left_alone(self):
        model = supermodel()
        before = torch.get_rng_state(), random.getstate()
        model._draw(0)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]

    def test_every_combination_has_the_same_chance(self):
        made = space(SIZES)
        draw = random.Random(0)
        counts = Counter(said(made.drawn(draw)) for _ in range(16_000))

        assert len(counts) == made.size == 16
        assert all(850 < count < 1150 for count in counts.values())

    def test_illegal_combinations_are_drawn_again(self):
        model = supermodel({"let.c": ("8", "12"), "let.h": ("2", "0")})
        assert {model._draw(n)["let.h"] for n in range(10)} == {"2"}

    def test_nothing_legal_among_many(self, monkeypatch):
        model = supermodel({"let.c": ("8",)})
        monkeypatch.setattr("xcompose.search.supernet.TRIES", 3)

        def refuse(chosen):
            raise PartError("no")

        monkeypatch.setattr(model, "skeleton", refuse)
        with pytest.raises(PartError) as caught:
            model.combination()
        assert caught.value.message == "of 3 combinations drawn at random the checks refuse every one"
        assert caught.value.fixes == ("choices that go together more often",)


class TestSurvey:
    def test_a_small_space_is_looked_at_wholly(self):
        found = survey(space({"let.c": ("8", "12"), "let.h": ("0", "2", "3")}))

        assert (found.seen, found.illegal) == (6, 2)
        assert found.largest == {"let.c": "12", "let.h": "3"}
        assert found.smallest == {"let.c": "8", "let.h": "2"}

    def test_a_large_one_around_its_ends(self, monkeypatch):
        monkeypatch.setattr("xcompose.search.supernet.PROBED", 24)
        choices = {**SIZES, "let.f": ("5", "9", "7"), "model.norm": ("rms", "layer")}
        found = survey(space(choices))

        assert space(choices).size == 48 > found.seen
        assert found.largest == {"let.c": "12", "let.h": "3", "let.f": "9", "let.l": "2", "model.norm": "layer"}
        assert found.smallest == {"let.c": "8", "let.h": "2", "let.f": "5", "let.l": "1", "model.norm": "rms"}

    def test_a_climb_begins_where_the_first_values_are_illegal(self, monkeypatch):
        monkeypatch.setattr("xcompose.search.supernet.PROBED", 1)
        assert survey(space({"let.h": ("0", "2"), "let.f": ("5", "9")})).largest == {"let.h": "2", "let.f": "9"}

    def test_none_is_legal(self):
        with pytest.raises(SpecError) as caught:
            survey(space({"let.h": ("0",)}))
        assert caught.value.diagnostics[0].code == "XC015"

    def test_models_that_do_not_lie_in_one_another_start_as_each_does(self):
        made = space({"let.c": ("8", "12")}, TINY.replace("width=${f}", "width=${28 - c}"))
        found = survey(made)
        model = SuperModel(made, found, seed=1, draws=0)
        name = "stack.layers.0.ffn.up.weight"

        assert len(found.painters) == 2
        assert cells(model)[name].shape == (20, 12)
        last = build_model(made.resolve(found.painters[0]), seed=1, registry=REGISTRY)
        first = build_model(made.resolve(found.painters[1]), seed=1, registry=REGISTRY)
        large, small = (dict(m.named_parameters())[name] for m in (last, first))
        assert torch.equal(cells(model)[name][: large.shape[0], : large.shape[1]], large)
        rest = cells(model)[name].clone()
        rest[: large.shape[0], : large.shape[1]] = 0
        expected = torch.zeros(20, 12)
        expected[: small.shape[0], : small.shape[1]] = small.detach()
        expected[: large.shape[0], : large.shape[1]] = 0
        assert torch.equal(rest, expected)


def test_what_nobody_looked_at_and_is_too_large_is_refused():
    made = space({"let.c": ("8", "12")})
    found = survey(made)
    model = SuperModel(space({"let.c": ("8", "12", "16")}), found, seed=0, draws=0)

    for _ in range(2):  # remembered, and still said
        with pytest.raises(PartError) as caught:
            model.skeleton({"let.c": "16"})
        assert caught.value.message == "the super-network has no room for c=16"
    assert found.seen == 2


class TestSteps:
    def test_parts_that_count_learn_in_the_weights(self):
        """Centroids and features are buffers: they live in the super-network, and their modules move them there."""
        text = TINY.replace(
            "  position: none\n", "  position: none\n  mixer: attention(pattern=routing(3, window=4))\n"
        )
        model = supermodel({"let.h": ("2", "3")}, text)
        name = "weights.stack.layers.0.mixer.inner.patterns.0.counts"
        assert name in dict(model.named_buffers()), sorted(dict(model.named_buffers()))
        before = dict(model.named_buffers())[name].clone()
        chosen = model.train().combination()
        step(model, torch.optim.SGD(model.parameters(), lr=0.1))
        moved = dict(model.named_buffers())[name] != before

        heads = int(chosen["let.h"])
        assert moved[:heads].any()
        assert not moved[heads:].any()

    def test_a_clamp_acts_on_the_weights(self):
        text = TINY.replace(
            "  position: none\n",
            "  position: none\n  mixer: attention(pattern=adaptive-span(8, ramp=2), silence=zero)\n",
        )
        model = supermodel({"let.c": ("8", "12")}, text).train()
        spans = [p for name, p in model.named_parameters() if name.endswith(".v")]
        with torch.no_grad():
            spans[0].copy_(torch.tensor([-3.0, 0.5, 7.0]))
        step(model, torch.optim.SGD(model.parameters(), lr=0.0))

        assert spans[0].tolist() == [0.0, 0.5, 1.0]

    def test_layers_that_are_computed_again_find_their_weights(self):
        few = {"let.c": ("8", "12"), "let.l": ("1", "2")}
        plain, again = supermodel(few).train(), supermodel(few).train()
        for number in range(3):
            for stack in again.skeleton(again._draw(number)).model.stacks().values():
                stack.recompute = True
        one, other = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (plain, again))

        assert [step(plain, one) for _ in range(3)] == [step(again, other) for _ in range(3)]
        for (name, p), (_, q) in zip(plain.named_parameters(), again.named_parameters(), strict=True):
            assert torch.allclose(p, q, rtol=0, atol=1e-13), name

    def test_it_is_measured_by_its_largest_and_its_smallest(self):
        model = supermodel().eval()
        with torch.no_grad():
            loss, metrics = Sampled(Next()).loss(model, {"tokens": BATCH})
            with model.using(model.found.largest) as one:
                expected, _ = Next().loss(one, {"tokens": BATCH})
            with model.using(model.found.smallest) as one:
                least, _ = Next().loss(one, {"tokens": BATCH})

        assert float(loss) == float(expected) != float(least)
        assert {name: float(value) for name, value in metrics.items()} == {
            "nats": float(expected), "smallest_loss": float(least), "smallest_nats": float(least),
        }  # fmt: skip
        assert int(model.drawn) == 0

    def test_dropout_is_on_in_a_step_and_off_when_measured(self):
        model = supermodel({"let.c": ("8",)}, TINY.replace("  position: none\n", "  position: none\n  dropout: 0.5\n"))
        with model.train().stepping() as one:
            assert all(m.training for m in one.modules())
        with model.eval().using({"let.c": "8"}) as one:
            assert not any(m.training for m in one.modules())

    def test_skeletons_are_kept_up_to_a_number(self, monkeypatch):
        monkeypatch.setattr("xcompose.search.supernet.KEPT", 2)
        model = supermodel({"let.f": ("5", "6", "7")})
        first = model.skeleton({"let.f": "5"})
        model.skeleton({"let.f": "6"})
        assert model.skeleton({"let.f": "5"}) is first
        model.skeleton({"let.f": "7"})
        assert model.skeleton({"let.f": "5"}) is first
        assert len(model._skeletons) == 2


SPECS = (
    "survey/adaptive-span-enwik8", "survey/compressive-enwik8", "survey/performer-decoder", "survey/reformer-wmt14",
    "survey/routing-enwik8", "survey/sinkhorn-lm1b", "survey/synthesizer-translation", "survey/transformer-xl-base",
    "beyond/reversible-linear", "addons/shared-with-adapter",
)  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_a_model_with_lent_weights_is_that_with_its_own(name):
    """Whatever keeps a weight somewhere else than in its module would read a meta tensor here."""
    spec = load(f"specs/{name}.xc.yaml@tiny", catalogue=REGISTRY.catalogue)
    own, lent = (build_model(spec, registry=REGISTRY).double() for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    n = min(own.options.length or 64, 128)
    source = {"source": own.inputs.example(2, 16, generator)} if own.reads_source else {}
    tokens = own.example(2, n, generator)
    weights = {}
    for key, (place, *_) in places(own).items():
        weights[key] = place.tensor.detach().clone().requires_grad_(place.tensor.requires_grad)

    def grown(model: nn.Module) -> torch.Tensor:
        torch.manual_seed(1)
        out = model(tokens, **source)
        heard = torch.randn(out.logits.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        loss = (out.logits * heard).sum() + sum(out.losses.values())
        loss.backward()
        return loss

    skeleton = Skeleton(lent)
    skeleton.take(weights)

    assert torch.equal(grown(own), grown(skeleton.model))
    for key, (place, *_) in places(own).items():
        expected, found = place.tensor.grad, weights[key].grad
        assert (expected is None) == (found is None), key
        assert expected is None or torch.allclose(expected, found, rtol=1e-12, atol=1e-10), key


def test_a_model_that_works_in_bf16_learns_in_a_super_network():
    model = supermodel({"let.c": ("8", "12")}, TINY + "addons: [share(ffn), precision]\n").float().train()
    before = {name: p.detach().clone() for name, p in cells(model).items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = [step(model, optimizer) for _ in range(5)]

    assert losses[-1] < losses[0]
    assert not any(name.startswith("stack.layers.1.ffn") for name in before)
    assert all(not torch.equal(p, before[name]) for name, p in cells(model).items())
