"""Writes a resolved spec back: as text with every default, as plain data, as a fingerprint of what the model is."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml as pyyaml

from xcompose.spec.components import OPERATORS
from xcompose.spec.files import SpecName
from xcompose.spec.model import Expectation, Layer, Node, Section, Spec
from xcompose.spec.settings import VERSION

WIDTH = 96
BARE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SIGNS = {name: sign for sign, name in OPERATORS.items()}
CONSTANTS = ("true", "false", "null")
QUOTABLE = re.compile(r'[^"\\\n\r\t]*')


def freeze(spec: Spec, folder: str | os.PathLike[str] | None = None) -> str:
    """The text of a spec with all its defaults, which loads back to an equal one.

    Layers are written out, so blocks and `let` are gone, and with them `search` and `variants`, which turn them.

    Args:
        spec: what to write.
        folder: where the text will stand, for the names of other specs in it; beside the spec's file if not said.
    """
    return dump(as_data(spec, folder, short=True))


def dump(data: dict[str, Any]) -> str:
    """Plain data as the text of a spec, in the order that it has."""
    return pyyaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


class _Dumper(pyyaml.SafeDumper):
    """Indents the items of lists."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def as_data(spec: Spec, folder: str | os.PathLike[str] | None = None, *, short: bool = False) -> dict[str, Any]:
    """A resolved spec as mappings, lists, texts and numbers; with `short`, components as expressions where they fit."""
    writer = _Writer(spec, Path(folder) if folder is not None else Path(spec.file).parent, short)
    found: dict[str, Any] = {"xcompose": VERSION, "name": spec.name}
    found.update({"about": spec.about} if spec.about else {})
    found.update({"paper": list(spec.paper)} if spec.paper else {})
    if spec.model is not None:
        found["model"] = writer.model(spec.model)
    if spec.addons:
        found["addons"] = [writer.value(addon) for addon in spec.addons]
    if spec.task is not None:
        found["task"] = writer.value(spec.task)
    if spec.train:
        found["train"] = {key: writer.value(value) for key, value in spec.train.items() if not _empty(value)}
    if spec.expect:
        found["expect"] = writer.value(spec.expect)
    return found


def written(value: Any) -> str:
    """A value as a spec would say it, on one line."""
    said = _Writer(Spec("", ""), Path(), True).expression(value)
    return str(value) if said is None else said


def fingerprint(spec: Spec) -> str:
    """What the model is: 64 hexadecimal digits of its model and addons after resolution, wherever they are written."""
    data = [identity(spec.model), [identity(addon) for addon in spec.addons]]
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def identity(value: Any) -> Any:
    """What a value means, as plain data: equal for equal meanings, wherever they are written."""
    match value:
        case Node(kind=kind, name=name, options=options):
            return {"is": [kind, name], **{key: identity(item) for key, item in options.items()}}
        case Layer(options=options) | Section(options=options):
            return {key: identity(item) for key, item in options.items()}
        case Mapping():
            return {key: identity(item) for key, item in value.items()}
        case list() | tuple():
            return [identity(item) for item in value]
        case SpecName():
            return [os.path.basename(value), value.content()]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _empty(value: Any) -> bool:
    return value is None or value == () or value == {}


@attrs.define
class _Writer:
    spec: Spec
    folder: Path
    short: bool

    def model(self, node: Node) -> dict[str, Any]:
        found: dict[str, Any] = {"type": node.name}
        for name, value in node.options.items():
            if isinstance(value, Section):
                found[name] = self._section(value, node.options)
            elif _is_layers(value):
                found[name] = self.layers(value, node.options)
            elif not _empty(value):
                found[name] = self.value(value)
        return found

    def _section(self, section: Section, model: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in section.options.items():
            if _is_layers(value):
                found[name] = self.layers(value, section.options)
            elif name not in model or model[name] != value:
                found[name] = self.value(value)
        return found

    def layers(self, layers: tuple[Layer, ...], around: Mapping[str, Any]) -> list[Any]:
        """Layer by layer, equal neighbours together, each with what differs from the stack around it."""
        found: list[Any] = []
        for layer, equal in itertools.groupby(layers):
            count = len(list(equal))
            own = {
                name: self.value(value) for name, value in layer.options.items()
                if name not in around or around[name] != value
            }  # fmt: skip
            found.append(count if not own else {"repeat": count, **own} if count > 1 else own)
        return found

    def value(self, value: Any) -> Any:
        match value:
            case Node():
                return self._node(value)
            case SpecName():
                return value.relative_to(self.folder)
            case bool() | int() | float() | str() | None:
                return value
            case tuple() if value and isinstance(value[0], Expectation):
                return self._expectations(value)
            case Mapping():
                return {key: self.value(item) for key, item in value.items() if not _empty(item)}
            case tuple() if _is_layers(value):
                return self.layers(value, {})
            case list() | tuple() if _is_shared(value):
                return [{"shares": share, "use": self.value(node)} for share, node in value]
            case list() | tuple():
                return [self.value(item) for item in value]
        return str(value)

    def _node(self, node: Node) -> Any:
        text = self.expression(node) if self.short else None
        if text is not None and len(text) <= WIDTH:
            return text
        return {"type": node.name, **{name: self.value(value) for name, value in self._options(node).items()}}

    def _options(self, node: Node) -> dict[str, Any]:
        return {
            name: value for name, value in node.options.items() if value is not None and name not in node.inherited
        }  # fmt: skip

    def expression(self, value: Any) -> str | None:
        """An expression, or None where only a mapping can say it."""
        match value:
            case Node(kind="pattern", name=name, options={"of": (_, _, *_) as members}) if name in SIGNS:
                return self._joined(SIGNS[name], name, tuple(members))
            case Node():
                arguments = [(name, self.expression(item)) for name, item in self._options(value).items()]
                if None in [text for _, text in arguments]:
                    return None
                written = ", ".join(f"{name}={text}" for name, text in arguments)
                return f"{value.name}({written})" if written else value.name
            case bool():
                return "true" if value else "false"
            case int() | float():
                return repr(value)
            case SpecName():
                return f'"{value.relative_to(self.folder)}"'
            case str():
                bare = BARE.fullmatch(value) and value not in CONSTANTS
                return value if bare else f'"{value}"' if QUOTABLE.fullmatch(value) else None
            case tuple() if _is_layers(value):
                return None
            case list() | tuple() if _is_shared(value):
                pairs = [(share, self.expression(node)) for share, node in value]
                if None in [text for _, text in pairs]:
                    return None
                return f"[{', '.join(str(text) if share == 1 else f'{share}*{text}' for share, text in pairs)}]"
            case list() | tuple():
                items = [self.expression(item) for item in value]
                return None if None in items else f"[{', '.join(map(str, items))}]"
        return None

    def _joined(self, sign: str, name: str, members: tuple[Node, ...]) -> str | None:
        """Patterns joined by an operator, where the parser gives the same tree back."""
        operands = []
        for member in members:
            text = self.expression(member)
            if text is None or (member.name == name and sign == "|"):
                return self._called(name, members)
            operands.append(f"({text})" if member.name in SIGNS else text)
        return f" {sign} ".join(operands) if sign == "|" or len(members) == 2 else self._called(name, members)

    def _called(self, name: str, members: tuple[Node, ...]) -> str | None:
        text = self.expression(members)
        return None if text is None else f"{name}(of={text})"

    @staticmethod
    def _expectations(found: tuple[Expectation, ...]) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for key, group in itertools.groupby(sorted(found, key=lambda e: e.key), key=lambda e: e.key):
            texts = [e.text for e in group]
            written[key] = texts[0] if len(texts) == 1 else texts
        return {key: written[key] for key in dict.fromkeys(e.key for e in found)}


def _is_layers(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(item, Layer) for item in value)


def _is_shared(value: Any) -> bool:
    return bool(value) and all(
        isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], int) and isinstance(item[1], Node)
        for item in value
    )


def to_omegaconf(spec: Spec) -> Any:
    """The resolved spec as an OmegaConf `DictConfig`; text that looks like one of its interpolations is escaped."""
    from omegaconf import OmegaConf

    return OmegaConf.create(_escaped(as_data(spec)))


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value
