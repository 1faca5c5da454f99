"""Loads specs: from a file with its variants and overrides to a `Spec` with every value, or every finding at once."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from xcompose.diagnostics import Diagnostic, Note, Severity, SpecError
from xcompose.schema import ValueType
from xcompose.spec import drift, expect, files, tree, yaml
from xcompose.spec.bases import frozen_bases
from xcompose.spec.catalogue import Catalogue
from xcompose.spec.files import SNAKE, Document
from xcompose.spec.findings import BROKEN, MOST, Exhausted, Findings, Refused
from xcompose.spec.merge import Stack, heads, lookups
from xcompose.spec.model import Record, Spec
from xcompose.spec.origins import Origins, text_of
from xcompose.spec.resolver import Place, Resolver
from xcompose.spec.scopes import model_scope
from xcompose.spec.settings import SECTIONS, settings_of

FOR_FILES = re.compile(r"[^\W_][^/\\:*?\"<>|\n\t]{0,99}")
"""What a spec may be called: runs and pictures take their file names from it."""
TEXT = ValueType("text")
TEXTS = ValueType("list", of=TEXT)


def load(
    reference: str | os.PathLike[str], sets: Sequence[str] = (), *, catalogue: Catalogue, root: Path | None = None,
    drifted: Severity = "error",
) -> Spec:  # fmt: skip
    """Read a spec.

    Args:
        reference: FILE, or FILE@VARIANT, or FILE@A+B.
        sets: overrides, PATH=VALUE each.
        catalogue: the components there are.
        root: the folder that `extends` may not leave; the project's if not said.
        drifted: what it is when a frozen spec does not mean what it meant: an error, or a warning of Python for those
            who can tell otherwise whether the spec still fits, from weights that were trained by it.

    Raises:
        SpecError: with every finding.
    """
    spec, diagnostics = check(reference, sets, catalogue, root=root, drifted=drifted)
    return _or_raise(spec, diagnostics)


def load_text(
    text: str | bytes | Mapping[str, Any], name: str = "spec", sets: Sequence[str] = (), *, catalogue: Catalogue,
    variants: Sequence[str] = (), folder: Path | None = None, drifted: Severity = "error",
) -> Spec:  # fmt: skip
    """Read a spec that is in no file: YAML text, a mapping, or an OmegaConf `DictConfig`.

    Args:
        text: the spec.
        name: how findings name it.
        sets: overrides.
        catalogue: the components there are.
        variants: which ones to apply.
        folder: what names of other specs in it are relative to; without it, it can name none.
        drifted: as for `load`.

    Raises:
        SpecError: with every finding.
    """
    spec, diagnostics = check_text(text, name, sets, catalogue, variants=variants, folder=folder, drifted=drifted)
    return _or_raise(spec, diagnostics)


def _or_raise(spec: Spec | None, diagnostics: list[Diagnostic]) -> Spec:
    if spec is None:
        raise SpecError(diagnostics)
    for diagnostic in diagnostics:
        if diagnostic.code == drift.DRIFTED:
            warnings.warn(f"{spec.name}: {diagnostic.message}; {'; or '.join(diagnostic.fixes)}", stacklevel=3)
    return spec


def check(
    reference: str | os.PathLike[str], sets: Sequence[str] = (), catalogue: Catalogue | None = None,
    until: str = "schema", root: Path | None = None, drifted: Severity = "error",
) -> tuple[Spec | None, list[Diagnostic]]:  # fmt: skip
    """Read a spec and say everything about it: errors, warnings, hints. There is a spec only without errors.

    Args:
        reference: FILE, or FILE@VARIANT, or FILE@A+B.
        sets: overrides, PATH=VALUE each.
        catalogue: the components there are.
        until: the last stage: `parse` reads the text alone and gives no spec, `schema` everything.
        root: the folder that `extends` may not leave; the project's if not said.
        drifted: the severity of findings about a frozen spec that does not mean what it meant.
    """
    path, variants = files.split(os.fspath(reference))
    try:
        document = files.read_file(path, path, root.resolve() if root else None)
    except SpecError as error:
        return None, list(error.diagnostics)
    if until == "parse":
        return None, list(document.hints)
    return check_document(document, variants, sets, catalogue or Catalogue(), drifted)


def check_text(
    text: str | bytes | Mapping[str, Any], name: str = "spec", sets: Sequence[str] = (),
    catalogue: Catalogue | None = None, *, variants: Sequence[str] = (), folder: Path | None = None,
    drifted: Severity = "error",
) -> tuple[Spec | None, list[Diagnostic]]:  # fmt: skip
    """Like `check`, for a spec that is in no file."""
    from xcompose.spec.interop import as_text

    parsed = yaml.read(text if isinstance(text, str | bytes) else as_text(text), name)
    if parsed.tree is None:
        return None, list(parsed.diagnostics)
    place = folder.resolve() / f"{name}{yaml.SUFFIX}" if folder else None
    document = Document(name, place, files.boundary_of(place) if place else None, parsed.tree, parsed.diagnostics)
    return check_document(document, variants, sets, catalogue or Catalogue(), drifted)


def check_document(
    document: Document, variants: Sequence[str], sets: Sequence[str], catalogue: Catalogue,
    drifted: Severity = "error",
) -> tuple[Spec | None, list[Diagnostic]]:  # fmt: skip
    """Like `check`, for a spec whose text was read."""
    stem = Path(document.path).name.removesuffix(yaml.SUFFIX)
    homes = {field.name: name for name in ("search", "train") for field in SECTIONS[name].fields}
    homes |= {option.name: "model" for schema in catalogue if schema.kind == "model" for option in schema.options}
    findings = Findings("@".join([stem, "+".join(variants)] if variants else [stem]), homes, MOST)
    spec = _read(document, variants, sets, catalogue, findings, stem)
    if spec is not None:
        for finding in _drift(document, spec, [*variants, *sets], catalogue, findings.failed):
            findings.add(attrs.evolve(finding, severity=drifted) if finding.severity == "error" else finding)
        spec = attrs.evolve(spec, frozen=None) if variants or sets else spec
    ordered = sorted(findings.diagnostics, key=_order)
    return (None if findings.failed else spec), ordered


def read_named(name: str, catalogue: Catalogue) -> Spec | None:
    """A spec that another one names, whatever was frozen of it; None where it has errors."""
    path, variants = files.split(name)
    findings = Findings()
    try:
        document = files.read_file(path, path)
    except SpecError:
        return None
    spec = _read(document, variants, (), catalogue, findings, Path(path).name.removesuffix(yaml.SUFFIX))
    return None if findings.failed else spec


def _read(
    document: Document, variants: Sequence[str], sets: Sequence[str], catalogue: Catalogue, findings: Findings,
    stem: str,
) -> Spec | None:  # fmt: skip
    """What a text says; what is wrong with it goes to the findings."""
    for hint in document.hints:
        findings.add(hint)
    try:
        gathered = files.gather(document, variants, sets, findings)
        resolver = Resolver(catalogue, findings, gathered.sections, document)
        return _Sections(resolver, gathered, stem, variants).spec()
    except Exhausted:
        return None


def _drift(
    document: Document, spec: Spec, changes: Sequence[str], catalogue: Catalogue, failed: bool
) -> list[Diagnostic]:
    """What of a frozen spec is different, or of those that it builds on.

    Of one that variants or overrides change, it is what of the file itself is different.
    """
    if failed:
        return drift.missing(spec.frozen, catalogue, document.root) if spec.frozen is not None else []
    alone = [document] if changes and spec.frozen is not None else []
    found = drift.drift(spec, catalogue, document.root) if not changes else []
    for one in [*alone, *frozen_bases(document)]:
        notes = () if one is document else (Note(f"{document.shown} builds on it"),)
        of_it = [d for d in check_document(one, (), (), catalogue)[1] if d.code == drift.DRIFTED]
        found += [attrs.evolve(d, notes=(*d.notes, *notes)) for d in of_it]
    return found


def _order(diagnostic: Diagnostic) -> tuple[Any, ...]:
    span = diagnostic.span
    return (span is not None, (span.file, span.line, span.column) if span else (), diagnostic.code)


class _Sections:
    """Reads every section of a spec."""

    def __init__(self, resolver: Resolver, gathered: files.Gathered, stem: str, variants: Sequence[str]):
        self.resolver, self.gathered, self.stem, self.variants = resolver, gathered, stem, variants

    def spec(self) -> Spec:
        resolver = self.resolver
        self._names_of_let()
        model = self._model()
        addons, task, train, search, frozen = (
            self._section(name) for name in ("addons", "task", "train", "search", "frozen")
        )  # fmt: skip
        length = model.options.get("length") if model is not None else None
        return Spec(
            name=self._name(), file=resolver.document.shown, about=self._text("about"), paper=self._texts("paper"),
            model=model, addons=addons or (), task=task, train=self._train(train, length), search=self._search(search),
            expect=expect.expectations(resolver, "expect", self._stack("expect"), self.gathered.stage),
            variants=self.gathered.variants, let=self._let(), frozen=frozen, origins=Origins(resolver),
        )  # fmt: skip

    def _stack(self, name: str) -> Stack:
        return self.resolver.sections.get(name, [])

    def _model(self) -> Any:
        stack = self._stack("model")
        if not stack:
            return None
        try:
            found = model_scope(self.resolver).read()
        except Refused:
            return None
        return None if found is BROKEN else found

    def _section(self, name: str) -> Any:
        stack = self._stack(name)
        if not stack:
            return None
        scope = self.resolver.scope
        place = Place(name, SECTIONS[name], stack[0].key or stack[0].span, default=None, scope=scope)
        found = self.resolver.typed(attrs.evolve(place, default={} if place.type.name == "record" else None), stack)
        return None if found is BROKEN else found

    def _name(self) -> str:
        named = "+".join(self.variants)
        stack = self._stack("name")
        name = self._text("name") or self.stem
        if stack and name != self.stem and not FOR_FILES.fullmatch(name):
            message = "a spec's name begins with a letter or a digit, and has 100 characters at most and no slash"
            fixes = ("choose another name: folders and pictures are called after it",)
            self.resolver.findings.report("XC093", message, stack[0].span, path="name", fixes=fixes)
        by_variant = bool(stack) and stack[0].source.role in ("variant", "set")
        return f"{name}@{named}" if named and not by_variant else name

    def _text(self, name: str) -> str:
        stack = self._stack(name)
        place = Place(name, TEXT, stack[0].span if stack else self.resolver.origin, default=None)
        found = self.resolver.typed(place, stack)
        return found.strip() if isinstance(found, str) else ""

    def _texts(self, name: str) -> tuple[str, ...]:
        stack = self._stack(name)
        place = Place(name, TEXTS, stack[0].span if stack else self.resolver.origin, default=None)
        found = self.resolver.typed(place, stack)
        return found if isinstance(found, tuple) else ()

    def _train(self, train: Any, length: int | None) -> Mapping[str, Any]:
        if not train:
            return {}
        goal = lookups(self._stack("train"), "goal")
        values = settings_of(train, length)
        if goal:
            values["goal"] = expect.expectations(self.resolver, "train.goal", goal, other=expect.metric)
        return Record(values, train.span, train.spans)

    def _search(self, search: Any) -> Mapping[str, Any]:
        if not search:
            return {}
        from xcompose.spec.choices import choices
        from xcompose.spec.objectives import objectives

        stack = self._stack("search")
        within = lookups(stack, "within")
        return {
            **search,
            "choices": choices(self.resolver, lookups(stack, "choices")),
            "minimize": objectives(self.resolver, lookups(stack, "minimize")),
            "within": expect.expectations(
                self.resolver, "search.within", within, other=expect.metric, more={"latency": expect.latency}
            ),
        }

    def _names_of_let(self) -> None:
        from xcompose.spec.settings import KEYS

        stack = self._stack("let")
        for given in stack:
            if not isinstance(given.value, tree.Mapping):
                self.resolver.findings.report("XC014", "'let' wants a mapping of names to values", given.span)
        for name in heads(stack):
            span = lookups(stack, name)[0].key
            if not SNAKE.fullmatch(name):
                message = f"a name of 'let' is snake_case, found '{name}'"
                fixes = ("use lower-case letters, digits and _",)
                self.resolver.findings.report("XC014", message, span, fixes=fixes, path="let")
            if name in KEYS:
                fixes = ("choose another name",)
                self.resolver.findings.report("XC024", f"'{name}' is a name of 'let' and a section", span, fixes=fixes)

    def _let(self) -> dict[str, str]:
        stack = self._stack("let")
        for name in heads(stack):
            self.resolver.trace.setdefault(f"let.{name}", lookups(stack, name))
        return {name: text_of(lookups(stack, name)[0]) for name in heads(stack)}


def train_settings(spec: Spec, catalogue: Catalogue) -> Mapping[str, Any]:
    """How to train a spec: its own settings, or the defaults where it has none.

    Raises:
        SpecError: a component that the defaults name is not installed.
    """
    if spec.train:
        return spec.train
    length = spec.model.options.get("length") if spec.model is not None else None
    defaults = load_text("xcompose: 1\ntrain: {batch: 8}\n", "defaults", catalogue=catalogue)
    return settings_of({**defaults.train, "length": None}, length)
