"""The example of the page on quantisation runs, and its table of options is whole."""

from __future__ import annotations

import pytest

from tests.docs.pages import prints_what_it_shows
from tests.test_docs import ROOT
from xcompose import registry

pytest.importorskip("torchao", reason="pip install 'xcompose[quantize]'")

PAGE = ROOT / "docs" / "addons" / "quantize.md"


def test_the_example_prints_what_it_shows(tmp_path, monkeypatch):
    prints_what_it_shows(PAGE, tmp_path, monkeypatch, columns=120)


def test_every_kind_and_every_option_is_explained():
    text = PAGE.read_text()
    to, *others = registry.load().component("addon", "quantize").schema.options

    assert [kind for kind in to.type.words if f"| `quantize({kind})` |" not in text] == []
    assert [option.name for option in others if f"`{option.name}`" not in text] == []
