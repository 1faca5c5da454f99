"""The example of the page on search runs."""

from __future__ import annotations

from tests.cli.calling import call
from tests.test_docs import ROOT, blocks, commands, fits
from xcompose.search.trial import STATES
from xcompose.spec.settings import SearchOptions

PAGE = ROOT / "docs" / "addons" / "search.md"


def test_the_example_prints_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for title, text in blocks(PAGE, "yaml"):
        (tmp_path / title).write_text(text)
    for command, expected in commands(PAGE):
        called = call(command)
        assert fits(expected.split("\n"), called.said.split("\n")), f"$ {command}\n{called.said}"
        assert called.code == 0


def test_every_state_and_every_key_is_explained():
    text = PAGE.read_text()

    assert [state for state in STATES if f"| `{state}` |" not in text] == []
    assert [name for name in SearchOptions.__annotations__ if f"| `{name}` |" not in text] == []
