"""Pages whose examples run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calling import call
from tests.test_docs import blocks, commands, fits


def prints_what_it_shows(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, columns: int = 140, without: str = "--no-such-word"
) -> None:
    """Write the specs of a page into a folder, and run its commands there, each of which has to end well.

    A command with the word `without` in it is left out.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", str(columns))
    for title, text in blocks(page, "yaml"):
        (folder / title).write_text(text)
    for command, expected in commands(page):
        if without in command.split():
            continue
        called = call(command)
        assert fits(expected.split("\n"), called.said.split("\n")), f"$ {command}\n{called.said}"
        assert called.code == 0
