"""What a frozen spec means: a record of it, in a section of its own file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from xcompose.schema import ComponentSchema
from xcompose.spec import settings
from xcompose.spec.catalogue import Catalogue, canonical
from xcompose.spec.files import SpecName
from xcompose.spec.freeze import as_data, dump
from xcompose.spec.model import Expectation, Layer, Node, Section, Spec

SHORT = 12
"""Hexadecimal digits of a component's digest."""
SECTIONS = ("model", "addons", "task", "train")
"""What means something; what is expected is recorded apart."""
LONGEST = 512
"""Rows at which it is compared who may read whom."""


def signed(
    spec: Spec,
    catalogue: Catalogue,
    folder: str | os.PathLike[str] | None = None,
    model: Any = None,
    reads: str = "",
    names: Spec | None = None,
) -> str:
    """The text of a frozen spec with the record of what it means.

    Args:
        spec: what to write.
        catalogue: the components there are.
        folder: where the text will stand, as for `freeze`.
        model: as the spec builds it, on any device; what it holds is recorded, too.
        reads: who may read whom in it: a length and a digest.
        names: the same spec, naming other specs where they are now; `spec` itself if not said.
    """
    specs = digests_of_named(names or spec, catalogue)
    return dump({**as_data(spec, folder, short=True), "frozen": record(spec, catalogue, model, reads, specs)})


def unsigned(text: str) -> str:
    """A frozen text without the record, which stands at its end."""
    return text.partition("\nfrozen:\n")[0].rstrip("\n") + "\n"


def record(
    spec: Spec, catalogue: Catalogue, model: Any = None, reads: str = "", specs: Sequence[str] = ()
) -> dict[str, Any]:
    """What a spec means now, as plain data; the arguments are as for `signed`, and `specs` of those that it names."""
    components: dict[str, dict[str, str]] = {}
    plugins = {"xcompose": version_of("xcompose")}
    for kind, name in sorted({(node.kind, node.name) for node in nodes(spec)}):
        schema = catalogue.get(kind, name)
        if schema is not None:
            components.setdefault(kind, {})[name] = f"{schema.distribution} {signature(schema)}"
            plugins[schema.distribution] = version_of(schema.distribution)
    found = {
        "language": settings.VERSION, "plugins": plugins, "meaning": meaning(spec, catalogue), "components": components,
    }  # fmt: skip
    expected = {"expect": digest_of_expected(spec)} if spec.expect else {}
    named = {"specs": list(specs)} if specs else {}
    holds = {} if model is None else structure(model)
    return {**found, **expected, **named, **holds, **({"reads": reads} if reads else {})}


def structure(model: Any) -> dict[str, Any]:
    """What a model holds: how many parameters, and a digest of its tensors' names and shapes.

    Args:
        model: an `nn.Module` on any device.
    """
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    return {"parameters": sum(p.numel() for p in model.parameters()), "tensors": _digest(shapes)[: 2 * SHORT]}


def signature(schema: ComponentSchema) -> str:
    """A digest of the options of a component: names, types, defaults, bounds, and its version; no sentences.

    The component counts under its first name.
    """
    plain = attrs.asdict(_first(schema), recurse=True, filter=lambda field, _: field.name not in UNSIGNED)
    return _digest(plain)[:SHORT]


UNSIGNED = ("note", "summary", "also", "renamed_from", "distribution")
"""Fields of schemas that change no meaning."""


def meaning(spec: Spec, catalogue: Catalogue, without: frozenset[tuple[str, ...]] = frozenset()) -> str:
    """A digest of what a spec means: model, addons, task and training.

    Options are named as they were named first, and what is not set counts as not there; so neither a new name nor a new
    option that is not set gives another meaning.

    Args:
        spec: what was read.
        catalogue: the components there are.
        without: (kind, component, option) of values to leave out; two empty texts for keys of layers and of training.
    """
    reader = _Meaning(catalogue, without)
    return _digest([reader.of(getattr(spec, name)) for name in SECTIONS])[: 2 * SHORT]


def digest_of_expected(spec: Spec) -> str:
    """Of what a spec expects, in whatever order it says so."""
    return _digest(sorted([one.key, one.text] for one in spec.expect))[:SHORT]


def digests_of_named(spec: Spec, catalogue: Catalogue) -> list[str]:
    """Of each spec that a spec names: a digest of its model and addons; empty where it has errors."""
    from xcompose.spec.resolve import read_named

    found = []
    for name in named_in([getattr(spec, section) for section in SECTIONS]):
        other = read_named(name, catalogue)
        reader = _Meaning(catalogue, frozenset())
        found.append(_digest([reader.of(other.model), reader.of(other.addons)])[: 2 * SHORT] if other else "")
    return found


def named_in(value: Any) -> Iterator[SpecName]:
    """The specs that a value names, in their order."""
    match value:
        case SpecName():
            yield value
        case Node(options=options) | Layer(options=options) | Section(options=options):
            yield from named_in(options)
        case Mapping():
            for key in sorted(value):
                yield from named_in(value[key])
        case list() | tuple():
            for item in value:
                yield from named_in(item)


def nodes(value: Any) -> Iterator[Node]:
    """Every component of a spec or of a part of it."""
    match value:
        case Spec():
            for name in SECTIONS:
                yield from nodes(getattr(value, name))
        case Node(options=options):
            yield value
            yield from nodes(options)
        case Layer(options=options) | Section(options=options):
            yield from nodes(options)
        case Mapping():
            for item in value.values():
                yield from nodes(item)
        case list() | tuple():
            for item in value:
                yield from nodes(item)


@attrs.frozen
class _Meaning:
    """Spells values as plain data."""

    catalogue: Catalogue
    without: frozenset[tuple[str, ...]]

    def of(self, value: Any) -> Any:
        match value:
            case Node(kind=kind, name=name):
                schema = self.catalogue.get(kind, name)
                return {"is": [kind, _first_name(schema, name)], **self._options(value.options, schema, kind, name)}
            case Layer(options=options) | Section(options=options):
                return self._options(options)
            case Mapping():
                return self._options(value)
            case list() | tuple():
                return [self.of(item) for item in value]
            case SpecName():
                return os.path.basename(value)
            case Expectation():
                return [value.key, value.text]
        return value if isinstance(value, bool | int | float | str | None) else str(value)

    def _options(
        self, options: Mapping[str, Any], schema: ComponentSchema | None = None, kind: str = "", name: str = ""
    ) -> dict[str, Any]:
        first = {o.name: o.renamed_from[0] for o in (schema.options if schema else ()) if o.renamed_from}
        return {
            first.get(key, key): self.of(item) for key, item in options.items()
            if not unset(item) and (kind, name, key) not in self.without
        }  # fmt: skip


def unset(value: Any) -> bool:
    """Whether a value says nothing."""
    return value is None or value == () or value == {} or value == []


def _first_name(schema: ComponentSchema | None, name: str) -> str:
    return canonical(_first(schema)) if schema is not None and schema.renamed_from else name


def _first(schema: ComponentSchema) -> ComponentSchema:
    """A component as it was called first."""
    return attrs.evolve(schema, name=schema.renamed_from[0]) if schema.renamed_from else schema


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def version_of(distribution: str) -> str:
    """The installed version of a distribution; nothing where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
