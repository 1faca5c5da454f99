"""Every add-on behind every other one, on three kinds of mechanism: what the page says holds."""

from __future__ import annotations

import importlib
import random
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import xcompose as xc
from xcompose import registry

ROOT = Path(__file__).parent.parent
SAMPLE = 12
"""So many of the pairs that work are certified, trained and saved in every run; `-m slow` takes all."""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "tools"))
    return importlib.import_module("addons_page")


def cases(tool: ModuleType) -> list[tuple[str, str, str]]:
    return [(m, first, then) for first, then in tool.pairs() for m in tool.MECHANISMS]


def test_every_add_on_of_a_model_is_there(tool):
    listed = {re.match(r"[\w-]+", text)[0] for texts in tool.ADDONS.values() for text in texts}  # type: ignore[index]
    there = {
        name for kind, name in registry.load().by_name
        if kind == "addon" and registry.load().component(kind, name).facts.get("stage", "model") == "model"
    }  # fmt: skip

    assert listed == there


def test_the_page_is_made_of_its_figures(tool):
    assert tool.PAGE.read_text() == tool.page(tool.written())


def test_what_is_refused_is_refused_for_the_reason_on_the_page(tool):
    known = tool.written()
    found = {tool.key(*case): tool.refused(*case) for case in cases(tool)}

    assert {name for name, one in found.items() if (one is None) != known[name].works} == set()
    assert {name: one.reason for name, one in found.items() if one} == {
        name: one.reason for name, one in known.items() if not one.works
    }


def working(tool: ModuleType) -> list[tuple[str, str, str]]:
    known = tool.written()
    return [case for case in cases(tool) if known[tool.key(*case)].works]


@pytest.mark.parametrize("number", range(SAMPLE))
def test_a_pair_that_works_keeps_its_promises(tool, number):
    every = working(tool)
    case = random.Random(5).sample(every, min(SAMPLE, len(every)))[number % min(SAMPLE, len(every))]

    assert tool.outcome(*case) == tool.Outcome(True)


@pytest.mark.slow
def test_every_pair_that_works_keeps_its_promises(tool):
    every = working(tool)

    assert tool.outcomes(every) == {tool.key(*case): tool.Outcome(True) for case in every}


def test_the_ladder_is_on_the_page():
    from xcompose.compose.addons import LATE, ONCE, RUNGS

    text = (ROOT / "docs" / "addons" / "README.md").read_text()
    rungs = [f"| {name} | {what} | {'one' if name in ONCE else 'any number'} |" for name, what in RUNGS.items()]
    reasons = [f"| {first} | {then} | {why} |" for (first, then), why in LATE.items()]

    assert [line for line in (*rungs, *reasons) if line not in text.splitlines()] == []
    assert len([line for line in text.splitlines() if line.count("|") == 4]) == 2 * 2 + len(rungs) + len(reasons)


def test_the_example_on_the_page_is_a_model():
    from tests.test_docs import blocks

    ((_, text),) = blocks(ROOT / "docs" / "addons" / "README.md", "yaml")

    assert [listed.node.name for listed in xc.build(yaml.safe_load(text)).addons] == ["share", "adapter"]
