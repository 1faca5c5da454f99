"""The page about complexity holds every spec of the survey, and its figures are counted."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "tools"))
    return importlib.import_module("complexity_page")


def test_every_set_of_keys_has_the_pairs_of_its_closed_form(tool):
    every = {(form.title, form.causal): (tool.counted_form(form), form.pairs(form.n)) for form in tool.facts.FORMS}

    assert len(every) == len(tool.facts.FORMS) >= 26
    assert {title: pairs for title, pairs in every.items() if pairs[0] != pairs[1]} == {}


def test_the_page_has_a_row_for_every_spec_of_the_survey(tool):
    text = tool.PAGE.read_text()

    assert [path.name for path in tool.specs() if f"\n| {tool.name_of(path)} |" not in text] == []


def test_every_paper_is_found_in_the_survey_or_known_to_be_outside(tool):
    papers = {tool.name_of(path): tool.paper_of(path) for path in tool.specs()}

    assert {n: p for n, p in papers.items() if p not in tool.facts.TABLE and p not in tool.facts.OUTSIDE} == {}


@pytest.mark.slow
def test_the_page_is_what_is_counted_now(tool):
    assert tool.PAGE.read_text() == tool.page()
