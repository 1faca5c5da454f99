"""The reference of the language: its specs compose, its commands print what they show, its limits are the real ones."""

from __future__ import annotations

import re

import pytest

import xcompose as xc
from tests.cli.calling import call
from tests.test_docs import ROOT, blocks, commands, fits
from xcompose.compose.build import plan_model
from xcompose.schema import KINDS
from xcompose.spec import (
    events,
    expression,
    files,
    findings,
    layers,
    numbers,
    reading,
    references,
    resolver,
    tokens,
)  # fmt: skip
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
        "size of a file": reading.BYTES >> 20, "levels of YAML": events.DEPTH,
        "keys and values of a file": events.NODES, "a text": events.CHARACTERS,
        "levels of brackets in an expression, and in a reference": expression.LEVELS,
        "operations in a reference": references.OPERATIONS, "levels of components": resolver.NESTING,
        "components after expansion": resolver.NODES, "layers": layers.LAYERS,
        "references and layers to expand": resolver.STEPS, "references in a chain": references.CHAIN,
        "blocks that use one another": layers.CHAIN, "files that build on each other": files.FILES,
        "files opened in all": files.OPENED, "digits of a number": numbers.DIGITS, "its exponent": numbers.EXPONENT,
        "mistakes before reading stops": findings.MOST,
    }  # fmt: skip
    assert references.LEVELS == expression.LEVELS


def test_the_grammar_is_closed():
    """Every name in it has a rule, and every rule but the first is used."""
    grammar = re.sub(r"\(\*.*?\*\)|any character but .*? }", "", re.search(r"```ebnf\n(.*?)```", TEXT, re.DOTALL)[1])
    rules = re.findall(r"(\w+) += ", grammar)
    used = set(re.findall(r"[a-z]+", re.sub(r"""'"'|"[^"]*"|\w+ += """, " ", grammar)))

    assert len(rules) == len(set(rules))
    assert used == set(rules)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("word", ["a", "a1-2b", "log-sparse"], ["A", "1a", "a--b", "a-", "a_b"]),
        ("option", ["a", "kv_heads", "a_"], ["a-b", "_a", "A"]),
        ("number", ["0", "12", "1.5k", "3e-4", "4x", "4Ki", "0.1e+2M"], ["01", "1.", ".5", "4ki", "1E3", "1_0"]),
    ],
)
def test_the_grammar_of_signs_is_the_real_one(rule, good, bad):
    real = {"word": tokens.NAME, "option": tokens.OPTION, "number": tokens.STRICT_NUMBER}[rule]

    assert [text for text in [*good, *bad] if real.fullmatch(text)] == good


def test_every_kind_is_named():
    said = TEXT[TEXT.index("eighteen kinds") : TEXT.index("There are two spellings")]

    assert tuple(re.findall(r"`(\w+)`", said)) == KINDS
    assert len(KINDS) == 18


@pytest.mark.parametrize(
    ("file", "sections", "name"),
    [("named", "", "named@small"), ("named", "name: other\n", "other@small"), ("itself", "", "mine")],
)
def test_a_variant_stands_behind_the_name(file, sections, name, tmp_path):
    variant = "{name: mine}" if file == "itself" else "{model: {layers: 1}}"
    (tmp_path / f"{file}.xc.yaml").write_text(
        f"xcompose: 1\n{sections}model: {{type: decoder, dim: 64, layers: 2}}\nvariants: {{small: {variant}}}\n"
    )

    assert xc.read(str(tmp_path / f"{file}.xc.yaml@small")).name == name


def test_every_section_and_setting_is_named():
    def cells(heading: str) -> set[str]:
        table = TEXT[TEXT.index(heading) :].split("\n\n")[0]
        return {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}

    assert cells("| key | what it holds") == set(KEYS)
    assert cells("| key of `train`") == {field.name for field in TrainOptions.__attrs_attrs__}
    assert cells("| key of `search`") == {field.name for field in SearchOptions.__attrs_attrs__}
