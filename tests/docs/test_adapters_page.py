"""The example of the page on adapters runs."""

from __future__ import annotations

from tests.docs.pages import prints_what_it_shows
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "addons" / "adapters.md"


def test_the_example_prints_what_it_shows(tmp_path, monkeypatch):
    prints_what_it_shows(PAGE, tmp_path, monkeypatch)
    (code,) = blocks(PAGE, "python")
    exec(code[1], {})


def test_every_add_on_of_adapters_is_named():
    from xcompose import registry

    text = PAGE.read_text()
    named = [c.name for c in registry.load().components("addon") if f"`{c.name}" in text or f"[{c.name}" in text]

    assert {"adapter", "lora", "ia3", "fusion"} <= set(named)
