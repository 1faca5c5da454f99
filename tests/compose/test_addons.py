"""Which add-ons may follow which, and the forms a model takes on its way through training."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

import xcompose as xc
from tests.compose.fakes import model, node, registry, spec
from xcompose.api import Addon, Component, Context, PartError, extra, option, options
from xcompose.compose.addons import LATE, ONCE, RUNGS, Listed, out_of_order
from xcompose.compose.build import build_model, finish_model, plan_model
from xcompose.compose.weights import save_weights
from xcompose.diagnostics import SpecError
from xcompose.registry import Registry
from xcompose.spec.model import Node, Spec


def listed(name: str, rung: str, *, freezes: bool = False, trains: bool = False) -> Listed:
    class Some(Addon):
        def apply(self, model: nn.Module) -> None: ...

    some = Some()
    some.rung, some.freezes, some.trains = rung, freezes, trains  # type: ignore[misc]
    return Listed(name, some, None)


class TestOrder:
    def test_a_list_goes_up_the_ladder(self):
        before: list[Listed] = []
        for rung in RUNGS:
            assert out_of_order(before, listed(rung, rung)) is None
            before.append(listed(rung, rung))

    def test_every_way_down_is_refused_with_a_reason(self):
        order = list(RUNGS)
        for low, high in itertools.combinations(order, 2):
            found = out_of_order([listed("one", high)], listed("two", low))

            assert isinstance(found, PartError)
            assert found.code == "XC034"
            assert found.message == "'two' comes after 'one'"
            assert found.label == LATE[high, low]
            assert found.fixes == ("list 'two' before 'one'",)

    @pytest.mark.parametrize("rung", RUNGS)
    def test_some_rungs_have_room_for_one(self, rung):
        found = out_of_order([listed("one", rung)], listed("two", rung))

        if rung not in ONCE:
            assert found is None
            return
        assert found is not None
        assert found.message == f"'two' comes after 'one', and both say {RUNGS[rung]}"
        assert found.fixes == ("keep one of 'one' and 'two'",)

    def test_what_trains_the_base_has_no_use_where_it_is_frozen(self):
        found = out_of_order([listed("one", "storage", trains=True)], listed("two", "adapters", freezes=True))

        assert found is not None
        assert found.message == "'two' comes after 'one'"
        assert found.label == "'one' is there to train the base, and 'two' freezes it"
        assert found.fixes == ("keep one of 'one' and 'two'",)

    def test_two_of_one_name_are_told_by_their_places(self):
        found = out_of_order([listed("share", "weights"), listed("one", "storage")], listed("one", "storage"))

        assert found is not None
        assert found.message == f"'one' (addons.2) comes after 'one' (addons.1), and both say {RUNGS['storage']}"
        assert found.fixes == ("keep one of 'one' (addons.1) and 'one' (addons.2)",)

    def test_a_refusal_is_located(self):
        wrong = (node("addon", "adapter", 11, "addons.0", bottleneck=3), node("addon", "share", 12, "addons.1"))
        with pytest.raises(SpecError) as caught:
            plan_model(spec(model(), *wrong), registry=registry())
        (found,) = caught.value.diagnostics

        assert found.code == "XC034"
        assert found.message == "'share' comes after 'adapter'"
        assert found.path == "addons.1"
        assert found.span is not None
        assert found.span.line == 12


@options
class DoublingOptions:
    rung: str = option("storage", main=True)


class Doubling(Addon):
    """Trains the weights as they are; stored, they are twice as large."""

    def __init__(self, options: DoublingOptions, context: Context):
        self.rung = options.rung  # type: ignore[misc]

    def apply(self, model: nn.Module) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)

    def begin(self, model: nn.Module) -> None: ...

    def finish(self, model: nn.Module) -> None:
        self.apply(model)


class Frozen(Addon):
    freezes = True

    def __init__(self, options: DoublingOptions, context: Context): ...

    def apply(self, model: nn.Module) -> None:
        model.requires_grad_(False)


def with_doubling() -> Registry:
    made = [
        Component(kind="addon", name="doubling", options=DoublingOptions, build=Doubling),
        Component(kind="addon", name="frozen", options=DoublingOptions, build=Frozen),
    ]
    return Registry({**registry().by_name, **Registry.of(made).by_name})


def changed(*names: str) -> Spec:
    return spec(
        model(), *(Node("addon", name, {"rung": "storage"}, path=f"addons.{i}") for i, name in enumerate(names))
    )


def first(made: nn.Module) -> torch.Tensor:
    return next(made.parameters()).detach().clone()


class TestForms:
    def test_what_the_spec_says_and_what_is_trained(self):
        whole, known = changed("doubling"), with_doubling()
        plain = first(build_model(spec(model()), registry=known))
        said, trained = build_model(whole, registry=known), build_model(whole, registry=known, training=True)

        assert torch.equal(first(said), 2 * plain)
        assert torch.equal(first(trained), plain)
        finish_model(trained)
        assert torch.equal(first(trained), 2 * plain)
        finish_model(trained)
        assert torch.equal(first(trained), 2 * plain), "a model is finished once"

    def test_a_frozen_base_is_stored_before_training(self):
        known = with_doubling()
        plain = first(build_model(spec(model()), registry=known))
        trained = build_model(changed("doubling", "frozen"), registry=known, training=True)

        assert torch.equal(first(trained), 2 * plain)
        finish_model(trained)
        assert torch.equal(first(trained), 2 * plain)

    def test_weights_of_a_base_come_before_what_changes_them(self, tmp_path: Path):
        known = with_doubling()
        base = build_model(spec(model()), registry=known, seed=5)
        save_weights(base, tmp_path / "base.safetensors")
        made = build_model(changed("doubling"), registry=known, seed=6, base=tmp_path / "base.safetensors")

        assert torch.equal(first(made), 2 * first(base))

    def test_a_base_that_does_not_fit_is_refused(self, tmp_path: Path):
        known = with_doubling()
        save_weights(build_model(spec(model(layers=1)), registry=known), tmp_path / "base.safetensors")
        with pytest.raises(SpecError) as caught:
            build_model(changed("doubling"), registry=known, base=tmp_path / "base.safetensors")
        (found,) = caught.value.diagnostics

        assert found.code == "XC042"
        assert found.message == f"the weights in {tmp_path / 'base.safetensors'} are not those of this model"


def test_an_extra_that_is_missing_is_named():
    with pytest.raises(PartError) as caught:
        extra("nowhere_to_be_found.inside", "quantize")

    assert caught.value.code == "XC095"
    assert caught.value.message == "this needs nowhere_to_be_found"
    assert caught.value.fixes == ("pip install 'xcompose[quantize]'",)


def test_an_addon_of_the_model_is_refused_in_training(tmp_path: Path):
    from xcompose.train.prepare import prepare

    text = {
        "xcompose": 1, "model": {"type": "decoder", "dim": 24, "heads": 2, "layers": 2}, "task": "lm(data=stdlib)",
        "train": {"budget": "1 steps", "length": 16, "addons": ["share(all)"]},
    }  # fmt: skip
    with pytest.raises(SpecError) as caught:
        prepare(xc.read(text), None)
    (found,) = caught.value.diagnostics

    assert found.message == "'share' changes the model, not its training"
    assert found.fixes == ("move it to addons",)
    assert found.path == "train.addons.0"
