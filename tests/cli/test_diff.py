"""`xcompose diff` for people and for programs."""

from __future__ import annotations

import json

import pytest

from tests.cli.calling import call

OLD = "xcompose: 1\nmodel: {type: decoder, dim: 32, heads: 2, layers: 2}\n"


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.xc.yaml").write_text(OLD)
    (tmp_path / "new.xc.yaml").write_text(OLD.replace("layers: 2", "layers: 3") + "addons: [share]\n")


def test_it_shows_what_was_said_and_what_follows():
    called = call("xcompose diff old.xc.yaml new.xc.yaml --length 1Ki")

    assert called.code == 0
    assert called.out.splitlines()[:5] == [
        "old.xc.yaml → new.xc.yaml",
        "",
        "  layer 2   + attention, mlp(128)",
        "  add-ons   + share",
        "",
    ]
    assert "  parameters           33,664 → 20,960   0.623×" in called.out.splitlines()


def test_equal_meanings_are_no_change(tmp_path):
    (tmp_path / "same.xc.yaml").write_text(OLD.replace("layers: 2", "layers: 2*attention"))

    called = call("xcompose diff old.xc.yaml same.xc.yaml --exit-code")

    assert (called.code, called.out) == (0, "old.xc.yaml and same.xc.yaml mean the same\n")


def test_the_exit_code_says_that_they_differ_only_when_asked():
    assert call("xcompose diff old.xc.yaml new.xc.yaml").code == 0
    assert call("xcompose diff old.xc.yaml new.xc.yaml --exit-code").code == 1


def test_as_data_with_an_override():
    found = json.loads(call("xcompose diff old.xc.yaml old.xc.yaml --set model.heads=4 --format json").out)

    assert found["same"] is False
    assert found["changes"] == [{"where": "every layer", "what": "heads", "old": "2", "new": "4"}]
    assert {fact["name"] for fact in found["facts"]} <= {"activations at 1Ki", "activations at 16Ki"}


def test_without_a_repository_one_file_alone_is_refused():
    called = call("xcompose diff old.xc.yaml")

    assert called.code == 1
    assert called.said.startswith("error[XC001]: git cannot read 'HEAD': fatal: not a git repository")
