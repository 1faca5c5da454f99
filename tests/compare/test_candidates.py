from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from xcompose import registry
from xcompose.compare.candidates import Candidate, Recipe, candidates, recipe_of
from xcompose.compose.spelling import Speller
from xcompose.diagnostics import SpecError
from xcompose.spec import load
from xcompose.spec.model import Node

SMALL = """\
xcompose: 1
let: {w: 3}
model:
  type: decoder
  dim: 32
  heads: 2
  layers: 1*attention(pattern=window(${w}))
"""
RECIPE = "xcompose: 1\ntask: lm\ntrain: {budget: 30s, batch: 2, length: 2Ki, lr: 1e-3, seed: 5}\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("a.xc.yaml").write_text(SMALL + "task: mlm\ntrain: {lr: 0.5}\n")
    Path("b.xc.yaml").write_text(SMALL)
    Path("recipe.xc.yaml").write_text(RECIPE)


def these(*references: str, **options) -> tuple[Candidate, ...]:
    return candidates(references, (), registry.load().catalogue, **options)


def recipe() -> Recipe:
    known = registry.load().catalogue
    return recipe_of(load("recipe.xc.yaml", catalogue=known), these("a.xc.yaml", "b.xc.yaml"), known)


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(SpecError) as error:
        call(*arguments, **options)
    return str(error.value)


def test_each_spec_is_a_candidate():
    assert [c.label for c in these("a.xc.yaml", "b.xc.yaml")] == ["a", "b"]


def test_a_spec_may_be_named_twice():
    assert [c.label for c in these("a.xc.yaml", "a.xc.yaml")] == ["a #1", "a #2"]


def test_values_of_a_path_make_candidates():
    found = these("a.xc.yaml", vary=("let.w", ["2", "5"]))

    assert [c.label for c in found] == ["let.w=2", "let.w=5"]
    assert [c.spec.model.options["layers"][0].options["mixer"].options["pattern"].options["size"] for c in found] == [
        2,
        5,
    ]
    assert [c.label for c in these("a.xc.yaml", "b.xc.yaml", vary=("dim", ["32"]))] == ["a dim=32", "b dim=32"]


def test_a_candidate_can_be_loaded_with_further_changes():
    again = these("a.xc.yaml", vary=("let.w", ["2", "5"]))[1].again

    assert again(("dim=48",)).model.options["dim"] == 48
    assert again(("dim=48",)).let["w"] == "5"


def test_each_add_on_is_left_out_once():
    Path("c.xc.yaml").write_text(
        SMALL.replace("layers: 1*", "layers: 2*") + "addons: [share(mixer), adapter(3)]\ntrain: {lr: 0.5}\n"
    )
    spelled = Speller(registry.load()).spelled
    found = these("c.xc.yaml", spelled=spelled)

    assert [c.label for c in found] == [
        "c without add-ons", "c with share(mixer) alone", "c"
    ]  # fmt: skip
    assert [[a.name for a in c.spec.addons] for c in found] == [
        [], ["share"], ["share", "adapter"]
    ]  # fmt: skip


def test_add_ons_of_training_stay_with_their_spec():
    late = Node("addon", "late", {})
    (spec, _) = (c.spec for c in these("a.xc.yaml", "b.xc.yaml"))
    own = attrs.evolve(spec, train={**spec.train, "addons": (late,)})
    applied = recipe().applied_to(own, seed=1)

    assert applied.train["addons"] == (late,)
    assert applied.train["lr"] == 1e-3


def test_without_add_ons_there_is_nothing_to_leave_out():
    assert refusal(these, "a.xc.yaml", spelled=str) == (
        "error[XC090]: 'a' has no add-on to compare with and without\n  = fix: leave --addons out"
    )


def test_one_spec_is_no_comparison():
    assert refusal(these, "a.xc.yaml") == (
        "error[XC090]: a comparison takes at least two specs\n"
        "  = fix: name another spec, or --vary PATH VALUE VALUE ..."
    )


def test_a_recipe_is_no_candidate():
    assert refusal(these, "a.xc.yaml", "recipe.xc.yaml") == (
        "error[XC030]: 'recipe' has no model to compare\n  = fix: give it as --recipe"
    )


def test_the_recipe_wins_over_what_a_spec_says():
    spec = recipe().applied_to(these("a.xc.yaml", "b.xc.yaml")[0].spec, seed=7)

    assert (spec.task.name, spec.train["lr"], spec.train["seed"]) == ("lm", 1e-3, 7)


def test_the_recipe_is_said_in_one_line():
    assert recipe().describe() == "30s a run, 2 × 2Ki tokens a step, task lm on stdlib, adamw 0.001"


def test_without_a_recipe_a_shared_task_is_trained_by_default():
    known = registry.load().catalogue
    found = recipe_of(None, these("a.xc.yaml", "a.xc.yaml"), known)

    assert (found.name, found.task.name, found.train["lr"], found.train["length"]) == ("defaults", "mlm", 3e-4, 1024)


def test_without_a_recipe_and_a_shared_task_nothing_is_compared():
    known = registry.load().catalogue

    assert refusal(recipe_of, None, these("a.xc.yaml", "b.xc.yaml"), known) == (
        "error[XC090]: these specs do not share a task\n  = fix: --recipe FILE, a spec with `task` and `train`"
    )


def test_a_recipe_without_a_task_is_refused():
    known = registry.load().catalogue
    spec = load("b.xc.yaml", catalogue=known)

    assert refusal(recipe_of, spec, these("a.xc.yaml", "b.xc.yaml"), known) == (
        "error[XC090]: the recipe 'b' names no task\n  = fix: add one: task: lm(data=stdlib)"
    )
