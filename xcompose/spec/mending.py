"""What YAML misreads in a spec: values cut inside `{ }` and `[ ]`, text with a colon, and plain mistakes of syntax.

A misread piece is masked, character by character, so that places stay right and the rest of the text can be read for
more findings.
"""

from __future__ import annotations

import attrs

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.spec import tree
from xcompose.spec.events import Builder, Frame, Piece
from xcompose.spec.expression import parse_expression
from xcompose.spec.places import Lines
from xcompose.spec.syntax import cut_text, syntax_finding

REACH = 4_000
MOST = 50
LOOKED = 200
MENDED = 160
CLOSERS = {"(": ")", "[": "]", "{": "}"}
ENDINGS = {",": "a comma", "[": "a bracket", "{": "a brace", ":": "a colon"}
MASKED = ",[]{}:"
MASK = {ord(c): chr(0xE000 + i) for i, c in enumerate(MASKED)}
UNMASK = {0xE000 + i: c for i, c in enumerate(MASKED)}


@attrs.frozen
class Cut:
    """An expression that a flow collection has cut."""

    piece: Piece
    end: int
    finding: Diagnostic


class Mender:
    """Finds what YAML misreads in one text, and masks it in `text`."""

    def __init__(self, content: str, file: str, shown: str | None = None):
        """`shown` is what the user wrote, character below character, where that is not the content itself."""
        self.content, self.text = content, content
        self.lines = Lines(content if shown is None else shown, file)
        self._cuts: list[Cut] = []
        self._others: list[Diagnostic] = []

    def mend(self, builder: Builder) -> bool:
        """Note what one reading of `text` shows; True if reading it again may show more."""
        cuts = self._new_cuts(builder.pieces)
        for cut in cuts:
            self._mask(cut.piece.start, cut.end)
        self._cuts += cuts
        if cuts:
            return True
        if builder.error is None:
            return False
        colon = cut_text(builder.error, self.lines)
        if colon is not None:
            self._others.append(colon.finding)
            self._mask(colon.start, colon.end)
            return True
        self._others.append(syntax_finding(builder.error, self.lines))
        return False

    @property
    def full(self) -> bool:
        """Whether there are so many cuts that what YAML says of the rest means nothing."""
        return len(self._cuts) >= MOST

    def findings(self, document: tree.Tree | None) -> list[Diagnostic]:
        """All of them; with the tree of the masked text their fixes can say more."""
        found = [attrs.evolve(cut.finding, fixes=(self._fix(cut, document),)) for cut in self._cuts]
        return found + self._others

    def _mask(self, start: int, end: int) -> None:
        self.text = self.text[:start] + self.text[start:end].translate(MASK) + self.text[end:]

    def _new_cuts(self, pieces: list[Piece]) -> list[Cut]:
        found: list[Cut] = []
        behind = looked = 0
        for piece in pieces:
            if piece.start < behind or not self._is_open(piece):
                continue
            if looked == LOOKED or len(self._cuts) + len(found) == MOST:
                break
            looked += 1
            end = _whole(self.text, piece.start)
            if end is not None and end > piece.end:
                found.append(Cut(piece, end, self._cut_finding(piece)))
                behind = end
        return found

    def _is_open(self, piece: Piece) -> bool:
        at = self._cut_at(piece)
        if self.text[at : at + 1] not in ENDINGS:
            return False
        reference = piece.text.endswith("$") and self.text.startswith("{", piece.end)
        return reference or sum(piece.text.count(o) - piece.text.count(c) for o, c in CLOSERS.items()) > 0

    def _cut_finding(self, piece: Piece) -> Diagnostic:
        at = self._cut_at(piece)
        what = ENDINGS[self.text[at]]
        inside = "{ }" if piece.frame.mapping else "[ ]"
        span = self.lines.span(piece.start, at + 1 if at == piece.end else piece.end)
        label = f"YAML reads `{piece.text.translate(UNMASK)}` here, and then {self._next(at, piece.frame)}"
        return Diagnostic(
            "XC010", f"{what} inside {inside} ends the value", span, label, path=piece.path, stage="parse"
        )

    def _cut_at(self, piece: Piece) -> int:
        """Where the sign stands that ended a piece."""
        at = piece.end
        while at < len(self.text) - 1 and self.text[at].isspace():
            at += 1
        return at

    def _next(self, at: int, frame: Frame) -> str:
        if self.text[at] != ",":
            return {"[": "a list", "{": "a mapping", ":": "the value of a key"}[self.text[at]]
        end = next((i for i in range(at + 1, len(self.text)) if self.text[i] in ",[]{}\n"), len(self.text))
        rest = self.text[at + 1 : end].strip().translate(UNMASK)
        return f"{'a key' if frame.mapping else 'an item'} `{rest}`"

    def _fix(self, cut: Cut, document: tree.Tree | None) -> str:
        first = cut.finding.span
        assert first is not None
        expression = " ".join(self.content[cut.piece.start : cut.end].split())
        beside = [c for c in self._cuts if c.finding.span is not None and c.finding.span.line == first.line]
        if len(self.lines.line(first.line)) > MENDED or any(self.lines.place(c.end)[0] != first.line for c in beside):
            return f"put it in quotes: {_quoted(expression)}" if len(expression) <= MENDED else "put it in quotes"
        if len(beside) == 1 and document is not None:
            rewritten = self._as_expression(cut, document)
            if rewritten:
                return rewritten
        line = self.lines.line(first.line)
        for other in sorted(beside, key=lambda c: -c.piece.start):
            start, end = self.lines.place(other.piece.start)[1] - 1, self.lines.place(other.end)[1] - 1
            line = line[:start] + _quoted(line[start:end]) + line[end:]
        return line.strip()

    def _as_expression(self, cut: Cut, document: tree.Tree) -> str | None:
        """The line with the component around the cut written as an expression, where that can be."""
        around = _around(document, *self.lines.place(cut.piece.start))
        if len(around) < 2 or not isinstance(around[-1], tree.Mapping):
            return None
        expression = _component(around[-1])
        if expression is None or cut.piece.path.count(".") < 2:
            return None
        inner, outer = around[-1], around[-2]
        if (
            isinstance(outer, tree.Mapping)
            and outer.flow
            and {e.key.text for e in outer.entries} == {"repeat", "mixer"}
        ):
            repeat = outer.get("repeat")
            assert repeat is not None
            if isinstance(repeat.value, tree.Scalar) and repeat.value.text.isdigit():
                expression, inner, around = f"{repeat.value.text}*{expression}", outer, around[:-1]
        span = inner.span
        if span.line != span.end_line:
            return None
        outer = around[-2]
        within = not isinstance(outer, tree.Scalar) and outer.flow
        line = self.lines.line(span.line)
        text = _quoted(expression) if within else expression
        return (line[: span.column - 1] + text + line[span.end_column - 1 :]).strip()


def _whole(text: str, start: int) -> int | None:
    """Where an expression that begins at `start` ends when brackets count; None if they never close."""
    stack: list[str] = []
    at = start
    while at < min(len(text), start + REACH):
        character = text[at]
        if character == '"':
            at = text.find('"', at + 1)
            if at < 0:
                return None
        elif character in CLOSERS:
            stack.append(CLOSERS[character])
        elif stack and character == stack[-1]:
            stack.pop()
        elif character in ")]}" and stack:
            return None
        elif not stack and character in ",]}\n":
            return start + len(text[start:at].rstrip())
        at += 1
    return None


def _around(document: tree.Tree, line: int, column: int) -> list[tree.Tree]:
    """The collections around a place, outermost first."""
    found: list[tree.Tree] = []
    here: tree.Tree | None = document
    while here is not None and not isinstance(here, tree.Scalar):
        found.append(here)
        children = [e.value for e in here.entries] if isinstance(here, tree.Mapping) else list(here.items)
        here = next((c for c in children if _holds(c, line, column)), None)
    return found


def _holds(node: tree.Tree, line: int, column: int) -> bool:
    span = node.span
    return (span.line, span.column) <= (line, column) < (span.end_line, span.end_column)


def _component(mapping: tree.Mapping) -> str | None:
    """A mapping with `type` and simple options as an expression."""
    first = mapping.entries[0] if mapping.entries else None
    if not mapping.flow or first is None or first.key.text != "type" or not isinstance(first.value, tree.Scalar):
        return None
    options = []
    for entry in mapping.entries[1:]:
        if not isinstance(entry.value, tree.Scalar):
            return None
        options.append(f"{entry.key.text}={entry.value.text.translate(UNMASK)}")
    expression = f"{first.value.text}({', '.join(options)})"
    try:
        parse_expression(tree.Scalar(expression, first.value.span))
    except SpecError:
        return None
    return expression


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'
