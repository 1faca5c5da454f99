"""What of a frozen spec is different from when it was frozen.

A frozen spec writes every value. So whatever nobody wrote in it and is set all the same came later: an option that was
not there, or a default where there was none. And a value that is another one was edited by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from xcompose.diagnostics import Diagnostic, Note, Span
from xcompose.spec import tree
from xcompose.spec.catalogue import Catalogue
from xcompose.spec.freeze import written
from xcompose.spec.frozen import (
    LONGEST,
    SECTIONS,
    digest_of_expected,
    digests_of_named,
    meaning,
    named_in,
    signature,
    structure,
    unset,
    version_of,
)
from xcompose.spec.model import Layer, Node, Record, Section, Spec

DRIFTED = "XC044"
AGAIN = "freeze it again from its source"
UNDO = "take the edit back"
ELSEWHERE = "if it is meant, make it in the spec that this one was frozen from, and freeze that again"
PARTS = ("addons", "task")


@attrs.frozen
class Later:
    """A value that is set although nobody wrote it."""

    option: str
    value: Any
    path: str
    span: Span | None
    node: Node | None = None
    """The component whose option it is; none for a setting of training."""

    @property
    def key(self) -> tuple[str, ...]:
        """Kind, component and option."""
        return (self.node.kind, self.node.name, self.option) if self.node else ("", "", self.option)


def drift(spec: Spec, catalogue: Catalogue, root: tree.Mapping) -> list[Diagnostic]:
    """What is different, one finding each; nothing for a spec that is not frozen.

    Args:
        spec: as it was read, without variants and overrides.
        catalogue: the components there are.
        root: its text.
    """
    return [] if spec.frozen is None else _Drift(spec, spec.frozen, catalogue, root).findings()


def missing(record: Record, catalogue: Catalogue, root: tree.Mapping) -> list[Diagnostic]:
    """The components of a frozen spec that are not here, with the versions that had them."""
    found = []
    for kind, name, origin, _ in _components(record):
        if catalogue.get(kind, name) is None:
            then, now = record["plugins"].get(origin, ""), version_of(origin)
            label = f"{origin} {now} does not have it" if now else f"{origin} is not installed"
            message = f"the {kind} '{name}' came from {origin} {then} when the spec was frozen"
            found.append(_finding(message, _span(root, "components", kind, name), label, (_install(origin, then),)))
    return found


def rebuilt(spec: Spec, model: Any, reads: Callable[[int], str]) -> list[Diagnostic]:
    """What the model of a frozen spec holds or reads that it did not hold or read, or the other way round.

    Args:
        spec: as it was read.
        model: as it is built now, on any device.
        reads: the digest of who may read whom in it now, in a text of so many rows.
    """
    if spec.frozen is None:
        return []
    found = _holds(spec.frozen, model) or _reads(spec.frozen, reads)
    return [attrs.evolve(one, stage="build", spec=spec.name) for one in found]


def _holds(record: Record, model: Any) -> list[Diagnostic]:
    if record["tensors"] is None:
        return []
    now = structure(model)
    if now == {name: record[name] for name in now}:
        return []
    then, name = record["parameters"], "parameters"
    message = f"the model has {now[name]:,} parameters, and had {then or 0:,} when the spec was frozen"
    if now["parameters"] == then:
        name, message = "tensors", "the model's tensors have other names or shapes than when the spec was frozen"
    label = "equal options build another model now" + _versions(record)
    return [_finding(message, record.spans.get(name), label, _mends(record), path=f"frozen.{name}")]


def _reads(record: Record, reads: Callable[[int], str]) -> list[Diagnostic]:
    if record["reads"] is None:
        return []
    length, _, then = record["reads"].partition(" ")
    if re.fullmatch("[1-9][0-9]{0,3}", length) and int(length) <= LONGEST and reads(int(length)) == then:
        return []
    label = f"equal options read other rows of a text of {length} now" + _versions(record)
    message = "the model's mixers may read other rows than when the spec was frozen"
    return [_finding(message, record.spans.get("reads"), label, _mends(record), path="frozen.reads")]


@attrs.frozen
class _Drift:
    spec: Spec
    record: Record
    catalogue: Catalogue
    root: tree.Mapping

    def findings(self) -> list[Diagnostic]:
        later = {one.key: one for one in _later(self.spec)}
        places: dict[Span | None, list[Later]] = {}
        for one in later.values():
            places.setdefault(one.span, []).append(one)
        found = [*self._versions(), *self._moved(), *(self._came(*together) for together in places.values())]
        of_layers = {("", "", one.option) for one in later.values() if one.node and one.node.kind == "model"}
        if meaning(self.spec, self.catalogue, frozenset(later) | of_layers) != self.record["meaning"]:
            found.append(self._edited())
        return [*found, *self._expected(), *self._named()]

    def _expected(self) -> Iterator[Diagnostic]:
        if self.record["expect"] not in (None, digest_of_expected(self.spec)):
            yield _finding(
                "what the spec expects was edited since it was frozen", _span(self.root, "expect"),
                "a digest of its section 'expect'", (UNDO, ELSEWHERE), path="frozen.expect",
            )  # fmt: skip

    def _named(self) -> Iterator[Diagnostic]:
        """Specs that it names, and that describe another model than they did."""
        then = self.record["specs"]
        if not then:
            return
        names = named_in([getattr(self.spec, section) for section in SECTIONS])
        for name, old, now in zip(names, then, digests_of_named(self.spec, self.catalogue), strict=False):
            if old != now:
                shown = name.relative_to(Path(self.spec.file).parent)
                message = f"'{shown}' is not the model that it was when the spec was frozen"
                label = "a digest of the model and the addons of each spec that is named"
                mends = ("take its edit back, or name the spec that was meant", AGAIN)
                yield _finding(message, _span(self.root, "specs"), label, mends, path="frozen.specs")

    def _versions(self) -> Iterator[Diagnostic]:
        """Warnings of those that have another version: they may compute something else, which no digest shows."""
        origins = {
            origin for kind, name, origin, _ in _components(self.record)
            if (schema := self.catalogue.get(kind, name)) is not None and schema.distribution == origin
        }  # fmt: skip
        for name, then, now in _others(self.record, "xcompose", *origins):
            yield attrs.evolve(
                _finding(
                    f"{name} is {now or 'not installed'} now, and was {then} when the spec was frozen",
                    _span(self.root, "plugins", name), "names, options, tensors and who reads whom are compared; "
                    "what is computed otherwise is not seen", (_install(name, then), AGAIN), path="frozen.plugins",
                ),
                severity="warning",
            )  # fmt: skip

    def _moved(self) -> Iterator[Diagnostic]:
        """Components of another distribution than they were."""
        for kind, name, origin, _ in _components(self.record):
            schema = self.catalogue.get(kind, name)
            if schema is not None and schema.distribution != origin:
                then = f"{origin} {self.record['plugins'].get(origin, '')}".strip()
                now = f"{schema.distribution} {version_of(schema.distribution)}".strip()
                message = f"the {kind} '{name}' comes from {now}, and came from {then} when the spec was frozen"
                mends = (_install(origin, self.record["plugins"].get(origin, "")), AGAIN)
                yield _finding(message, _span(self.root, "components", kind, name), fixes=mends)

    def _came(self, one: Later, *others: Later) -> Diagnostic:
        owner = f"the {one.node.kind} '{one.node.name}'" if one.node else "'train'"
        said = written(one.value)
        message = f"'{one.option}' of {owner} is {said}, and was not set when the spec was frozen"
        label = "a new option, or a new default" + _versions(self.record, self._origin(one.node))
        mends = _mends(self.record, self._origin(one.node))
        notes = [Note(f"'{other.option}' is {written(other.value)}, and was not set either") for other in others]
        return attrs.evolve(_finding(message, one.span, label, mends, path=one.path), notes=tuple(notes))

    def _edited(self) -> Diagnostic:
        changed = [
            f"{kind} '{name}'" for kind, name, _, digest in _components(self.record)
            if (schema := self.catalogue.get(kind, name)) is not None and signature(schema) != digest
        ]  # fmt: skip
        if changed:
            label = f"edited since, or read otherwise: the options of the {', the '.join(changed)} are others now"
            return _finding(
                "the spec means something else than when it was frozen", _span(self.root, "meaning"),
                label + _versions(self.record), (UNDO, *_mends(self.record)), path="frozen.meaning",
            )  # fmt: skip
        label = "its model, addons, task or training are others than then"
        return _finding(
            "the spec was edited since it was frozen", _span(self.root, "meaning"), label,
            (UNDO, ELSEWHERE), path="frozen.meaning",
        )  # fmt: skip

    def _origin(self, node: Node | None) -> str:
        said = self.record["components"].get(node.kind, {}).get(node.name, "") if node else ""
        return said.partition(" ")[0] or "xcompose"


def _span(root: tree.Mapping, *keys: str) -> Span | None:
    """The key that is written last of these below `frozen`."""
    found, here = None, root
    for key in ("frozen", *keys):
        entry = here.get(key) if isinstance(here, tree.Mapping) else None
        if entry is None:
            break
        found, here = entry.key.span, entry.value
    return found


def _components(record: Record) -> Iterator[tuple[str, str, str, str]]:
    """Kind, name, distribution and digest of each component that was used."""
    for kind, names in record["components"].items():
        for name, said in names.items():
            origin, _, digest = said.partition(" ")
            yield kind, name, origin, digest


def _later(spec: Spec) -> Iterator[Later]:
    """Values that are set although nobody wrote them."""
    if spec.model is not None:
        yield from _of(spec.model, set(spec.model.options) - spec.model.written)
    for name in PARTS:
        yield from _of(getattr(spec, name), set())
    yield from _settings(spec.train, "train")


def _of(value: Any, unwritten: set[str]) -> Iterator[Later]:
    """Those in a value; `unwritten` are keys of the model that layers take over."""
    match value:
        case Node():
            for name, item in value.options.items():
                if name in value.written:
                    yield from _of(item, unwritten)
                elif not unset(item) and name not in value.inherited:
                    yield Later(name, item, f"{value.path}.{name}", value.span, value)
        case Layer(options=options) | Section(options=options):
            for name, item in options.items():
                if name not in unwritten:
                    yield from _of(item, unwritten)
        case Mapping():
            for item in value.values():
                yield from _of(item, unwritten)
        case list() | tuple():
            for item in value:
                yield from _of(item, unwritten)


def _settings(value: Any, path: str) -> Iterator[Later]:
    if isinstance(value, Record):
        for name, item in value.items():
            if not unset(item) and name not in value.spans:
                yield Later(name, item, f"{path}.{name}", value.span)
            else:
                yield from _settings(item, f"{path}.{name}")
    else:
        yield from _of(value, set())


def _others(record: Record, *among: str) -> list[tuple[str, str, str]]:
    """Distributions with another version than when the spec was frozen: name, version then, version now.

    Args:
        record: of the frozen spec.
        among: of which; of all that it names if not said.
    """
    known = {name: then for name, then in record["plugins"].items() if then and (not among or name in among)}
    return [(name, then, now) for name, then in known.items() if (now := version_of(name)) != then]


def _versions(record: Record, *among: str) -> str:
    said = [f"{name} {then} then, {now or 'none'} now" for name, then, now in _others(record, *among)]
    return f" ({'; '.join(said)})" if said else ""


def _mends(record: Record, *among: str) -> tuple[str, ...]:
    return (*(_install(name, then) for name, then, _ in _others(record, *among)), AGAIN)


def _install(distribution: str, version: str) -> str:
    if distribution == "xcompose":  # on the public index the bare name is another project's
        return f"take xcompose {version} from its repository"
    return f"pip install {distribution}{f'=={version}' if version else ''}"


def _finding(
    message: str, span: Span | None, label: str = "", fixes: tuple[str, ...] = (), path: str = "frozen"
) -> Diagnostic:
    return Diagnostic(DRIFTED, message, span, label, path=path, fixes=fixes, stage="schema")
