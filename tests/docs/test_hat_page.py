"""The page on HAT: its example runs, and its specs compose."""

from __future__ import annotations

import re

import pytest

from tests.cli.calling import call
from tests.test_docs import ROOT, blocks, commands, fits
from xcompose import registry
from xcompose.compose.build import plan_model
from xcompose.search.slices import Table
from xcompose.search.supernet import said
from xcompose.spec import load_text

PAGE = ROOT / "docs" / "addons" / "hat.md"
SHORT = (
    '--set search.strategy.steps=3 --set "train.budget=3 steps" --set train.eval.batches=1 --set train.length=16 '
    '--set "search.within={}" --budget "2 trials"'
)
"""Makes the example a matter of seconds; what it prints has the same form."""


def without_numbers(text: str) -> list[str]:
    return [re.sub(r"\d+(?:[.,]\d+)*", "...", line) for line in text.split("\n")]


def test_the_example_prints_what_it_shows(tmp_path, monkeypatch):
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    ((command, expected),) = commands(PAGE)
    called = call(f"{command} {SHORT} --accelerator cpu")

    assert called.code == 0, called.said
    shown, lines = without_numbers(expected), called.said.split("\n")
    (told,) = [line for line in shown if line.startswith("the super-network learnt")]
    assert fits(["...", told, "..."], lines), called.said
    assert shown[0].split() == ["trial", "...", "done", "latency", "at", "...", "...", "ms", "bits_per_byte", "..."]
    assert without_numbers(lines[0])[0].split() == shown[0].split()
    assert "winners: nothing beats them" in shown
    assert "winners: nothing beats them" in lines


@pytest.mark.parametrize("title", ["elastic.xc.yaml", "hat-translation.xc.yaml"])
def test_its_specs_compose_and_share_weights(title):
    known = registry.load()
    (text,) = [text for name, text in blocks(PAGE, "yaml") if name == title]
    spec = load_text(text, title, catalogue=known.catalogue)
    ends = [{path: values[end] for path, values in spec.search["choices"].items()} for end in (0, -1)]
    table = Table()
    for chosen in ends:
        sets = [f"{path}={value}" for path, value in chosen.items()]
        table.add(plan_model(load_text(text, title, sets, catalogue=known.catalogue), registry=known), said(chosen))
    model = plan_model(spec, registry=known)

    assert table.holds(model)
    assert all(len(fact.shapes) == 1 for fact in table.facts.values())
