"""The example of the page on search runs."""

from __future__ import annotations

import pytest

from tests.docs.pages import prints_what_it_shows
from tests.test_docs import ROOT
from xcompose.search.trial import STATES
from xcompose.spec.settings import SearchOptions

PAGE = ROOT / "docs" / "addons" / "search.md"


@pytest.mark.parametrize(
    "without", ["--jobs", pytest.param("--no-such-word", marks=pytest.mark.slow)], ids=["one process", "all"]
)
def test_the_example_prints_what_it_shows(tmp_path, monkeypatch, without):
    prints_what_it_shows(PAGE, tmp_path, monkeypatch, columns=120, without=without)


def test_every_state_and_every_key_is_explained():
    text = PAGE.read_text()

    assert [state for state in STATES if f"| `{state}` |" not in text] == []
    assert [name for name in SearchOptions.__annotations__ if f"| `{name}` |" not in text] == []
