"""A spec's text in today's names: the same meaning, and nothing else of it touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from xcompose.diagnostics import Edit, Span, SpecError
from xcompose.spec import Catalogue, migrate, settings, tree
from xcompose.spec.migrate import Change, apply

from .catalogue import CATALOGUE
from .test_renames import TODAY

OLD = """\
# kept as it is
xcompose: 1
model:
  type: decoder   # and this
  dim: 256
  n_heads: 8
  layers: 2*attention( pattern=window(extent = 8) ),   attention
  "ffn":  {inner: 2x}
variants:
  wide:
    model.ffn: {type: feed-forward, 'inner': 4x}   # still wide
  near: {model.layers: attention(pattern=near-by(extent=2))}
"""
NEW = """\
# kept as it is
xcompose: 1
model:
  type: decoder   # and this
  dim: 256
  heads: 8
  layers: 2*attention( pattern=window(size = 8) ),   attention
  "ffn":  {width: 2x}
variants:
  wide:
    model.ffn: {type: mlp, 'width': 4x}   # still wide
  near: {model.layers: attention(pattern=window(size=2))}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(text: str, name: str = "s.xc.yaml") -> str:
    Path(name).write_bytes(text.encode())
    return name


def test_names_change_and_nothing_else():
    found = migrate.migrate(written(OLD), TODAY)

    assert found.before == OLD
    assert found.after == NEW
    assert found.changes[:2] == (Change(6, 3, "n_heads", "heads"), Change(7, 39, "extent", "size"))
    assert len(found.changes) == 7
    assert found.elsewhere == ()


def test_what_is_new_already_stays():
    found = migrate.migrate(written(NEW), TODAY)

    assert (found.after, found.changes) == (NEW, ())


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark_stay(ends):
    found = migrate.migrate(written("\ufeff" + OLD.replace("\n", ends)), TODAY)

    assert found.data.decode() == "\ufeff" + NEW.replace("\n", ends)


def test_old_names_of_a_base_are_named():
    written(OLD, "base.xc.yaml")
    found = migrate.migrate(written("xcompose: 1\nextends: base.xc.yaml\nmodel.n_heads: 4\n"), TODAY)

    assert found.after == "xcompose: 1\nextends: base.xc.yaml\nmodel.heads: 4\n"
    assert found.elsewhere == ("base.xc.yaml",)


def test_a_spec_with_errors_is_left_alone():
    with pytest.raises(SpecError, match="'decoder' has no option 'hed'"):
        migrate.migrate(written(OLD + "  odd: {model.hed: 3}\n"), TODAY)


def test_what_would_mean_something_else_is_not_written(monkeypatch):
    honest = migrate.apply
    monkeypatch.setattr(migrate, "apply", lambda text, edits: honest(text.replace("window(", "strided("), edits))

    with pytest.raises(SpecError) as caught:
        migrate.migrate(written(OLD.replace("extent = ", "").replace("extent=", "")), TODAY)

    assert str(caught.value) == (
        "error[XC043]: with the new names s.xc.yaml, s.xc.yaml@wide would mean something else, so nothing was "
        "written\n --> a fault of xcompose or of the plugin that renamed something\n"
        "  = fix: change the names by hand; `xcompose check` says which"
    )


class TestVersions:
    """A second version of the language, in which `about` is written in capital letters."""

    @pytest.fixture(autouse=True)
    def second(self, monkeypatch):
        def step(root: tree.Mapping) -> list[Edit]:
            about = root.get("about")
            assert about is not None
            assert isinstance(about.value, tree.Scalar)
            return [Edit(about.value.span, about.value.text.upper())]

        monkeypatch.setattr(settings, "VERSION", 2)
        monkeypatch.setitem(migrate.STEPS, 1, step)

    def test_an_older_one_is_rewritten(self):
        found = migrate.migrate(written("xcompose: 1  # first\nabout: two heads\n"), CATALOGUE)

        assert found.after == "xcompose: 2  # first\nabout: TWO HEADS\n"
        assert found.changes == (Change(1, 11, "1", "2"), Change(2, 8, "two heads", "TWO HEADS"))

    def test_an_older_one_is_refused_elsewhere(self):
        from xcompose.spec import load

        with pytest.raises(SpecError) as caught:
            load(written("xcompose: 1\n"), catalogue=CATALOGUE)

        assert (
            str(caught.value)
            == """\
error[XC014]: expected version 2 of the language, found 1
 --> s.xc.yaml:1:11
  |
1 | xcompose: 1
  |           ^ this xcompose reads version 2
  = fix: xcompose migrate s.xc.yaml"""
        )

    def test_a_newer_one_needs_a_newer_program(self):
        with pytest.raises(SpecError) as caught:
            migrate.migrate(written("xcompose: 3\n"), Catalogue())

        assert (
            str(caught.value)
            == """\
error[XC014]: expected version 2 of the language, found 3
 --> s.xc.yaml:1:11
  |
1 | xcompose: 3
  |           ^ this xcompose reads version 2
  = fix: install a newer xcompose"""
        )


def test_edits_that_overlap_are_a_fault():
    place = Span("s", 1, 1, 1, 3)

    with pytest.raises(ValueError, match=r"^edits overlap at 1:1$"):
        apply("abc\n", [Edit(place, "x"), Edit(Span("s", 1, 2, 1, 4), "y")])
