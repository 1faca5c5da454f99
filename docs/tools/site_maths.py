"""From the notation of the cards to MathML.

A card is plain text: `o_i = sum_j w_ij v_j over what i may read`. `pieces` finds what is a formula in such a line and
what is prose; formulas become LaTeX and then MathML, prose stays as it is. Nothing is guessed: what the grammar of
`site_formula` does not know is prose, and the pieces together are the line, letter for letter.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator

import attrs
from latex2mathml.converter import convert
from site_formula import Reader


@attrs.frozen
class Piece:
    """A stretch of a line, as it was written."""

    text: str
    latex: str = ""
    """The formula that it is; empty for prose."""

    @property
    def html(self) -> str:
        if self.latex:
            return mathml(self.latex)
        return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(self.text, quote=False))


def pieces(line: str, names: Collection[str] = ()) -> list[Piece]:
    """A line of a card, cut into formulas and prose; their texts joined are the line.

    Args:
        line: of a card.
        names: words that stand for numbers here, as the options of the component do.
    """
    found: list[Piece] = []
    for stretch in re.split(r"(\s{2,})", line):
        found += _pieces(stretch, names)
    return list(_joined(found))


def _pieces(line: str, names: Collection[str]) -> list[Piece]:
    reader = Reader(line, names)
    found: list[Piece] = []
    while reader.at < len(reader.tokens):
        begin = reader.at
        latex = reader.formula()
        stop = reader.tokens[reader.at].start if reader.at < len(reader.tokens) else len(line)
        text = line[reader.tokens[begin].start : stop]
        kept = text.rstrip()
        found += [Piece(kept, latex), Piece(text[len(kept) :])] if latex else [Piece(text)]
    return [Piece(line[: len(line) - len(line.lstrip())]), *found]


def _joined(found: list[Piece]) -> Iterator[Piece]:
    """Neighbouring pieces of prose as one."""
    prose = ""
    for piece in found:
        if not piece.latex:
            prose += piece.text
            continue
        if prose:
            yield Piece(prose)
        yield piece
        prose = ""
    if prose:
        yield Piece(prose)


def rendered(line: str, names: Collection[str] = ()) -> str:
    """A line of a card as HTML."""
    return "".join(piece.html for piece in pieces(line, names))


def mathml(latex: str) -> str:
    """A formula, with fractions in full size."""
    made = convert(latex, display="inline")
    return made.replace('display="inline"', 'display="inline" displaystyle="true"', 1).replace("\n", " ")
