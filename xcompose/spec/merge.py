"""What is given for a place: values from several texts, the newest first, merged only when their type is known.

An override never rewrites the text below it. Every place keeps the whole stack of what was said about it; the type of
the place then decides how much of the stack counts. That is the one override rule, and the history of every value.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from xcompose.diagnostics import Span
from xcompose.spec import tree

Stack: TypeAlias = "list[Given]"

DIGITS = 9
TOP = 1 << 10
"""The stage of overrides: above every variant."""


@attrs.frozen(eq=False)
class Source:
    """A text that gives values."""

    by: str
    """Where it stands in its file: nothing for the file itself, `variants.tiny`, `--set let.w=16`, `default`."""
    role: Literal["base", "own", "variant", "set", "default"]
    stage: int = 0
    """0 for bases, 1 for the own file, 2 and up for variants in their order, `TOP` for overrides."""
    paths: bool = False
    """Whether its keys may be paths."""
    folder: Path | None = None
    """What the names of other specs in it are relative to."""


@attrs.frozen(eq=False)
class Fixed:
    """A value that is typed already."""

    value: Any
    span: Span


DEFAULT = Source("default", "default")


@attrs.frozen(eq=False)
class Given:
    """One value for a place, as one text gives it."""

    value: tree.Tree | tree.Expression | tree.Element | Fixed
    source: Source
    path: str = ""
    """The place, as this text names it."""
    names: Mapping[str, Given] = attrs.field(factory=dict)
    """What `each` calls by a name here."""
    at: Span | None = None
    """Where to point, for texts that stand in no file."""
    patch: bool = False
    """Made from a path: it changes one place and says nothing of the rest."""
    trail: tuple[str, ...] = ()
    """The references that led here."""
    key: Span | None = None
    """Where its key stands."""
    inside: tree.Call | None = None
    """The component whose argument it is."""
    of_path: bool = False
    """Whether its key is part of a path."""

    @property
    def span(self) -> Span:
        return self.at or self.value.span

    def holds(
        self, value: tree.Tree | tree.Expression | tree.Element | Fixed, path: str = "", *, patch: bool = False,
        key: Span | None = None, inside: tree.Call | None = None, of_path: bool = False,
    ) -> Given:  # fmt: skip
        """A value inside this one."""
        return Given(
            plain(value), self.source, path or self.path, self.names, self.at, patch, self.trail, key, inside, of_path
        )


def plain(value: Any) -> Any:
    """An element without a number is its expression."""
    return value.value if isinstance(value, tree.Element) and value.number is None else value


def join(path: str, name: str | int) -> str:
    return f"{path}.{name}" if path else str(name)


def entries(given: Given, raw: bool = False) -> Iterator[tuple[str, Given]]:
    """The keys of a mapping with their values, in the order of writing; notes (`x-*`) are left out.

    A key that is a path gives its first name, and below it a mapping of the rest. With `raw`, keys stay as they are.
    """
    assert isinstance(given.value, tree.Mapping)
    paths = _has_paths(given, raw)
    for entry in given.value.entries:
        text = entry.key.text
        if not text.startswith("x-"):
            head = text.partition(".")[0] if paths else text
            yield head, _below(given, head, entry)


def _has_paths(given: Given, raw: bool) -> bool:
    """Whether the keys of a mapping may be paths."""
    return not raw and (given.source.paths or given.patch)


def _below(given: Given, head: str, entry: tree.Entry) -> Given:
    key = entry.key
    if head == key.text:
        return given.holds(entry.value, join(given.path, head), key=given.at or key.span, of_path=given.patch)
    rest = key.text[len(head) + 1 :]
    span = key.span_of(len(head) + 1, len(key.text)) if rest else key.span
    below = tree.Mapping((tree.Entry(tree.Scalar(rest, span, key.style), entry.value),), entry.value.span)
    return given.holds(below, join(given.path, head), patch=True, key=key.span_of(0, len(head)), of_path=True)


def lookup(given: Given, name: str, raw: bool = False) -> Stack:
    """What a mapping says about one of its keys, newest first."""
    assert isinstance(given.value, tree.Mapping)
    there = given.value.by_name(_has_paths(given, raw)).get(name, ())
    return [_below(given, name, entry) for entry in reversed(there)]


def lookups(stack: Stack, name: str, raw: bool = False) -> Stack:
    """What the mappings of a stack say about one key, newest first."""
    return [value for given in stack if isinstance(given.value, tree.Mapping) for value in lookup(given, name, raw)]


def heads(stack: Stack, raw: bool = False) -> list[str]:
    """All keys of the mappings of a stack, oldest mapping first, each once."""
    found: dict[str, None] = {}
    for given in reversed(stack):
        if isinstance(given.value, tree.Mapping):
            found.update(dict.fromkeys(given.value.by_name(_has_paths(given, raw))))
    return list(found)


def is_null(given: Given) -> bool:
    """Whether this says "as if not written"."""
    value = given.value
    if isinstance(value, tree.Scalar):
        return value.text.strip() == "null"
    if isinstance(value, tree.Literal_):
        return value.kind == "null"
    return isinstance(value, Fixed) and value.value is None


def until_null(stack: Stack) -> Stack:
    """What stands above the newest `null`."""
    return list(itertools.takewhile(lambda given: not is_null(given), stack))


def is_list_patch(given: Given) -> bool:
    """Whether a mapping changes items of a list: its keys are positions."""
    if not isinstance(given.value, tree.Mapping) or not (given.patch or given.source.paths):
        return False
    names = given.value.by_name(_has_paths(given, False))
    return bool(names) and all(is_position(name) for name in names)


def is_position(name: str) -> bool:
    """Whether a name on a path counts items of a list."""
    return name.isascii() and name.isdigit() and len(name) <= DIGITS
