"""Old names of options and components: read as the new ones, with a warning that a machine can act upon."""

from __future__ import annotations

import attrs
import pytest

from xcompose.api import option, options
from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics.render import text as rendered
from xcompose.schema import ComponentSchema, Count, option_schemas
from xcompose.spec import Spec, check_text
from xcompose.spec.catalogue import Catalogue

from .catalogue import CATALOGUE
from .helpers import spec_of

OLD_OPTIONS = {("pattern", "window", "size"): "extent", ("ffn", "mlp", "width"): "inner",
               ("model", "decoder", "heads"): "n_heads"}  # fmt: skip
OLD_NAMES = {("pattern", "window"): "near-by", ("mixer", "heads"): "by-head", ("ffn", "mlp"): "feed-forward"}
HEAD = "xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n"


def renamed(schema: ComponentSchema) -> ComponentSchema:
    """A component with some old names."""
    found = []
    for one in schema.options:
        old = OLD_OPTIONS.get((schema.kind, schema.name, one.name))
        found.append(attrs.evolve(one, renamed_from=(old,)) if old else one)
    name = OLD_NAMES.get((schema.kind, schema.name))
    return attrs.evolve(schema, options=tuple(found), renamed_from=(name,) if name else ())


MEAN = ComponentSchema("memory", "mean", namespace="acme", renamed_from=("average",))
TODAY = Catalogue([*(renamed(schema) for schema in CATALOGUE), MEAN])


def read(text: str, *sets: str, variants: tuple[str, ...] = ()) -> tuple[Spec, list[Diagnostic]]:
    """A spec with old names, and what is said about them."""
    spec, found = check_text(text, "s", sets, TODAY, variants=variants)
    assert spec is not None, rendered(found)
    return spec, found


def mended(text: str, found: list[Diagnostic]) -> str:
    """A text of lines with the edits of findings."""
    lines = text.splitlines()
    edits = [edit for diagnostic in found for edit in diagnostic.edits]
    for edit in sorted(edits, key=lambda e: (e.span.line, e.span.column), reverse=True):
        line = lines[edit.span.line - 1]
        lines[edit.span.line - 1] = line[: edit.span.column - 1] + edit.text + line[edit.span.end_column - 1 :]
    return "\n".join(lines) + "\n"


OLD = {
    "an argument": "  layers: 2*attention(pattern=window(extent=8))\n",
    "a mapping": "  ffn: {type: mlp, inner: 2x}\n  layers: 2\n",
    "an overlay": "  ffn: {inner: 2x}\n  layers: 2\n",
    "a quoted key": "  ffn: {'inner': 2x}\n  layers: 2\n",
    "a key of the model": "  n_heads: 8\n  layers: 2\n",
    "a key of a layer": "  layers:\n    - {repeat: 2, n_heads: 8}\n",
    "a key of a block": "  blocks: {wide: {n_heads: 8}}\n  layers: wide\n",
    "a name": "  ffn: feed-forward\n  layers: 2\n",
    "a call": "  layers: 2*by-head(attention, attention(pattern=near-by(8, dilation=2)))\n",
    "a type": "  mixer:\n    pattern:\n      type: near-by  # the same\n      extent: 4\n  layers: 2\n",
    "behind a path": "  length: ${model.mixer.pattern.extent}\n  layers: 1\n  mixer: attention(pattern=near-by(7))\n",
    "in a sum": '  length: "${2 * model.ffn.inner + model.n_heads}"\n  ffn: mlp(512)\n  layers: 1\n',
    "in a namespace": "  mixer: attention(memory=acme/average, pattern=none)\n  layers: 1\n",
    "without its namespace": "  mixer: attention(memory=average, pattern=none)\n  layers: 1\n",
}
VARIED = {
    "a path": "  layers: 2\nvariants:\n  v: {model.ffn.inner: 2x}\n",
    "below a path": "  layers: 2\nvariants:\n  v:\n    model.ffn: {inner: 2x}\n",
    "at the end": "  mixer: {pattern: window(8)}\n  layers: 1\nvariants:\n  v: {model.mixer.pattern.extent: 2}\n",
    "a choice": "  layers: 1\nsearch: {choices: {ffn.inner: [1x, 2x]}, minimize: [params]}\nvariants: {v: {}}\n",
}


@pytest.mark.parametrize("case", [*OLD, *VARIED])
def test_an_old_name_means_the_new_one_and_is_mended_exactly(case):
    text = HEAD + {**OLD, **VARIED}[case]
    variants = ("v",) if case in VARIED else ()

    spec, found = read(text, variants=variants)
    again, silent = read(mended(text, found), variants=variants)

    assert {d.code for d in found} == {"XC043"}
    assert {d.severity for d in found} == {"warning"}
    assert silent == []
    for section in ("model", "addons", "search"):
        assert getattr(again, section) == getattr(spec, section)
    assert mended(text, found).count("#") == text.count("#")


def test_what_is_said_about_an_old_option():
    _, found = read(HEAD + OLD["an argument"])

    assert (
        rendered(found)
        == """\
warning[XC043]: 'extent' of 'window' is called 'size' now
 --> s:5:38   model.layers.0.mixer.pattern
  |
5 |   layers: 2*attention(pattern=window(extent=8))
  |                                      ^^^^^^
  = fix: write 'size', or let `xcompose migrate` do it"""
    )


def test_what_is_said_about_an_old_component():
    _, found = read(HEAD + OLD["without its namespace"])

    assert (
        rendered(found)
        == """\
warning[XC043]: the memory 'average' is called 'acme/mean' now
 --> s:5:27   model.mixer.memory
  |
5 |   mixer: attention(memory=average, pattern=none)
  |                           ^^^^^^^
  = fix: write 'acme/mean', or let `xcompose migrate` do it"""
    )


def test_an_override_has_no_file_to_mend():
    spec, found = read(HEAD + "  layers: 2\n", "ffn.inner=2x")

    assert spec.model == spec_of(HEAD + "  layers: 2\n", "ffn.width=2x").model
    assert [(d.code, d.fixes, d.edits) for d in found] == [("XC043", ("write 'width'",), ())]


BOTH = {
    "  ffn: {type: mlp, width: 1x, inner: 2x}\n  layers: 2\n": """\
error[XC006]: 'width' is written twice
 --> s:5:31   model.ffn
  |
5 |   ffn: {type: mlp, width: 1x, inner: 2x}
  |                               ^^^^^ the old name of 'width'
 ::: s:5:20
  |
5 |   ffn: {type: mlp, width: 1x, inner: 2x}
  |                    ----- and here
  = fix: delete one of them, and call the other 'width'""",
    "  layers: 2*attention(pattern=window(extent=8, size=9))\n": """\
error[XC006]: 'size' is written twice
 --> s:5:38   model.layers.0.mixer.pattern
  |
5 |   layers: 2*attention(pattern=window(extent=8, size=9))
  |                                      ^^^^^^ the old name of 'size'
 ::: s:5:48
  |
5 |   layers: 2*attention(pattern=window(extent=8, size=9))
  |                                                ---- and here
  = fix: delete one of them, and call the other 'size'""",
}


@pytest.mark.parametrize("text", BOTH)
def test_the_old_and_the_new_name_are_one(text):
    spec, found = check_text(HEAD + text, "s", (), TODAY)

    assert spec is None
    assert rendered(found) == BOTH[text]


def test_an_unnamed_argument_and_the_old_name_are_one():
    _, found = check_text(HEAD + "  layers: 2*attention(pattern=window(8, extent=9))\n", "s", (), TODAY)

    assert [(d.code, d.message) for d in found if d.severity == "error"] == [("XC016", "'size' is given twice")]


def test_a_newer_text_wins_under_either_name():
    text = HEAD + "  ffn: {inner: 1x}\n  layers: 2\nvariants: {v: {model: {ffn: {width: 2x}}}}\n"

    spec, _ = read(text, variants=("v",))

    assert spec.model is not None
    assert spec.model.options["ffn"].options["width"] == 512


def test_old_names_below_training_are_read_too(monkeypatch):
    @options
    class Training:
        """How to train."""

        batch: Count = option(8, renamed_from=("batch_size",))
        """Sequences."""

    from xcompose.schema import type_of
    from xcompose.spec import settings

    monkeypatch.setitem(settings.SECTIONS, "train", attrs.evolve(type_of(settings.TrainOptions), fields=(
        *(f for f in type_of(settings.TrainOptions).fields if f.name != "batch"), *option_schemas(Training),
    )))  # fmt: skip
    spec, found = read("xcompose: 1\ntrain: {batch_size: 3, budget: 1 steps}\n")

    assert spec.train["batch"] == 3
    assert [d.message for d in found] == ["'batch_size' of 'train' is called 'batch' now"]


def test_an_option_cannot_take_the_name_of_another():
    @options
    class Wrong:
        """Two options."""

        a: Count = option(1)
        """One."""
        b: Count = option(1, renamed_from=("a",))
        """Two."""

    with pytest.raises(TypeError, match=r"^Wrong.b was renamed from 'a', which is a name of 'a'$"):
        option_schemas(Wrong)
