"""Paths and pieces of text, as forges want them."""

from __future__ import annotations

import pytest

from tests.diagnostics.findings import EVERY
from xcompose.diagnostics import Span
from xcompose.diagnostics.data import as_data, from_data
from xcompose.diagnostics.places import from_root, is_file, marked
from xcompose.diagnostics.sources import Sources


def test_paths_begin_at_the_root_of_the_repository(tmp_path, monkeypatch):
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "sub" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repo" / "sub")

    assert from_root("deep/../a.xc.yaml") == "sub/a.xc.yaml"
    assert from_root("../b.xc.yaml") == "b.xc.yaml"
    assert from_root("../../c.xc.yaml") == (tmp_path / "c.xc.yaml").as_posix()
    assert from_root(str(tmp_path / "repo" / "d.xc.yaml")) == "d.xc.yaml"


def test_what_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_file("a.xc.yaml")
    assert is_file("a,b:c.xc.yaml")
    assert not is_file("--set #2")
    assert not is_file("acme:specs/a.xc.yaml")
    (tmp_path / "acme:a.xc.yaml").touch()
    assert is_file("acme:a.xc.yaml")


@pytest.mark.parametrize(
    ("span", "piece"),
    [((1, 2, 1, 4), "bc"), ((1, 4, 3, 2), "d\nefgh\ni"), ((2, 1, 2, 1), ""), ((3, 1, 5, 1), ""), ((1, 9, 1, 12), "")],
)
def test_marked_pieces(span, piece):
    sources = Sources()
    sources.register("f", "abcd\nefgh\nij")

    assert marked(Span("f", *span), sources) == piece


@pytest.mark.parametrize("finding", EVERY)
def test_findings_come_back_from_data(finding):
    assert from_data(as_data(finding)) == finding
