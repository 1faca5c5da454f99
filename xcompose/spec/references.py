"""References: `${w}`, `${model.dim / 8}`. A closed language of whole numbers and paths, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import attrs

from xcompose.diagnostics import Diagnostic, Note, Span, SpecError
from xcompose.diagnostics.suggest import suggest
from xcompose.spec.numbers import Problem, parse_count
from xcompose.spec.tree import Reference, Scalar

CHAIN = 16
LEVELS = 32
OPERATIONS = 64
LARGEST = (1 << 63) - 1
TOKEN = re.compile(
    r"\s*(?:(?P<path>[a-z][a-z0-9_]*(?:\.(?:[a-z][a-z0-9_]*|[0-9]+))*)|(?P<digits>[0-9]+)|(?P<sign>[-+*/()]))"
)


@attrs.frozen
class Digits:
    """A whole number."""

    value: int


@attrs.frozen
class Path:
    """A place from the root, or a name of `let` or `each`."""

    text: str
    start: int
    end: int


@attrs.frozen
class Arithmetic:
    """Two values joined by `+`, `-`, `*` or `/`; `/` must divide."""

    operator: str
    left: Sum
    right: Sum
    start: int
    end: int


Sum: TypeAlias = Digits | Path | Arithmetic

Lookup: TypeAlias = Callable[[str], Any]
"""The value of a path: a whole number, a `Scalar`, a `Reference`, or anything else for a reference that stands alone.
KeyError when there is none."""


def part(scalar: Scalar, start: int, end: int) -> Scalar:
    """`scalar.text[start:end]` as a scalar of its own, with its places."""
    span = scalar.span_of(start, end)
    places = [(0, span.line, span.column)]
    places += [(at - start, line, column) for at, line, column in scalar.places if start < at < end]
    return Scalar(scalar.text[start:end], span, scalar.style, tuple(places))


def as_reference(scalar: Scalar, path: str = "") -> Reference | None:
    """The reference that a value is; None for a value without one.

    Raises:
        SpecError: a reference that is not well formed, or is only a part of the text.
    """
    at = scalar.text.find("${")
    if at < 0:
        return None
    end = scalar.text.find("}", at)
    if end < 0:
        raise _fail(
            scalar, at, at + 2, "`${` is never closed", "opened here", fixes=(scalar.text.strip() + "}",), path=path
        )
    if scalar.text[:at].strip() or scalar.text[end + 1 :].strip():
        label = "a reference is a whole value or a whole argument, never part of a text"
        raise _fail(scalar, at, end + 1, "a reference inside a text", label, path=path)
    found = Reference(scalar.text[at + 2 : end], scalar.span_of(at, end + 1), part(scalar, at + 2, end))
    parse(found, path)
    return found


def parse(reference: Reference, path: str = "") -> Sum:
    """The sum of a reference.

    Raises:
        SpecError: it is not well formed.
    """
    return _Parser(reference, path).parse()


def paths(reference: Reference) -> tuple[str, ...]:
    """The paths that a reference reads, from left to right."""

    def walk(node: Sum) -> tuple[str, ...]:
        if isinstance(node, Arithmetic):
            return walk(node.left) + walk(node.right)
        return (node.text,) if isinstance(node, Path) else ()

    return walk(parse(reference))


def places(reference: Reference, path: str) -> list[tuple[int, int]]:
    """Where a reference reads a path: pieces of its source."""

    def walk(node: Sum) -> list[tuple[int, int]]:
        if isinstance(node, Arithmetic):
            return walk(node.left) + walk(node.right)
        return [(node.start, node.end)] if isinstance(node, Path) and node.text == path else []

    return walk(parse(reference))


def evaluate(reference: Reference, lookup: Lookup, candidates: Iterable[str] = (), path: str = "") -> Any:
    """The value of a reference: what a lone path stands for, or a whole number.

    A value that is itself a reference is followed.

    Args:
        reference: what to evaluate.
        lookup: gives the value of a path; raises KeyError when there is none.
        candidates: names that exist, for suggestions.
        path: the place of the reference, for findings.

    Raises:
        SpecError: an unknown path, a cycle, more than 16 references in a chain, a value that is no whole number in
            arithmetic, a division that leaves a rest.
    """
    return _Evaluator(lookup, tuple(candidates), path).value(reference)


def _fail(scalar: Scalar, start: int, end: int, message: str, label: str = "", **facts: Any) -> SpecError:
    span = scalar.span_of(start, max(end, start + 1))
    return SpecError(Diagnostic(facts.pop("code", "XC020"), message, span, label, stage="parse", **facts))


def _inner(reference: Reference) -> Scalar:
    return reference.inner or Scalar(reference.source, reference.span)


class _Parser:
    def __init__(self, reference: Reference, path: str):
        self.scalar, self.path = _inner(reference), path
        self._depth = self._operations = 0
        self._tokens = self._cut()
        self._at = 0

    def parse(self) -> Sum:
        found = self._sum()
        if self._kind() != "end":
            raise self._unexpected("the end")
        return found

    def _cut(self) -> list[tuple[str, str, int, int]]:
        text, at, found = self.scalar.text, 0, []
        while text[at:].strip():
            match = TOKEN.match(text, at)
            if match is None:
                start = len(text) - len(text[at:].lstrip())
                label = "a reference holds whole numbers, paths, + - * / and brackets"
                raise _fail(self.scalar, start, start + 1, f"`{text[start]}` in a reference", label, path=self.path)
            kind = str(match.lastgroup)
            found.append((kind, match[kind], match.start(kind), match.end(kind)))
            at = match.end()
        return [*found, ("end", "", len(text.rstrip()), len(text.rstrip()))]

    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _sign(self, signs: str) -> str:
        kind, text, _, _ = self._tokens[self._at]
        if kind == "sign" and text in signs:
            self._at += 1
            return text
        return ""

    def _sum(self) -> Sum:
        return self._joined("+-", lambda: self._joined("*/", self._atom))

    def _joined(self, signs: str, operand: Callable[[], Sum]) -> Sum:
        start = self._tokens[self._at][2]
        left = operand()
        while sign := self._sign(signs):
            self._operations += 1
            if self._operations > OPERATIONS:
                end = self._tokens[self._at - 1][3]
                message = f"more than {OPERATIONS} operations in a reference"
                raise _fail(self.scalar, end - 1, end, message, path=self.path, code="XC008")
            right = operand()
            left = Arithmetic(sign, left, right, start, self._tokens[self._at - 1][3])
        return left

    def _atom(self) -> Sum:
        kind, text, start, end = self._tokens[self._at]
        if kind == "path":
            self._at += 1
            return Path(text, start, end)
        if kind == "digits":
            self._at += 1
            if len(text) > 19 or int(text) > LARGEST:
                raise _fail(self.scalar, start, end, "the number is too large", path=self.path)
            return Digits(int(text))
        if self._sign("("):
            return self._bracket(start)
        raise self._unexpected("a number or a path")

    def _bracket(self, start: int) -> Sum:
        self._depth += 1
        if self._depth > LEVELS:
            message = f"more than {LEVELS} levels of brackets"
            raise _fail(self.scalar, start, start + 1, message, path=self.path, code="XC008")
        found = self._sum()
        if not self._sign(")"):
            if self._kind() == "end":
                raise _fail(self.scalar, start, start + 1, "`(` is never closed", "opened here", path=self.path)
            raise self._unexpected("`)`")
        self._depth -= 1
        return found

    def _unexpected(self, wanted: str) -> SpecError:
        kind, text, start, end = self._tokens[self._at]
        found = "the end" if kind == "end" else f"`{text}`"
        message = f"expected {wanted} in a reference, found {found}"
        return _fail(self.scalar, start, end, message, path=self.path)


@attrs.define
class _Evaluator:
    lookup: Lookup
    candidates: tuple[str, ...]
    path: str
    chain: list[tuple[str, Span]] = attrs.field(factory=list)

    def value(self, reference: Reference) -> Any:
        return self._value(parse(reference, self.path), _inner(reference))

    def _value(self, node: Sum, scalar: Scalar) -> Any:
        if isinstance(node, Digits):
            return node.value
        if isinstance(node, Path):
            return self._follow(node, scalar)
        left, right = self._whole(node.left, scalar), self._whole(node.right, scalar)
        return self._calculate(node, left, right, scalar)

    def _follow(self, node: Path, scalar: Scalar) -> Any:
        span = scalar.span_of(node.start, node.end)
        if node.text in [name for name, _ in self.chain]:
            raise self._cycle(node.text, span)
        if len(self.chain) >= CHAIN:
            names = " -> ".join(name for name, _ in self.chain)
            raise self._error("XC022", f"more than {CHAIN} references in a chain", self.chain[0][1], names)
        try:
            found = self.lookup(node.text)
        except KeyError:
            fixes = tuple(suggest(node.text, self.candidates))
            raise self._error("XC021", f"there is no '{node.text}' to refer to", span, fixes=fixes) from None
        target = as_reference(found, self.path) if isinstance(found, Scalar) else found
        if not isinstance(target, Reference):
            return found
        self.chain.append((node.text, span))
        value = self._value(parse(target, self.path), _inner(target))
        self.chain.pop()
        return value

    def _cycle(self, name: str, span: Span) -> SpecError:
        names = [n for n, _ in self.chain]
        first = names.index(name)
        members = [*self.chain[first + 1 :], (name, span)]
        start = min(range(len(members)), key=lambda i: members[i][1])
        turned = [*members[start:], *members[:start]]
        circle = [turned[-1][0], *(n for n, _ in turned)]
        notes = tuple(Note("and this", at) for _, at in turned[1:])
        return self._error("XC022", f"reference cycle: {' -> '.join(circle)}", turned[0][1], notes=notes)

    def _whole(self, node: Sum, scalar: Scalar) -> int:
        found = self._value(node, scalar)
        text = found.text if isinstance(found, Scalar) else str(found)
        value = found if type(found) is int else whole_number(text)
        if value is None and isinstance(node, Path):
            label = f"it is `{text if len(text) <= 40 else text[:37] + '...'}`"
            span = scalar.span_of(node.start, node.end)
            raise self._error("XC023", f"'{node.text}' is no whole number", span, label)
        assert value is not None
        return value

    def _calculate(self, node: Arithmetic, left: int, right: int, scalar: Scalar) -> int:
        span = scalar.span_of(node.start, node.end)
        if node.operator == "/":
            if right == 0:
                raise self._error("XC023", "division by zero", span)
            if left % right:
                below = left - left % right
                fixes = (f"{below:,} and {below + abs(right):,} are divisible by {right:,}",)
                raise self._error("XC023", f"{left:,} is not divisible by {right:,}", span, fixes=fixes)
            return left // right
        result = {"+": left + right, "-": left - right, "*": left * right}[node.operator]
        if abs(result) > LARGEST:
            raise self._error("XC023", "the result is too large", span)
        return result

    def _error(self, code: str, message: str, span: Span, label: str = "", **facts: Any) -> SpecError:
        return SpecError(Diagnostic(code, message, span, label, path=self.path, stage="schema", **facts))


def whole_number(text: str) -> int | None:
    """The number that a text of the type count stands for; None for any other text."""
    try:
        return parse_count(text.removeprefix("-")) * (-1 if text.startswith("-") else 1)
    except Problem:
        return None
