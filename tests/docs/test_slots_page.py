"""The page about slots says what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.test_docs import blocks
from xcompose import hookspecs
from xcompose.schema import KINDS

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("slots_page", DOCS / "tools" / "slots_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_code_says(tool):
    assert (DOCS / "slots.md").read_text() == tool.page(), "python docs/tools/slots_page.py writes it anew"


def test_every_hook_stands_on_the_page(tool):
    hooks = set(tool.hooks_of())

    assert hooks == {"components", "specs"}
    assert hooks == {name for name in dir(hookspecs) if f"\n- `{name}(" in (DOCS / "slots.md").read_text()}


def test_every_kind_has_a_section_of_valid_python():
    codes = [code for _, code in blocks(DOCS / "slots.md", "python")]

    assert len(codes) == len(KINDS)
    for code in codes:
        compile(code, "slots.md", "exec")
