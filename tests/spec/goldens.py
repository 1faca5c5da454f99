"""Reads files of wrong texts with the whole message that each of them earns."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "golden"
CASE, MESSAGE = "##### ", "-----"


def cases(name: str) -> list:
    """One parameter set (text, message) for each case of a file.

    A case is a line `##### id`, the text, a line of five dashes, the message.
    """
    found = []
    for piece in (FOLDER / name).read_text().split(f"\n{CASE}")[1:]:
        id, _, rest = piece.partition("\n")
        text, _, message = rest.partition(f"{MESSAGE}\n")
        found.append(pytest.param(text, message.strip("\n"), id=id))
    return found
