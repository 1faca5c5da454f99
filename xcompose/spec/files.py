"""Reads spec files, and gathers what a spec is made of: its bases, its own text, its variants, its overrides."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import attrs

from xcompose.cache import digest
from xcompose.diagnostics import Diagnostic, Note, Span, SpecError
from xcompose.diagnostics.suggest import suggest
from xcompose.spec import settings, tree, yaml
from xcompose.spec.findings import Findings, Refused
from xcompose.spec.merge import TOP, Given, Source, Stack, entries, is_null, lookup, until_null
from xcompose.spec.reading import beginning, look, package_folder
from xcompose.spec.settings import INHERITED, KEYS, VARIED
from xcompose.spec.yaml import SUFFIX

if TYPE_CHECKING:
    from xcompose.spec.resolver import Resolver

FILES = 10
OPENED = 100
MARKS = ("pyproject.toml", ".git")
SNAKE = re.compile(r"[a-z][a-z0-9_]*")


@attrs.frozen
class Gathered:
    """Everything that was given for each section, newest first."""

    sections: dict[str, Stack]
    variants: tuple[str, ...]
    stage: int
    """Of the newest variant applied, or of the file itself."""


@attrs.frozen
class Document:
    """A spec's text, and where it is."""

    shown: str
    """How findings name the file."""
    place: Path | None
    """None for a text that is in no file."""
    boundary: Path | None
    """The folder that `extends` may not leave."""
    root: tree.Mapping
    hints: tuple[Diagnostic, ...] = ()
    prefix: str = ""
    """What stands before the path in `shown`: the revision or package that the file is in, with a colon."""

    @property
    def path(self) -> str:
        """`shown` without the revision or the package."""
        return self.shown.removeprefix(self.prefix)


class Where(NamedTuple):
    """Where another spec is."""

    place: Path
    shown: str
    """How findings show it."""
    boundary: Path | None
    """What it may not leave."""
    prefix: str
    """As in `Document`."""


def split(reference: str) -> tuple[str, tuple[str, ...]]:
    """A file's name and the variants behind it: `chat.xc.yaml@tiny+int8`."""
    path, mark, names = reference.rpartition(f"{SUFFIX}@")
    if mark:
        return path + SUFFIX, tuple(names.split("+"))
    path, mark, names = reference.rpartition("@")
    package = re.match(r"[A-Za-z_][A-Za-z0-9_]*:", reference)
    if mark and package:
        return path, tuple(names.split("+"))
    return reference, ()


def boundary_of(place: Path) -> Path:
    """The nearest folder upwards with `pyproject.toml` or `.git`, else the file's own."""
    folder = place.resolve().parent
    return next((f for f in (folder, *folder.parents) if any((f / mark).exists() for mark in MARKS)), folder)


def read_file(path: str, shown: str, boundary: Path | None = None, prefix: str = "") -> Document:
    """Read a spec file; the arguments are as in `Document`.

    Raises:
        SpecError: it cannot be read, or its text is wrong.
    """
    parsed = yaml.read(yaml.file_bytes(path, shown), shown)
    if parsed.tree is None:
        raise SpecError(parsed.diagnostics)
    place = Path(path).resolve()
    return Document(shown, place, boundary or boundary_of(place), parsed.tree, parsed.diagnostics, prefix)


def gather(document: Document, variants: Sequence[str], sets: Sequence[str], findings: Findings) -> Gathered:
    """Bases, own file, variants and overrides of a spec, in this order."""
    found = _one(document, variants, findings, [_name(document)], own=True)
    for number, text in enumerate(sets, start=1):
        try:
            entry = yaml.parse_override(text, number)
        except SpecError as error:
            for diagnostic in error.diagnostics:
                findings.add(diagnostic)
            continue
        _override(entry, text, document, found.sections, findings)
    sections = {name: until_null(stack) for name, stack in found.sections.items()}
    return attrs.evolve(found, sections={name: stack for name, stack in sections.items() if stack})


def _override(entry: tree.Entry, text: str, document: Document, sections: dict[str, Stack], findings: Findings) -> None:
    folder = document.place.parent if document.place else None
    source = Source(f"--set {text}", "set", TOP, paths=True, folder=folder)
    whole = Given(tree.Mapping((entry,), entry.value.span), source, patch=True)
    if entry.key.text.partition(".")[0] not in KEYS:
        sections["model"] = [attrs.evolve(whole, path="model"), *sections.get("model", [])]
        return
    for name, given in entries(whole):
        if name in VARIED:
            sections[name] = [given, *sections.get(name, [])]
        else:
            findings.report("XC028", f"'{name}' cannot be changed by an override", given.key)


def _name(document: Document) -> str:
    return str(document.place) if document.place else document.shown


def _one(
    document: Document, variants: Sequence[str], findings: Findings, chain: list[str], own: bool, at: Span | None = None
) -> Gathered:
    """One file with its bases and variants; `at` is where it is named."""
    extends = document.root.get("extends")
    folder = document.place.parent if document.place else None
    stage = 1 if own else 0
    source = Source("", "own" if own else "base", stage, extends is not None, folder)
    root = Given(document.root, source)
    sections = _sections(root, KEYS, findings)
    _version(document, findings)
    known = _variants(sections.pop("variants", []), findings)
    if extends is not None:
        for name, stack in _bases(document, lookup(root, "extends")[0], findings, chain).items():
            sections[name] = sections.get(name, []) + stack
    sections.pop("extends", None)
    for number, name in enumerate(variants):
        if name not in known:
            _no_variant(document, name, known, findings, at)
            continue
        stage = 2 + number if own else 0
        changes = attrs.evolve(
            known[name], source=Source(f"variants.{name}", "variant" if own else "base", stage, True, folder), path=""
        )
        for section, stack in _sections(changes, VARIED, findings, f"variant {name}").items():
            sections[section] = stack + sections.get(section, [])
    return Gathered(sections, tuple(known), 1 + len(variants) if own else 0)


def _sections(root: Given, known: Sequence[str], findings: Findings, owner: str = "a spec") -> dict[str, Stack]:
    found: dict[str, Stack] = {}
    for name, given in entries(root):
        if name in known:
            found[name] = [given, *found.get(name, [])]
            continue
        fixes = tuple(suggest(name, known))
        if name in findings.homes:
            fixes = (f"'{name}' belongs under '{findings.homes[name]}'; check the indentation",)
        if "." in name:
            fixes = ("keys may be paths in variants and in files with `extends` only",)
        findings.report("XC011", f"{owner} has no section '{name}'", given.key, fixes=fixes)
    return found


def _version(document: Document, findings: Findings) -> None:
    entry = document.root.get("xcompose")
    if entry is None:
        span = document.root.entries[0].key.span if document.root.entries else document.root.span
        message = "a spec says which version of the language it is written in"
        findings.report("XC012", message, span, fixes=(f"begin with: xcompose: {settings.VERSION}",))
    elif not isinstance(entry.value, tree.Scalar) or entry.value.text != str(settings.VERSION):
        text = entry.value.text if isinstance(entry.value, tree.Scalar) else "something else"
        message = f"expected version {settings.VERSION} of the language, found {text}"
        fix = f"xcompose: {settings.VERSION}"
        if text.isdecimal():
            older = 0 < int(text) < settings.VERSION
            fix = f"xcompose migrate {document.shown}" if older else "install a newer xcompose" if int(text) else fix
        label = f"this xcompose reads version {settings.VERSION}"
        findings.report("XC014", message, entry.value.span, label, fixes=(fix,))


def _variants(stack: Stack, findings: Findings) -> dict[str, Given]:
    if not stack:
        return {}
    if not isinstance(stack[0].value, tree.Mapping):
        findings.report("XC014", "'variants' wants a mapping of names to changes", stack[0].span)
        return {}
    found = {}
    for name, given in entries(stack[0], raw=True):
        if not SNAKE.fullmatch(name):
            message = f"a variant's name is snake_case, found '{name}'"
            findings.report("XC026", message, given.key, fixes=("use lower-case letters, digits and _",))
        elif not isinstance(given.value, tree.Mapping):
            findings.report("XC014", f"variant '{name}' wants a mapping of sections", given.span)
        else:
            found[name] = given
    return found


def _no_variant(document: Document, name: str, known: Iterable[str], findings: Findings, at: Span | None) -> None:
    names = list(known)
    fixes = tuple(suggest(name, names))
    if not fixes and names:
        fixes = (f"it has {', '.join(names[:6])}",)
    if not names:
        fixes = ("it has no variants",)
    findings.report("XC026", f"{document.shown} has no variant '{name}'", at, fixes=fixes)


def _bases(document: Document, given: Given, findings: Findings, chain: list[str]) -> dict[str, Stack]:
    """What `extends` brings for each section."""
    value = given.value
    if is_null(given):
        return {}
    if isinstance(value, tree.Scalar):
        return _base(document, value, INHERITED, findings, chain)
    if not isinstance(value, tree.Mapping):
        findings.report("XC014", "'extends' wants a file, or a mapping of sections to files", value.span)
        return {}
    found: dict[str, Stack] = {}
    for entry in value.entries:
        name = entry.key.text
        if name.startswith("x-"):
            continue
        if name not in INHERITED:
            fixes = tuple(suggest(name, INHERITED))
            findings.report("XC011", f"'extends' brings no section '{name}'", entry.key.span, fixes=fixes)
            continue
        if not isinstance(entry.value, tree.Scalar):
            findings.report("XC014", f"'extends.{name}' wants a file", entry.value.span)
            continue
        sections = (name, "let") if name == "model" and value.get("let") is None else (name,)
        found.update(_base(document, entry.value, sections, findings, chain))
    return found


def _base(
    document: Document, scalar: tree.Scalar, sections: Sequence[str], findings: Findings, chain: list[str]
) -> dict[str, Stack]:
    try:
        base, variants = open_base(document, scalar, findings, chain)
    except Refused:
        return {}
    gathered = _one(base, variants, findings, [*chain, _name(base)], own=False, at=scalar.span)
    return {name: stack for name, stack in gathered.sections.items() if name in sections}


def open_base(
    document: Document, scalar: tree.Scalar, findings: Findings, chain: list[str]
) -> tuple[Document, tuple[str, ...]]:
    """A file that `extends` names, and the variants behind its name; `chain` are the files above it.

    Raises:
        Refused: it cannot be read, or is one of those above.
    """
    name, variants = split(scalar.text)
    folder = document.place.parent if document.place else None
    place, shown, boundary, prefix = find(name, scalar.span, folder, document, findings)
    if str(place) in chain:
        circle = [*chain[chain.index(str(place)) :], str(place)]
        names = " -> ".join(Path(p).name for p in circle)
        findings.refuse("XC025", f"specs extend each other: {names}", scalar.span)
    if len(chain) >= FILES:
        findings.refuse("XC025", f"more than {FILES} files in a chain of `extends`", scalar.span)
    findings.opened += 1
    if findings.opened > OPENED:
        findings.refuse("XC025", f"more than {OPENED} files are named by `extends`", scalar.span)
    try:
        return read_file(str(place), shown, boundary, prefix), variants
    except SpecError as error:
        for diagnostic in error.diagnostics:
            note = Note("extended here", scalar.span)
            findings.add(attrs.evolve(diagnostic, notes=(*diagnostic.notes, note)))
        raise Refused from None


def find(name: str, span: Span, folder: Path | None, document: Document, findings: Findings) -> Where:
    """Where another spec is.

    Args:
        name: relative to `folder`, or `package:path/name`.
        span: where it is written.
        folder: of the file that names it.
        document: the file, or the one that it is a base of.
        findings: collects what is wrong.

    Raises:
        Refused: it is not there, or outside the project.
    """
    package = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*):(.+)", name)
    if package:
        return _in_package(package[1], package[2], span, findings)
    if folder is None:
        findings.refuse("XC025", "a spec that is in no file cannot name another file", span)
    if os.path.isabs(name):
        fixes = ("name it relative to this file",)
        findings.refuse("XC025", f"the name of a spec is relative to this file, found '{name}'", span, fixes=fixes)
    place, there = _placed(folder, name, span, findings)
    if document.boundary is not None and not place.is_relative_to(document.boundary):
        label = f"the project ends at {document.boundary.name}/"
        findings.refuse("XC025", f"'{name}' is outside the project", span, label)
    shown = os.path.normpath(os.path.join(os.path.dirname(document.path), name))
    if not there:
        _not_there(name, place, span, findings)
    return Where(place, document.prefix + shown, document.boundary, document.prefix)


def _placed(folder: Path, name: str, span: Span, findings: Findings) -> tuple[Path, bool]:
    """Where a file is, and whether it is there."""
    try:
        place = (folder / name).resolve()
        return place, place.is_file()
    except (OSError, RuntimeError) as error:  # too long a name, or links in a circle
        reason = (getattr(error, "strerror", None) or str(error).partition(" from ")[0]).lower()
        findings.refuse("XC025", f"no file can be read there: {reason}", span)


def _in_package(package: str, name: str, span: Span, findings: Findings) -> Where:
    folder = package_folder(package)
    if folder is None:
        findings.refuse("XC025", f"no package '{package}' is installed", span)
    place, there = _placed(folder, name if name.endswith(SUFFIX) else name + SUFFIX, span, findings)
    if not place.is_relative_to(folder):
        findings.refuse("XC025", f"'{name}' is outside the package '{package}'", span)
    if not there:
        _not_there(name, place, span, findings)
    return Where(place, f"{package}:{place.relative_to(folder).as_posix()}", folder, f"{package}:")


def _not_there(name: str, place: Path, span: Span, findings: Findings) -> NoReturn:
    there = [p.name for p in place.parent.glob(f"*{SUFFIX}")] if place.parent.is_dir() else []
    fixes = tuple(suggest(place.name, there))
    findings.refuse("XC025", f"there is no file '{name}'", span, fixes=fixes)


class SpecName(str):
    """Where another spec is: an absolute path, with its variants behind it."""

    __slots__ = ()

    def relative_to(self, folder: str | os.PathLike[str]) -> str:
        """As a spec in `folder` names it."""
        path, variants = split(self)
        return "@".join([os.path.relpath(path, Path(folder).resolve()), *(["+".join(variants)] if variants else [])])

    def content(self) -> str:
        """A digest of what its file holds; empty where it cannot be read."""
        try:
            return digest(beginning(Path(split(self)[0])))
        except OSError:
            return ""


def named(resolver: Resolver, text: str, given: Given) -> SpecName:
    """The path of a spec that an option names, with its variants."""
    name, variants = split(text)
    place = find(name, given.span, given.source.folder, resolver.document, resolver.findings).place
    look(place)
    return SpecName("@".join([str(place), "+".join(variants)] if variants else [str(place)]))


def variants_of(file: str | Path) -> tuple[str, ...]:
    """The names that `FILE@NAME` takes.

    Raises:
        SpecError: the file cannot be read.
    """
    document = read_file(str(file), str(file))
    entry = document.root.get("variants")
    if entry is None or not isinstance(entry.value, tree.Mapping):
        return ()
    return tuple(e.key.text for e in entry.value.entries if SNAKE.fullmatch(e.key.text))
