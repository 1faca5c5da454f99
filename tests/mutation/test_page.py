"""The page of certificates says what is planted, and explains every code that finds it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "tools"))
    return importlib.import_module("certificates_page")


def test_the_tables_hold_every_planted_fault(tool):
    assert tool.PAGE.read_text() == tool.page(tool.planted())


def test_every_code_that_finds_a_fault_is_explained_above(tool):
    proved, _, _ = tool.PAGE.read_text().partition("## What they cannot prove")
    explained = set(re.findall(r"XC0[0-9]{2}", proved))

    assert {fault.code for fault in tool.planted()} <= explained
