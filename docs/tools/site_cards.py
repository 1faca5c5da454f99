"""The card of a plugin, its module's docstring, as HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Collection

import attrs
from site_maths import rendered
from site_signs import PROSE

BLOCKS = ("Maths", "Shapes", "Cost", "Limits", "Paper")
WIDTH = 118
"""A line ends before this column unless its author wanted it shorter."""
LABEL = re.compile(r"([a-z][\w-]*(?:, [a-z][\w-]*)*) {2,}(?=\S)")
BEGINS = re.compile(rf"{LABEL.pattern}|[a-z][\w-]*(?:=[\w-]+)?(?:, [a-z][\w-]*)*: ")
"""A label: what begins a statement even where the line before it is full."""
DEFINES = re.compile(r"(?:\[[^\]]*\]|[A-Za-z]\w*)'?(?:_\S+)?(?:\([^()]*\))? (?:=|<-) ")
"""A formula that says what something is: it begins a statement, too, unless the line before it leads up to it."""
LEADS = re.compile(rf"(?:.*[\s(])?(?:{PROSE.pattern})|.*[,:(=+*/-]", re.DOTALL)
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


@attrs.frozen
class Line:
    """One statement of a card, put together again where it was wrapped."""

    text: str
    deeper: bool = False
    """Set back further than its block."""


@attrs.frozen
class Card:
    """The parts of a card."""

    summary: str
    blocks: dict[str, tuple[Line, ...]]


def card_of(text: str) -> Card:
    """Take a card apart.

    Raises:
        ValueError: it lacks a block, or has them in another order.
    """
    summary, _, rest = text.partition("\n\n")
    found = re.split(rf"^({'|'.join(BLOCKS)})\b", rest, flags=re.MULTILINE)
    if tuple(found[1::2]) != BLOCKS:
        raise ValueError(f"a card has the blocks {', '.join(BLOCKS)}, this one has {', '.join(found[1::2])}")
    blocks = {name: _lines(name, body) for name, body in zip(found[1::2], found[2::2], strict=True)}
    return Card(" ".join(summary.split()), blocks)


def _lines(name: str, body: str) -> tuple[Line, ...]:
    """Statements: a line break counts where the next word would have fitted before it, and where the next line begins
    a statement or stands no deeper than a label."""
    lines = [" " * len(name) + body.split("\n")[0], *body.split("\n")[1:]]
    first = min((_indent(line) for line in lines if line.strip()), default=0)
    found: list[Line] = []
    last, labelled = "", WIDTH
    for line in filter(str.strip, lines):
        room = len(last.rstrip()) + 1 + len(line.split()[0]) <= WIDTH
        if last and not room and _indent(line) > labelled and not _begins(line, last):
            found[-1] = attrs.evolve(found[-1], text=f"{found[-1].text} {line.strip()}")
        else:
            found.append(Line(line.strip(), _indent(line) > first))
            labelled = _indent(line) if LABEL.match(line.strip()) else -1
        last = line
    return tuple(found)


def _begins(line: str, last: str) -> bool:
    """Whether a line begins a statement, whatever room there was before it."""
    text = line.strip()
    return BEGINS.match(text) is not None or (DEFINES.match(text) is not None and not LEADS.fullmatch(last))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def maths(lines: Collection[Line], names: Collection[str]) -> str:
    """Statements with their formulas set, one below the other."""
    said = []
    for line in lines:
        label = LABEL.match(line.text)
        head = f'<span class="xc-label">{label[1]}</span> ' if label else ""
        rest = line.text[label.end() :] if label else line.text
        style = ' class="xc-deeper"' if line.deeper or label else ""
        parts = re.split(r"(?<=;) {2,}", rest)
        said += [f"<p{style}>{head if not n else ''}{rendered(part, names)}</p>" for n, part in enumerate(parts)]
    return f'<div class="xc-maths">{"".join(said)}</div>'


def prose(lines: Collection[Line], names: Collection[str]) -> str:
    """Sentences, with their formulas set."""
    return f'<p class="xc-prose">{" ".join(rendered(line.text, names) for line in lines)}</p>'


def shapes(lines: Collection[Line]) -> str:
    """Names with the letters of their axes."""
    items = []
    for part in re.split(r";\s+", " ".join(line.text for line in lines)):
        pieces = re.split(r"(\([^()]*\))", part)
        items.append("".join(_tensor(p) if p.startswith("(") else rendered(p) for p in pieces))
    return f'<ul class="xc-shapes">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def _tensor(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"


def papers(lines: Collection[Line]) -> str:
    """References, arXiv numbers as links."""
    text = html.escape(" ".join(line.text for line in lines), quote=False)
    linked = ARXIV.sub(r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>', text)
    coded = re.sub(r"`([^`]*)`", r"<code>\1</code>", linked)
    return f'<p class="xc-prose">{coded}</p>'
