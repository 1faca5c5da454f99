"""Say in plain words why YAML cannot read a text."""

from __future__ import annotations

import re
from typing import Any

import attrs

from xcompose.diagnostics import Diagnostic, Note
from xcompose.spec.places import Lines

KEY_AND_TEXT = re.compile(r"^(?P<before>\s*(?:- +)*[^\s:#'\"\[\]{},&*!|>%@`][^:#]*: +)(?P<text>[^\s'\"\[{|>].*?)\s*$")


@attrs.frozen
class Colon:
    """A plain text with a colon in it, and where it must be masked."""

    start: int
    end: int
    finding: Diagnostic


def cut_text(error: Any, lines: Lines) -> Colon | None:
    """The finding, if what YAML cannot read is `about: Three layers: cheap`."""
    mark = error.problem_mark
    if "mapping values are not allowed" not in (error.problem or "") or mark is None:
        return None
    line = lines.line(mark.line + 1)
    match = KEY_AND_TEXT.match(line)
    if match is None or match.start("text") > mark.column:
        return None
    text, at = match["text"], lines.offset(mark.line + 1, match.start("text") + 1)
    comment = re.search(r"\s#", text)
    text = text[: comment.start()].rstrip() if comment else text
    span = lines.span(at, lines.offset(mark.line + 1, mark.column + 2))
    quoted = f"'{text}'" if '"' in text or "\\" in text else f'"{text}"'
    fixes = (match["before"].strip() + f" {quoted}",)
    label = "YAML takes this for a key inside the value"
    finding = Diagnostic("XC009", "a colon ends the text", span, label, fixes=fixes, stage="parse")
    return Colon(at, at + len(text), finding)


def syntax_finding(error: Any, lines: Lines) -> Diagnostic:
    """One finding for a text that YAML cannot read."""
    problem, context = error.problem or "", error.context or ""
    text = lines.text
    last = max(len(text) - 1, 0)
    at = min(error.problem_mark.index if error.problem_mark else 0, last)
    opened = min(error.context_mark.index, last) if error.context_mark else at
    found = _Finder(lines, text, at, opened)
    line = lines.line(lines.place(at)[0])
    if "\t" in line[: len(line) - len(line.lstrip())] or text[at : at + 1] == "\t":
        return found.tab()
    for words, explain in (
        ("quoted scalar", found.quote),
        ("escape", found.escape),
        ("cannot start any token", found.first_character),
        ("alphabetic or numeric", found.first_character),
        ("tag", found.first_character),
        ("block scalar", found.block_text),
        ("flow", found.flow),
        ("block mapping", found.block),
        ("block collection", found.block),
        ("simple key", found.no_colon),
        ("mapping values", found.colon),
        ("document start", found.behind),
    ):
        if words in context or words in problem:
            return explain()
    return found.finding(f"YAML cannot read this: {problem}", at, at + 1)


class _Finder:
    def __init__(self, lines: Lines, text: str, at: int, opened: int):
        self.lines, self.text, self.at, self.opened = lines, text, at, opened

    def finding(self, message: str, start: int, end: int, label: str = "", **facts: Any) -> Diagnostic:
        return Diagnostic("XC004", message, self.lines.span(start, end), label, stage="parse", **facts)

    def rest(self, start: int) -> tuple[str, int]:
        """What stands from `start` to the end of its line, without a comment, and where it ends."""
        end = self.text.find("\n", start)
        rest = self.text[start : end if end >= 0 else len(self.text)]
        comment = re.search(r"\s#", rest)
        rest = (rest[: comment.start()] if comment else rest).rstrip()
        return rest, start + max(len(rest), 1)

    def tab(self) -> Diagnostic:
        line, _ = self.lines.place(self.at)
        start = self.text.index("\t", self.lines.offset(line, 1))
        fixes = ("indent with blanks, two a level",)
        return self.finding("a tab where YAML wants blanks", start, start + 1, fixes=fixes)

    def quote(self) -> Diagnostic:
        if self.text[self.at - 1 : self.at + 1].startswith("\\") or self.text[self.at] == "\\":
            return self.escape()
        quote = self.text[self.opened]
        return self.finding(f"the quote {quote} is never closed", self.opened, self.opened + 1, "opened here")

    def escape(self) -> Diagnostic:
        start = self.text.rfind("\\", 0, self.at + 1)
        fixes = ("write the text in single quotes, where a backslash is itself",)
        piece = self.text[start : start + 2]
        return self.finding(f"`{piece}` means nothing in double quotes", start, start + 2, fixes=fixes)

    def first_character(self) -> Diagnostic:
        rest, end = self.rest(self.opened)
        quoted = f"'{rest}'" if '"' in rest or "\\" in rest else f'"{rest}"'
        return self.finding(f"a text cannot begin with `{rest[:1]}`", self.opened, end, fixes=(f"quote it: {quoted}",))

    def block_text(self) -> Diagnostic:
        rest, end = self.rest(self.opened)
        fixes = (f"begin the text on the line below `{rest[:1]}`, further to the right",)
        return self.finding(f"a text stands behind `{rest[:1]}` on its line", self.opened, end, fixes=fixes)

    def flow(self) -> Diagnostic:
        opener = self.text[self.opened]
        if opener not in "{[":
            sign = self.text[self.at]
            return self.finding(
                f"expected a value, found `{sign}`", self.at, self.at + 1, fixes=(f"delete the `{sign}`",)
            )
        closer = "}" if opener == "{" else "]"
        new_line = "\n" in self.text[self.opened : self.at]
        if (new_line and self.text[self.at] == ":") or not self.text[self.at + 1 :].strip():
            return self.finding(f"`{opener}` is never closed", self.opened, self.opened + 1, "opened here")
        message = f"expected `,` or `{closer}`, found `{self.text[self.at]}`"
        notes = (Note(f"`{opener}` opened here", self.lines.span(self.opened, self.opened + 1)),)
        fixes = (f"inside {opener} {closer}, put a value in quotes that holds any of , : [ ] {{ }}",)
        return self.finding(message, self.at, self.at + 1, notes=notes, fixes=fixes)

    def block(self) -> Diagnostic:
        number, column = self.lines.place(self.at)
        before = self.lines.line(number)[: column - 1]
        rest, end = self.rest(self.at)
        if self.text[self.at] in "}]":
            return self.finding(f"`{self.text[self.at]}` closes nothing", self.at, self.at + 1)
        if before.strip(" -"):
            fixes = ("put the whole value in quotes",)
            return self.finding(f"found `{rest}` behind a value that has ended", self.at, end, fixes=fixes)
        if self.at == self.opened:
            return self.finding(f"expected a key, found `{rest}`", self.at, end, fixes=("write a name before the `:`",))
        begun = (Note("the block begins here", self.lines.span(self.opened, self.rest(self.opened)[1])),)
        if column == self.lines.place(self.opened)[1]:
            wanted, found = ("a key", "a list item") if rest.startswith("-") else ("a list item", "a key")
            return self.finding(f"expected {wanted}, found {found}", self.at, end, notes=begun)
        label = f"it stands in column {column}, the block in column {self.lines.place(self.opened)[1]}"
        fixes = ("keys of one mapping stand exactly below each other",)
        return self.finding("the indentation fits nothing above", self.at, end, label, notes=begun, fixes=fixes)

    def no_colon(self) -> Diagnostic:
        rest, end = self.rest(self.opened)
        return self.finding(
            f"expected `key: value`, found `{rest}`", self.opened, end, fixes=("write a `:` and a blank",)
        )

    def colon(self) -> Diagnostic:
        number, _ = self.lines.place(self.at)
        above = number - 1
        while above > 0 and not self.lines.line(above).strip():
            above -= 1
        line = self.lines.line(above) if above else ""
        if above and ":" not in line and not line.lstrip().startswith(("-", "#")):
            words = line.split()
            start = self.lines.offset(above, 1) + len(line) - len(line.lstrip())
            fixes = (f"{words[0]}: {' '.join(words[1:])}",) if len(words) > 1 else ("write a `:` and a blank",)
            message = f"expected `key: value`, found `{line.strip()}`"
            return self.finding(message, start, start + len(line.strip()), fixes=fixes)
        start = self.lines.offset(number, 1) + len(self.lines.line(number)) - len(self.lines.line(number).lstrip())
        label = "the key above it has a value already, so nothing may be indented below"
        return self.finding("a key inside a value", start, self.at + 1, label, fixes=("mend the indentation",))

    def behind(self) -> Diagnostic:
        rest, end = self.rest(self.at)
        return self.finding(f"found `{rest}` behind the end of the spec", self.at, end, fixes=("delete it",))
