"""What a frozen spec means is recorded in it, and whatever is different later is said."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import attrs
import pytest

from xcompose.api import Count, Part, Real, option, options
from xcompose.diagnostics import SpecError
from xcompose.diagnostics.render import text as rendered
from xcompose.schema import ComponentSchema, option_schemas, type_of
from xcompose.spec import Catalogue, check, check_text, load_text, settings
from xcompose.spec.drift import rebuilt
from xcompose.spec.freeze import freeze
from xcompose.spec.frozen import meaning, record, signature, signed, structure, unsigned

from .catalogue import CATALOGUE, Decoder
from .test_renames import renamed

TEXT = """\
xcompose: 1
let: {w: 8}
model:
  type: decoder
  dim: 256
  layers: 3*attention(pattern=window(${w})), 2
addons: [share(ffn)]
task: lm
train: {budget: 5 steps, batch: 2}
"""
VERSION = importlib.metadata.version("xcompose")


def frozen(catalogue: Catalogue = CATALOGUE, text: str = TEXT) -> str:
    return signed(load_text(text, "s", catalogue=catalogue), catalogue)


def said(text: str, catalogue: Catalogue, *sets: str) -> str:
    """What is found about a text."""
    return rendered(check_text(text, "s", sets, catalogue)[1])


def changed(kind: str, called: str, /, **facts: object) -> Catalogue:
    """The catalogue with one component changed."""
    return Catalogue(attrs.evolve(s, **facts) if (s.kind, s.name) == (kind, called) else s for s in CATALOGUE)


def with_option(kind: str, name: str, cls: type) -> Catalogue:
    """The catalogue with one component that has more options."""
    schema = CATALOGUE.get(kind, name)
    assert schema is not None
    kept = tuple(o for o in schema.options if o.name not in {new.name for new in option_schemas(cls)})
    return changed(kind, name, options=(*kept, *option_schemas(cls)))


@options
class Slope:
    """A new option."""

    slope: Real = option(0.5)
    """How steep."""


@options
class SlopeAndBias:
    """Two new options."""

    slope: Real = option(0.5)
    """How steep."""
    steps: Count = option(3)
    """How many."""


@options
class Later:
    """A new option that is not set."""

    extra: Part.norm | None = option(None)
    """Another norm."""


def test_the_record_says_what_was_there():
    spec = load_text(TEXT, "s", catalogue=CATALOGUE)
    found = record(spec, CATALOGUE)

    assert list(found) == ["language", "plugins", "meaning", "components"]
    assert found["language"] == 1
    assert found["plugins"] == {"xcompose": VERSION}
    assert found["meaning"] == meaning(spec, CATALOGUE)
    assert set(found["components"]) == {
        "addon", "embedding", "ffn", "init", "mixer", "model", "norm", "optimizer", "output", "pattern", "position",
        "recurrence", "residual", "schedule", "score", "task",
    }  # fmt: skip
    window = CATALOGUE.get("pattern", "window")
    assert window is not None
    assert found["components"]["pattern"] == {"window": f"xcompose {signature(window)}"}


def test_a_record_stands_at_the_end_and_changes_nothing():
    spec = load_text(TEXT, "s", catalogue=CATALOGUE)
    text = signed(spec, CATALOGUE)
    again = load_text(text, "s", catalogue=CATALOGUE)

    assert unsigned(text) == freeze(spec)
    assert unsigned(freeze(spec)) == freeze(spec)
    assert again.model == spec.model
    assert again.frozen is not None
    assert signed(again, CATALOGUE) == text
    assert said(text, CATALOGUE) == ""


def test_a_default_that_changed_is_nothing():
    schema = CATALOGUE.get("pattern", "window")
    assert schema is not None
    others = tuple(attrs.evolve(o, default=5, note="New.") if o.name == "dilation" else o for o in schema.options)

    assert said(frozen(), changed("pattern", "window", options=others, summary="New.")) == ""


def test_an_option_that_came_and_is_not_set_is_nothing():
    assert said(frozen(), with_option("mixer", "attention", Later)) == ""


def test_new_names_are_nothing():
    window = CATALOGUE.get("pattern", "window")
    assert window is not None
    size, *others = window.options
    before = changed("pattern", "window", name="near-by", options=(attrs.evolve(size, name="extent"), *others))
    text = frozen(before, TEXT.replace("window(", "near-by("))
    now = changed("pattern", "window", options=renamed(window).options, renamed_from=("near-by",))
    found = check_text(text, "s", (), now)[1]

    assert "near-by(extent=8, dilation=1)" in text
    assert [d.message for d in found] == [
        "the pattern 'near-by' is called 'window' now", "'extent' of 'near-by' is called 'size' now",
    ]  # fmt: skip


def test_a_new_name_within_a_namespace_that_contains_it_is_nothing():
    then = attrs.evolve(MEAN, name="avg", namespace="mean", version=2)
    now = attrs.evolve(then, name="mean", renamed_from=("avg",))
    text = frozen(Catalogue([*CATALOGUE, then]), TEXT.replace("window(${w})", "none, memory=mean/avg@2"))
    found = check_text(text, "s", (), Catalogue([*CATALOGUE, now]))[1]

    assert "mean/avg@2" in text
    assert {d.code for d in found} == {"XC043"}
    assert signature(then) == signature(now)


def test_comments_notes_and_layout_are_nothing():
    text = frozen().replace("model:\n", "# here\nx-why: because\nabout: now\nmodel:   # and here\n", 1)

    assert said(text, CATALOGUE) == ""


def test_an_option_that_came_and_is_set():
    text = frozen(text=TEXT.replace("window(${w})", "window(8)"))

    assert (
        said(text, with_option("pattern", "window", SlopeAndBias))
        == """\
error[XC044]: 'slope' of the pattern 'window' is 0.5, and was not set when the spec was frozen
  --> s:25:18   model.layers.0.mixer.pattern.slope
   |
25 |         pattern: window(size=8, dilation=1)
   |                  ^^^^^^ a new option, or a new default
   = note: 'steps' is 3, and was not set either
   = fix: freeze it again from its source"""
    )


def test_a_default_where_there_was_none():
    schema = CATALOGUE.get("mixer", "attention")
    assert schema is not None
    others = tuple(attrs.evolve(o, default="window(3)") if o.name == "pattern" else o for o in schema.options)
    first = said(frozen(), changed("mixer", "attention", options=others)).splitlines()[0]

    assert first == (
        "error[XC044]: 'pattern' of the mixer 'attention' is window(size=3, dilation=1), and was not set when the spec "
        "was frozen"
    )


def test_an_edit_by_hand():
    text = frozen().replace("size=8", "size=9")
    line = text.splitlines().index(next(n for n in text.splitlines() if "meaning" in n)) + 1
    digest = text.splitlines()[line - 1].strip()

    assert (
        said(text, CATALOGUE)
        == f"""\
error[XC044]: the spec was edited since it was frozen
  --> s:{line}:3   frozen.meaning
   |
{line} |   {digest}
   |   ^^^^^^^ its model, addons, task or training are others than then
   = fix: take the edit back
   = fix: if it is meant, make it in the spec that this one was frozen from, and freeze that again"""
    )


@pytest.mark.parametrize("edit", [("batch: 2", "batch: 3"), ("share(what=ffn)", "share"), ("- 2\n", "- 3\n")])
def test_every_edit_of_what_counts_is_seen(edit):
    text = frozen()
    assert edit[0] in text

    spec, found = check_text(text.replace(*edit), "s", (), CATALOGUE)

    assert spec is None
    assert {d.code for d in found} == {"XC044"}


def test_options_that_are_read_otherwise():
    schema = CATALOGUE.get("pattern", "window")
    assert schema is not None
    others = tuple(attrs.evolve(o, at_least=1) for o in schema.options)
    lines = said(frozen().replace("size=8", "size=9"), changed("pattern", "window", options=others)).splitlines()

    assert lines[0] == "error[XC044]: the spec means something else than when it was frozen"
    assert lines[4].endswith(
        "^^^^^^^ edited since, or read otherwise: the options of the pattern 'window' are others now"
    )


MEAN = ComponentSchema("memory", "mean", namespace="acme", distribution="acme-mixers")
ACME = TEXT.replace("window(${w})", "none, memory=acme/mean")


def test_a_component_of_another_distribution(monkeypatch):
    monkeypatch.setattr("xcompose.spec.frozen.version_of", {"acme-mixers": "0.3.1", "xcompose": VERSION}.__getitem__)
    text = frozen(Catalogue([*CATALOGUE, MEAN]), ACME)
    monkeypatch.setattr(
        "xcompose.spec.drift.version_of", {"acme-others": "2.0", "acme-mixers": "", "xcompose": VERSION}.__getitem__
    )
    there = Catalogue([*CATALOGUE, attrs.evolve(MEAN, distribution="acme-others")])
    lines = said(text, there).splitlines()

    assert lines[0] == (
        "error[XC044]: the memory 'acme/mean' comes from acme-others 2.0, and came from acme-mixers 0.3.1 when the "
        "spec was frozen"
    )
    assert lines[-2:] == [
        "   = fix: pip install acme-mixers==0.3.1", "   = fix: freeze it again from its source",
    ]  # fmt: skip
    assert "acme/mean: acme-mixers" in lines[3]


def test_a_component_that_is_gone(monkeypatch):
    monkeypatch.setattr("xcompose.spec.frozen.version_of", {"acme-mixers": "0.3.1", "xcompose": VERSION}.__getitem__)
    text = frozen(Catalogue([*CATALOGUE, MEAN]), ACME)
    _, found = check_text(text, "s", (), CATALOGUE)

    assert [d.code for d in found] == ["XC013", "XC044"]
    assert found[1].message == "the memory 'acme/mean' came from acme-mixers 0.3.1 when the spec was frozen"
    assert (found[1].label, found[1].fixes) == ("acme-mixers is not installed", ("pip install acme-mixers==0.3.1",))


def test_variants_and_overrides_may_change_it_but_the_file_itself_may_not():
    fine = check_text(frozen(), "s", ("model.dim=512",), CATALOGUE)
    _, found = check_text(frozen().replace("size=8", "size=9"), "s", ("model.dim=512",), CATALOGUE)

    assert fine[1] == []
    assert fine[0] is not None
    assert fine[0].frozen is None
    assert [d.message for d in found] == ["the spec was edited since it was frozen"]


def test_an_edited_spec_is_refused_and_a_kept_one_warns():
    text = frozen().replace("size=8", "size=9")

    with pytest.raises(SpecError, match="edited since"):
        load_text(text, "s", catalogue=CATALOGUE)
    with pytest.warns(UserWarning, match=r"^s: the spec was edited since it was frozen; take the edit back"):
        spec = load_text(text, "s", catalogue=CATALOGUE, drifted="warning")
    assert spec.model is not None


def test_a_record_that_is_none():
    assert said(TEXT + "frozen: {language: 1}\n", CATALOGUE).startswith("error[XC012]: 'frozen' needs 'plugins'\n")
    assert said(TEXT, CATALOGUE, "frozen.language=2").startswith(
        "error[XC028]: 'frozen' cannot be changed by an override\n"
    )


class Tensor:
    """As much of one as the record looks at."""

    def __init__(self, *shape: int):
        self.shape = shape

    def numel(self) -> int:
        return self.shape[0] * self.shape[1]


class Model:
    """As much of one as the record looks at."""

    def __init__(self, **tensors: Tensor):
        self.tensors = tensors

    def state_dict(self) -> dict[str, Tensor]:
        return self.tensors

    def parameters(self) -> list[Tensor]:
        return list(self.tensors.values())


def never(n: int) -> str:
    raise AssertionError(n)


def test_what_a_model_holds_is_compared():
    then = Model(a=Tensor(3, 5), b=Tensor(7, 2))
    text = signed(load_text(TEXT, "s", catalogue=CATALOGUE), CATALOGUE, model=then)
    spec = load_text(text, "s", catalogue=CATALOGUE)

    assert structure(then)["parameters"] == 29
    assert rebuilt(spec, Model(b=Tensor(7, 2), a=Tensor(3, 5)), never) == []
    assert [d.message for d in rebuilt(spec, Model(a=Tensor(3, 5), b=Tensor(7, 3)), never)] == [
        "the model has 36 parameters, and had 29 when the spec was frozen"
    ]
    assert [d.message for d in rebuilt(spec, Model(a=Tensor(5, 3), b=Tensor(7, 2)), never)] == [
        "the model's tensors have other names or shapes than when the spec was frozen"
    ]
    assert rebuilt(load_text(TEXT, "s", catalogue=CATALOGUE), then, never) == []


def test_who_reads_whom_is_compared():
    model = Model(a=Tensor(3, 5))
    text = signed(load_text(TEXT, "s", catalogue=CATALOGUE), CATALOGUE, model=model, reads="17 abc")
    spec = load_text(text, "s", catalogue=CATALOGUE)

    assert rebuilt(spec, model, {17: "abc"}.__getitem__) == []
    (found,) = rebuilt(spec, model, {17: "abd"}.__getitem__)
    assert (found.severity, found.message, found.label, found.path) == (
        "error", "the model's mixers may read other rows than when the spec was frozen",
        "equal options read other rows of a text of 17 now", "frozen.reads",
    )  # fmt: skip
    for reads in ("513 abc", "0 abc", "abc", "17 ", "99999999999 abc"):
        edited = load_text(text.replace("17 abc", f"'{reads}'"), "s", catalogue=CATALOGUE)
        assert len(rebuilt(edited, model, {17: "abc"}.__getitem__)) == 1


def test_another_version_is_a_warning_that_names_both(monkeypatch):
    versions = {"acme-mixers": "0.3.1", "xcompose": "0.1.0"}
    for module in ("frozen", "drift"):
        monkeypatch.setattr(f"xcompose.spec.{module}.version_of", versions.__getitem__)
    there = Catalogue([*CATALOGUE, MEAN])
    text = frozen(there, ACME)
    assert said(text, there) == ""

    versions |= {"acme-mixers": "0.4.0", "xcompose": "0.2.0"}
    spec, found = check_text(text, "s", (), there)
    assert spec is not None
    assert [(d.code, d.severity, d.message) for d in found] == [
        ("XC044", "warning", "xcompose is 0.2.0 now, and was 0.1.0 when the spec was frozen"),
        ("XC044", "warning", "acme-mixers is 0.4.0 now, and was 0.3.1 when the spec was frozen"),
    ]
    assert found[1].fixes == ("pip install acme-mixers==0.3.1", "freeze it again from its source")
    assert said(text, there).splitlines()[1].endswith("frozen.plugins")

    versions["xcompose"] = "0.1.0"
    model = Model(a=Tensor(3, 5))
    spec = load_text(signed(spec, there, reads="17 abc"), "s", catalogue=there)
    versions["acme-mixers"] = "0.5.0"
    (found,) = rebuilt(spec, model, {17: "abd"}.__getitem__)
    assert found.label.endswith("now (acme-mixers 0.4.0 then, 0.5.0 now)")
    assert found.fixes[0] == "pip install acme-mixers==0.4.0"


def test_an_edit_of_what_is_expected():
    text = frozen(text=TEXT + "expect: {params: ..9M, causal: strict, memory: [O(n), ..1GiB]}\n")
    assert said(text, CATALOGUE) == ""
    lines = said(text.replace("..9M", "..99M"), CATALOGUE).splitlines()

    assert lines[0] == "error[XC044]: what the spec expects was edited since it was frozen"
    assert lines[-2] == "   = fix: take the edit back"


def test_a_frozen_spec_of_before_still_loads():
    text = frozen()
    assert "reads:" not in text
    spec = load_text(text, "s", catalogue=CATALOGUE)

    assert rebuilt(spec, Model(a=Tensor(3, 5)), never) == []


def test_a_setting_of_training_that_came(monkeypatch):
    text = frozen()

    @options
    class Training(settings.TrainOptions):
        """How to train, and one thing more."""

        warm: Count = option(4)
        """A new setting."""

    monkeypatch.setitem(settings.SECTIONS, "train", type_of(Training))
    lines = said(text, CATALOGUE).splitlines()

    assert lines[0] == "error[XC044]: 'warm' of 'train' is 4, and was not set when the spec was frozen"
    assert len([line for line in lines if line.startswith("error")]) == 1


def test_a_key_of_layers_that_came():
    @options
    class Gated(Decoder):
        """A decoder whose layers have one thing more."""

        gate: Part.norm = option("layer", layer=True)
        """A new part of every layer."""

    lines = said(frozen(), changed("model", "decoder", options=option_schemas(Gated))).splitlines()

    assert lines[0] == "error[XC044]: 'gate' of the model 'decoder' is layer, and was not set when the spec was frozen"
    assert len([line for line in lines if line.startswith("error")]) == 1


def test_a_spec_that_builds_on_one_is_refused_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("base.xc.yaml").write_text(frozen().replace("size=8", "size=9"))
    Path("middle.xc.yaml").write_text("xcompose: 1\nextends: {model: base.xc.yaml, x-note: 3}\n")
    Path("top.xc.yaml").write_text("xcompose: 1\nextends: middle.xc.yaml\nvariants: {v: {model.dim: 512}}\n")

    for reference in ("middle.xc.yaml", "top.xc.yaml", "top.xc.yaml@v"):
        spec, found = check(reference, (), CATALOGUE)
        assert spec is None
        assert [(d.message, d.span.file if d.span else "") for d in found] == [
            ("the spec was edited since it was frozen", "base.xc.yaml")
        ]

        assert found[0].notes[0].text == f"{reference.partition('@')[0]} builds on it"

    Path("base.xc.yaml").write_text(frozen())
    assert check("top.xc.yaml@v", (), CATALOGUE)[1] == []
