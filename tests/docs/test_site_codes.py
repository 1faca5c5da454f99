"""Every code that can be shown has an example that earns it and nothing else, and a mend that does not."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from tests.test_docs import ROOT
from xcompose.diagnostics.codes import CODES

pytest.importorskip("latex2mathml", reason="pip install -e '.[docs]'")
QUICK = ("XC003", "XC033")
"""A few of each kind; the others take half a minute together."""


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "tools"))
    return importlib.import_module("site_codes")


def earns(tools: ModuleType, code: str) -> None:
    bad, mend = tools.run(CODES[code].bad), tools.run(CODES[code].mend)

    assert bad.codes == {code}, bad.text
    assert mend.codes == frozenset(), mend.text
    assert mend.code == 0, mend.text


@pytest.mark.parametrize("code", QUICK)
def test_an_example_earns_its_code_and_the_mend_none(tools, code):
    earns(tools, code)


@pytest.mark.slow
@pytest.mark.parametrize("code", [code for code in CODES if code not in QUICK])
def test_every_example_earns_its_code_and_the_mend_none(tools, code):
    if not tools.runs(CODES[code]):
        pytest.skip(tools.reason(CODES[code]))
    earns(tools, code)


def test_what_cannot_be_shown_says_why(tools):
    unshown = {code for code, entry in CODES.items() if not tools.runs(entry)}

    assert unshown <= set(tools.REASONS), "give it an example, or say in site_codes.REASONS why it has none"
    assert len(CODES) - len(unshown) >= 45


def test_every_code_belongs_to_a_group(tools):
    named = [code for code in CODES for start in tools.GROUPS if code.startswith(start)]

    assert named == list(CODES)


def test_nothing_but_our_commands_is_run(tools):
    with pytest.raises(ValueError, match="an example cannot run 'pip install"):
        tools.run("pip install 'xcompose[train]'")
    with pytest.raises(ValueError, match="an example cannot run 'mv"):
        tools.run("mv mine.xc.yaml ../mine.xc.yaml")
