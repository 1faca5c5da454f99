"""What changed between two specs is said in meaning, whatever was written."""

from __future__ import annotations

from textwrap import dedent

import pytest

from xcompose import registry
from xcompose.compare.abilities import Difference, Measured, measured
from xcompose.compare.diff import changes
from xcompose.spec import load_text
from xcompose.spec.model import Spec

NEAR = "attention(pattern=window(8))"


def spec(text: str = "", **model: object) -> Spec:
    base = {"type": "decoder", "dim": 32, "heads": 2, "layers": 3}
    data = {"xcompose": 1, "model": {**base, **model}}
    lines = dedent(text)
    if lines:
        import yaml

        data |= yaml.safe_load(lines)
    return load_text(data, "mine", catalogue=registry.load().catalogue)


def split(rest: str) -> dict[str, object]:
    """A mixer of two sets of rows."""
    return {"type": "rows", "of": [{"rows": "first(2)", "use": "attention"}, {"use": rest}]}


def said(old: Spec, new: Spec) -> list[tuple[str, ...]]:
    return [tuple(change) for change in changes(old, new, registry.load())]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param({}, {"mixer": "attention(score=softmax)"}, [], id="a default written out"),
        pytest.param({"layers": f"3*{NEAR}"}, {"layers": 3, "mixer": NEAR}, [], id="another spelling"),
        pytest.param({}, {"dim": 64}, [("model", "dim", "32", "64")], id="what follows from a width"),
        pytest.param(
            {},
            {"layers": "2*attention, attention(score=linear)"},
            [("layer 2", "mixer.score", "softmax", "linear")],
            id="one layer",
        ),
        pytest.param(
            {"layers": f"{NEAR}, attention, {NEAR}"},
            {"layers": "attention(pattern=window(4)), attention, attention(pattern=window(4))"},
            [("layers 0, 2", "mixer.pattern.size", "8", "4")],
            id="the same in several layers",
        ),
        pytest.param(
            {"layers": f"{NEAR}, attention"},
            {"layers": f"{NEAR}, {NEAR}, {NEAR}, attention"},
            [("layers 0 to 1", "", "", "attention(pattern=window(8)), mlp(128)")],
            id="new layers",
        ),
        pytest.param(
            {"layers": f"{NEAR}, attention"},
            {"layers": NEAR},
            [("old layer 1", "", "attention, mlp(128)", "")],
            id="a layer that went",
        ),
        pytest.param(
            {"layers": "attention(pattern=window(4)), attention, attention(score=linear)"},
            {"layers": f"attention, attention(score=linear), {NEAR}"},
            [
                ("layer 2", "mixer.pattern.size", "4", "8"),
                ("layer 2", "moved", "layer 0", "layer 2"),
            ],
            id="a layer that moved and changed",
        ),
        pytest.param(
            {"layers": f"2*{NEAR}, 3*attention"},
            {"layers": f"3*attention, 2*{NEAR}"},
            [("layers 3 to 4", "moved", "layers 0 to 1", "layers 3 to 4")],
            id="layers that moved",
        ),
        pytest.param(
            {"layers": f"attention(score=linear), {NEAR}"},
            {"layers": "attention(pattern=window(4))"},
            [
                ("layer 0", "mixer.pattern.size", "8", "4"),
                ("old layer 0", "", "attention(score=linear), mlp(128)", ""),
            ],
            id="the nearest of two stays",
        ),
        pytest.param(
            {"mixer": "attention(pattern=window(8) | global(2))"},
            {"mixer": "attention(pattern=window(8))"},
            [("every layer", "mixer.pattern", "window(8) | global(2)", "window(8)")],
            id="sets of patterns",
        ),
        pytest.param(
            {"mixer": NEAR},
            {"mixer": "attention"},
            [("every layer", "mixer.pattern", "window(8)", "")],
            id="no pattern",
        ),
        pytest.param(
            {"mixer": f"heads({NEAR}, attention)"},
            {"mixer": f"heads(3*{NEAR}, attention)", "heads": 4},
            [
                ("every layer", "mixer.of", f"{NEAR}, attention", f"3*{NEAR}, attention"),
                ("every layer", "heads", "2", "4"),
            ],
            id="shares of heads",
        ),
        pytest.param(
            {"mixer": "heads(attention, attention(score=linear))"},
            {"mixer": f"heads({NEAR}, attention(score=linear))"},
            [("every layer", "mixer.of", "attention, attention(score=linear)", f"{NEAR}, attention(score=linear)")],
            id="a group of heads",
        ),
        pytest.param(
            {"mixer": split("attention(pattern=window(4))"), "type": "encoder"},
            {"mixer": split(NEAR), "type": "encoder"},
            [("every layer", "mixer.of.1.use.pattern.size", "4", "8")],
            id="inside of records",
        ),
        pytest.param({}, {"type": "encoder"}, [("model", "type", "decoder", "encoder")], id="another type"),
    ],
)
def test_a_change_of_the_model(old, new, expected):
    found = said(spec(**old), spec(**new))

    assert [change for change in found if change[1] not in ("causal", "output")] == expected


def test_changes_of_the_other_sections():
    old = spec("train: {budget: 10 steps, lr: 1e-3}\ntask: lm(data=stdlib)\nexpect: {causal: strict}")
    new = spec("train: {budget: 20 steps}\ntask: copy\naddons: [share]\nexpect: {state: [O(n), ..4MiB at 1Ki]}")

    assert said(old, new) == [
        ("add-ons", "", "", "share"),
        ("task", "", "lm(stdlib)", "copy"),
        ("train", "budget", "10 steps", "20 steps"),
        ("train", "lr", "0.001", "0.0003"),
        ("expect", "causal", "strict", ""),
        ("expect", "state", "", "O(n), ..4MiB at 1Ki"),
    ]


def test_stacks_are_told_apart():
    sizes = {"type": "encoder-decoder", "vocab": 64, "dim": 32, "heads": 2, "encoder": {"layers": 2}}
    catalogue = registry.load().catalogue
    old, new = (
        load_text({"xcompose": 1, "model": {**sizes, "decoder": {"layers": layers}}}, "mine", catalogue=catalogue)
        for layers in ("2*attention", f"attention, {NEAR}")
    )

    assert said(old, new) == [("decoder layer 1", "mixer.pattern", "", "window(8)")]


def test_costs_and_abilities_that_changed():
    old, new = spec(mixer="attention"), spec(mixer=NEAR)

    found = measured(old, new, [1024], registry.load()).differences

    assert {d.name: (d.old, d.new) for d in found} == {
        "work grows as": ("O(n^2)", "O(n)"),
        "state grows as": ("O(n)", "O(1)"),
        "work at 1Ki": ("294 MFLOP", "121 MFLOP"),
        "state at 1Ki": ("792 KiB", "6.2 KiB"),
        "reach at 1Ki": ("1,024 of 1,024 positions", "25 of 1,024 positions"),
    }
    assert str(next(d for d in found if d.name == "state at 1Ki")) == "792 KiB → 6.2 KiB   0.00781×"


def test_a_model_that_cannot_do_what_the_other_does():
    new = spec(type="encoder", length=64, position="learned")

    found = measured(spec(), new, [100], registry.load()).differences

    shown = {d.name: (d.old, d.new) for d in found}
    assert shown["causal"] == ("strict", "none")
    assert shown["generates"] == ("step by step, with a state", "no")
    assert shown["lengths"] == ("any", "any, up to 64")
    assert shown["work at 100"][1] == "–"


def test_a_model_that_does_not_compose_is_a_fact_beside_its_findings():
    bad = spec(mixer="attention(pattern=window(8) | global(2), score=linear)")

    found = measured(spec(), bad, [128], registry.load())

    assert found.old == ()
    assert found.differences == (Difference("composes", "yes", f"no: {found.new[0].message}", None),)
    assert measured(bad, bad, [128], registry.load()).differences == ()


@pytest.mark.parametrize(
    ("ratio", "shown"), [(1.0004, "a → b"), (0.9996, "a → b"), (1.01, "a → b   1.01×"), (None, "a → b")]
)
def test_a_ratio_that_says_nothing_is_not_shown(ratio, shown):
    assert str(Difference("work", "a", "b", ratio)) == shown


def test_equal_specs_differ_in_nothing():
    assert said(spec(), spec()) == []
    assert measured(spec(), spec(), [128], registry.load()) == Measured(())
