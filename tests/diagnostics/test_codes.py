"""The table of codes: complete, in order, and its examples earn what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xcompose.diagnostics.codes import CODES, Code
from xcompose.registry import load
from xcompose.spec import check_text
from xcompose.spec.yaml import read

ROOT = Path(__file__).parents[2]
FRONT = [c for c in CODES.values() if c.code in ("XC004", "XC005", "XC006", "XC007", "XC009", "XC010")]


def used() -> set[str]:
    texts = [p.read_text() for folder in ("xcompose", "plugins") for p in (ROOT / folder).rglob("*.py")]
    return {code for text in texts for code in re.findall(r"""["'](XC[0-9]{3})["']""", text)}


def test_every_code_that_is_used_is_explained():
    assert used() <= set(CODES)


def test_the_table_is_in_order():
    assert list(CODES) == sorted(CODES)
    assert all(re.fullmatch(r"XC0[0-9]{2}", code) for code in CODES)


@pytest.mark.parametrize("code", CODES.values(), ids=list(CODES))
def test_an_entry_reads_well(code: Code):
    assert code.title
    assert code.title[-1] not in ".!"
    assert code.explanation.endswith(".")
    assert bool(code.bad) == bool(code.mend)
    assert code.bad != code.mend or not code.bad


@pytest.mark.parametrize("code", FRONT, ids=lambda c: c.code)
def test_an_example_of_the_loader_earns_its_code_and_the_mend_nothing(code: Code):
    assert {d.code for d in read(code.bad, "f").diagnostics} == {code.code}
    assert read(code.mend, "f").diagnostics == ()


SCHEMA = [c for c in CODES.values() if "XC010" < c.code < "XC030" and c.bad.startswith("xcompose:")]


@pytest.fixture(scope="module")
def catalogue():
    return load().catalogue


@pytest.mark.parametrize("code", SCHEMA, ids=lambda c: c.code)
def test_an_example_of_the_language_earns_its_code_and_the_mend_nothing(code: Code, catalogue):
    variants = ("tiny",) if "variants:" in code.bad else ()
    _, found = check_text(code.bad, "bad", catalogue=catalogue, variants=variants)
    assert [d.code for d in found] == [code.code]
    _, found = check_text(code.mend, "mend", catalogue=catalogue, variants=variants)
    assert code.code == "XC025" or found == []


@pytest.mark.parametrize("code", [c for c in CODES.values() if c.bad.startswith("xcompose:")], ids=lambda c: c.code)
def test_every_mend_is_read(code: Code):
    assert read(code.mend, "f").diagnostics == ()
