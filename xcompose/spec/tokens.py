"""Cut the text of an expression into tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import attrs

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.spec.tree import Scalar

Kind = Literal["word", "number", "string", "reference", "sign", "end"]

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[-./][A-Za-z0-9_]+)*(?:@[A-Za-z0-9_]*)?")
NUMBER = re.compile(r"[0-9](?:[eE][+-](?=[0-9])|[A-Za-z0-9_.])*")
NAME = re.compile(r"(?:{w}/)?{w}(?:@[0-9]+)?".replace("{w}", r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"))
OPTION = re.compile(r"[a-z][a-z0-9_]*")
STRICT_NUMBER = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?(?:[KMGT]i|[kMGTx])?")
SIGNS = "()[],=*|&-"


@attrs.frozen
class Token:
    """A piece of an expression's text; of a string or a reference, `text` is what stands inside."""

    kind: Kind
    text: str
    start: int
    end: int

    def __str__(self) -> str:
        return {"end": "the end", "string": f'"{self.text}"', "reference": f"${{{self.text}}}"}.get(
            self.kind, self.text
        )

    @property
    def quoted(self) -> str:
        return "the end" if self.kind == "end" else f"`{self}`"


def fail(
    scalar: Scalar, start: int, end: int, message: str, label: str = "", fixes: Iterable[str] = (), path: str = "",
    code: str = "XC016",
) -> SpecError:  # fmt: skip
    """The error for `scalar.text[start:end]`."""
    span = scalar.span_of(start, max(end, start + 1))
    return SpecError(Diagnostic(code, message, span, label, path=path, fixes=tuple(fixes), stage="parse"))


def tokens(scalar: Scalar, path: str = "") -> list[Token]:
    """The tokens of a scalar's text, the last one of kind `end`.

    Raises:
        SpecError: a character, a number, a string or a reference that is not well formed.
    """
    text, at, found = scalar.text, 0, []
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token = _token(scalar, at, path)
        found.append(token)
        at = token.end
    behind = len(text.rstrip())
    return [*found, Token("end", "", behind, behind)]


def _token(scalar: Scalar, at: int, path: str) -> Token:
    text = scalar.text
    if text[at] in SIGNS:
        return Token("sign", text[at], at, at + 1)
    if text[at] == '"':
        end = text.find('"', at + 1)
        if end < 0:
            raise fail(scalar, at, at + 1, 'the quote " is never closed', "opened here", path=path)
        if "\\" in text[at:end]:
            raise fail(scalar, at, end + 1, "a string holds no backslash", fixes=("leave it out",), path=path)
        return Token("string", text[at + 1 : end], at, end + 1)
    if text.startswith("${", at):
        return _reference(scalar, at, path)
    word = WORD.match(text, at)
    if word:
        return Token("word", word[0], at, word.end())
    number = NUMBER.match(text, at)
    if number:
        _check_number(scalar, number, path)
        return Token("number", number[0], at, number.end())
    raise _strange(scalar, at, path)


def _reference(scalar: Scalar, at: int, path: str) -> Token:
    text = scalar.text
    end = text.find("}", at)
    inner = text.find("${", at + 2)
    if 0 <= inner < end:
        raise fail(
            scalar, inner, inner + 2, "a reference inside a reference", fixes=("write the path alone",), path=path
        )
    if end < 0:
        behind = at + 2 + len(re.match(r"[a-z0-9_.]*", text[at + 2 :])[0])  # type: ignore[index]
        fixes = (f"{text[:behind].lstrip()}}}{text[behind:].rstrip()}",)
        raise fail(scalar, at, at + 2, "`${` is never closed", "opened here", fixes, path)
    return Token("reference", text[at + 2 : end], at, end + 1)


def _check_number(scalar: Scalar, number: re.Match[str], path: str) -> None:
    text = number[0]
    if STRICT_NUMBER.fullmatch(text):
        return
    start, end = number.span()
    mended = strict_number(text)
    fixes = (
        (f"write {mended}",) if mended else ("write digits, and one of k M G T Ki Mi Gi Ti x behind them if you like",)
    )
    raise fail(scalar, start, end, f"`{text}` is not a number", fixes=fixes, path=path)


def strict_number(text: str) -> str | None:
    """What somebody may have meant by a number that is not well formed."""
    plain = re.sub(r"(?<=\d)_(?=\d)", "", text)
    plain = re.sub(r"^0+(?=\d)", "", plain)
    plain = f"0{plain}" if plain.startswith(".") else plain
    plain = re.sub(r"\.(?=e|$)", "", plain.replace("E", "e"))
    plain = re.sub(r"K$", "k", re.sub(r"(?<=[kmgt])i$", "i", plain))
    units = {"ki": "Ki", "mi": "Mi", "gi": "Gi", "ti": "Ti", "m": "M", "g": "G", "t": "T", "X": "x"}
    unit = re.search(r"[A-Za-z]+$", plain)
    if unit and unit[0] in units:
        plain = plain[: unit.start()] + units[unit[0]]
    return plain if STRICT_NUMBER.fullmatch(plain) else None


def _strange(scalar: Scalar, at: int, path: str) -> SpecError:
    text = scalar.text
    character = text[at]
    if path_of_a_file := re.match(r"\.{1,2}/[^\s,()\[\]\"]*", text[at:]):
        name = path_of_a_file[0]
        fixes = (f'write "{name}"',)
        return fail(scalar, at, at + len(name), "a file's name stands in double quotes", fixes=fixes, path=path)
    if character == ".":
        digits = NUMBER.match(text, at + 1)
        fixes = (f"write 0.{digits[0]}",) if digits else ()
        return fail(
            scalar, at, digits.end() if digits else at + 1, "a number begins with a digit", fixes=fixes, path=path
        )
    hints = {
        "'": ('strings stand in double quotes: "text"',),
        "{": ("write the component around it as a mapping with `type:`",),
        "$": ("a reference is written ${name}",),
        ":": ("an option is written option=value",),
        "+": ("arithmetic belongs into ${...}; patterns are joined by | & -",),
        "/": ("arithmetic belongs into ${...}",),
    }
    return fail(
        scalar, at, at + 1, f"`{character}` has no meaning in an expression", fixes=hints.get(character, ()), path=path
    )
