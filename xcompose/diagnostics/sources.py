"""The texts that findings point into, kept so that a finding can show its line."""

from __future__ import annotations

from collections import OrderedDict

KEPT = 512


class Sources:
    """Texts by the name that spans give them: a file's path, `--set #1`. The oldest ones are forgotten."""

    def __init__(self, kept: int = KEPT):
        self._kept = kept
        self._lines: OrderedDict[str, list[str]] = OrderedDict()

    def register(self, file: str, text: str) -> None:
        """Keep a text; the newest text under a name is the one shown."""
        self._lines[file] = text.split("\n")
        self._lines.move_to_end(file)
        while len(self._lines) > self._kept:
            self._lines.popitem(last=False)

    def line(self, file: str, number: int) -> str | None:
        """Line `number`, counted from 1, or None when the text is not known or shorter."""
        lines = self._lines.get(file, [])
        return lines[number - 1] if 0 < number <= len(lines) else None


SOURCES = Sources()
"""Where the loader registers every text it reads."""
