"""The example of the page on quantisation runs, and its table of options is whole."""

from __future__ import annotations

import pytest

from tests.cli.calling import call
from tests.test_docs import ROOT, blocks, commands, fits
from xcompose import registry

pytest.importorskip("torchao", reason="pip install 'xcompose[quantize]'")

PAGE = ROOT / "docs" / "addons" / "quantize.md"


def test_the_example_prints_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for title, text in blocks(PAGE, "yaml"):
        (tmp_path / title).write_text(text)
    for command, expected in commands(PAGE):
        called = call(command)
        assert called.code == 0, f"$ {command}\n{called.said}"
        assert fits(expected.split("\n"), called.said.split("\n")), f"$ {command}\n{called.said}"


def test_every_kind_and_every_option_is_explained():
    text = PAGE.read_text()
    to, *others = registry.load().component("addon", "quantize").schema.options

    assert [kind for kind in to.type.words if f"| `quantize({kind})` |" not in text] == []
    assert [option.name for option in others if f"`{option.name}`" not in text] == []
