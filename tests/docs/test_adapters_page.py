"""The example of the page on adapters runs."""

from __future__ import annotations

from tests.cli.calling import call
from tests.test_docs import ROOT, blocks, commands, fits

PAGE = ROOT / "docs" / "addons" / "adapters.md"


def test_the_example_prints_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    for title, text in blocks(PAGE, "yaml"):
        (tmp_path / title).write_text(text)
    for command, expected in commands(PAGE):
        called = call(command)
        assert fits(expected.split("\n"), called.said.split("\n")), f"$ {command}\n{called.said}"
        assert called.code == 0
    (code,) = blocks(PAGE, "python")
    exec(code[1], {})


def test_every_add_on_of_adapters_is_named():
    from xcompose import registry

    text = PAGE.read_text()
    named = [c.name for c in registry.load().components("addon") if f"`{c.name}" in text or f"[{c.name}" in text]

    assert {"adapter", "lora", "ia3", "fusion"} <= set(named)
