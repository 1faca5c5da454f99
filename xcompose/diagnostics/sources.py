"""The texts that findings point into, kept so that a finding can show its line."""

from __future__ import annotations

from collections import OrderedDict

KEPT = 16 << 20


class Sources:
    """Texts by the name that spans give them: a file's path, `--set #1`.

    Args:
        kept: how many characters are kept; beyond them the oldest texts are forgotten.
    """

    def __init__(self, kept: int = KEPT):
        self._kept = kept
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._split: tuple[str, list[str]] = ("", [""])
        self._size = 0

    def register(self, file: str, text: str) -> None:
        """Keep a text; the newest text under a name is the one shown."""
        self._size += len(text) - len(self._texts.get(file, ""))
        self._texts[file] = text
        self._texts.move_to_end(file)
        while self._size > self._kept and len(self._texts) > 1:
            self._size -= len(self._texts.popitem(last=False)[1])

    def text(self, file: str) -> str | None:
        """The whole text, or None when it is not known."""
        return self._texts.get(file)

    def line(self, file: str, number: int) -> str | None:
        """Line `number`, counted from 1, or None when the text is not known or shorter."""
        text = self._texts.get(file)
        if text is None:
            return None
        if self._split[0] is not text:
            self._split = (text, text.split("\n"))
        lines = self._split[1]
        return lines[number - 1] if 0 < number <= len(lines) else None


SOURCES = Sources()
"""Where the loader registers every text it reads."""
