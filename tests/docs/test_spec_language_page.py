"""The reference of the language: its specs compose, its commands print what they show, its limits are the real ones."""

from __future__ import annotations

import re

import pytest

import xcompose as xc
from tests.cli.calling import call
from tests.test_docs import ROOT, blocks, commands, fits
from xcompose.compose.build import plan_model
from xcompose.spec import events, expression, files, layers, references, resolver
from xcompose.spec.settings import KEYS, SearchOptions, TrainOptions

PAGE = ROOT / "docs" / "spec-language.md"
TEXT = PAGE.read_text()
WHOLE = [code for title, code in blocks(PAGE, "yaml") if not title]


def test_the_commands_print_what_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    for title, text in blocks(PAGE, "yaml"):
        if title:
            (tmp_path / title).write_text(text)
    for command, expected in commands(PAGE):
        called = call(command)
        assert fits(expected.split("\n"), called.said.split("\n")), f"$ {command}\n{called.said}"
        assert called.code == (1 if expected.startswith("error") else 0)


@pytest.mark.parametrize("text", WHOLE, ids=[f"spec {n}" for n in range(len(WHOLE))])
def test_every_spec_composes(text, tmp_path):
    (tmp_path / "shown.xc.yaml").write_text(text)

    assert plan_model(xc.read(str(tmp_path / "shown.xc.yaml"))).layers


def test_the_layers_are_as_many_as_is_said(tmp_path):
    text = next(code for code in WHOLE if "# seven layers" in code)
    (tmp_path / "shown.xc.yaml").write_text(text)

    assert len(plan_model(xc.read(str(tmp_path / "shown.xc.yaml"))).layers) == 7 + 2 + 3 + 4


def test_the_limits_are_those_there_are():
    rows = dict(re.findall(r"^\| ([a-z].*?) \| ([\d,]+)", TEXT[TEXT.index("## Limits") :], re.MULTILINE))

    assert {name: int(number.replace(",", "")) for name, number in rows.items()} == {
        "size of a file": 1, "levels of YAML": events.DEPTH, "keys and values": events.NODES,
        "a text": events.CHARACTERS, "levels of an expression": expression.LEVELS,
        "components after expansion": resolver.NODES, "layers": layers.LAYERS,
        "references in a chain": references.CHAIN, "files that build on each other": files.FILES,
    }  # fmt: skip


def test_every_section_and_setting_is_named():
    def cells(heading: str) -> set[str]:
        table = TEXT[TEXT.index(heading) :].split("\n\n")[0]
        return {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}

    assert cells("| key | what it holds") == set(KEYS)
    assert cells("| key of `train`") == {field.name for field in TrainOptions.__attrs_attrs__}
    assert cells("| key of `search`") == {field.name for field in SearchOptions.__attrs_attrs__}
