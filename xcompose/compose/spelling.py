"""Components as short text: the expression that a spec would write, with what was written in it."""

from __future__ import annotations

from typing import Any

import attrs

from xcompose.registry import Registry
from xcompose.spec.model import Node, Record

OPERATORS = {"union": " | ", "intersection": " & ", "difference": " - "}
BESIDE = ("heads", "kv_heads", "head_dim")
"""What `heads_of` says."""


@attrs.frozen
class Speller:
    """Writes components; the registry says which option needs no name."""

    registry: Registry

    def spelled(self, node: Node) -> str:
        """A component as an expression, with the options that somebody wrote: `window(256) | global(4)`."""
        if node.kind == "pattern" and node.name in OPERATORS:
            return OPERATORS[node.name].join(self._member(one, node) for one in _nodes(node))
        main = self.registry.component(node.kind, node.name).schema.main
        written = {n: v for n, v in node.options.items() if n in node.written and v is not None}
        first = [self._first(written.pop(main.name))] if main and main.name in written else []
        arguments = [*first, *[f"{name}={self.value(value)}" for name, value in written.items()]]
        return f"{node.name}({', '.join(arguments)})" if arguments else node.name

    def detail(self, node: Node) -> str:
        """What a part is made of: the components inside it, and plain options that somebody wrote."""
        texts = []
        for name, value in node.options.items():
            if name == "pattern" and value is None and node.options.get("memory") is None:
                texts.append("dense")
            elif isinstance(value, Node) and value.name != "none":
                texts.append(self.spelled(value))
            elif _holds_nodes(value):
                texts.append(self.value(value))
            elif name in node.written and name not in BESIDE and not isinstance(value, Node):
                texts.append(f"{name}={self.value(value)}")
        return ", ".join(texts)

    def _member(self, one: Node, within: Node) -> str:
        text = self.spelled(one)
        return f"({text})" if one.name in OPERATORS and one.name != within.name else text

    def _first(self, value: Any) -> str:
        """What needs no name; a list of words needs no brackets either."""
        if isinstance(value, tuple) and value and all(isinstance(one, str) for one in value):
            return ", ".join(value)
        return self.value(value)

    def value(self, value: Any) -> str:
        """Any value of an option as text."""
        match value:
            case Node():
                return self.spelled(value)
            case (int(share), Node() as one):
                return f"{share}*{self.spelled(one)}" if share != 1 else self.spelled(one)
            case Record():
                written = {name: one for name, one in value.items() if name in value.spans and one is not None}
                return "{" + ", ".join(f"{name}: {self.value(one)}" for name, one in written.items()) + "}"
            case tuple() if _holds_nodes(value):
                return ", ".join(self.value(one) for one in value)
            case tuple():
                return f"[{', '.join(self.value(one) for one in value)}]"
            case bool():
                return str(value).lower()
            case float():
                return f"{value:g}"
            case _:
                return str(value)


def heads_of(node: Node) -> str:
    """`4 heads of 64`, where a component has heads."""
    heads, width, groups = (node.options.get(name) for name in ("heads", "head_dim", "kv_heads"))
    if not isinstance(heads, int) or not isinstance(width, int):
        return ""
    grouped = f", {groups} key/value" if groups not in (None, heads) else ""
    return f"{heads} head{'s' if heads > 1 else ''} of {width}{grouped}"


def _nodes(node: Node) -> list[Node]:
    return [one for value in node.options.values() if isinstance(value, tuple) for one in value]


def _holds_nodes(value: Any) -> bool:
    """Lists of components are written without brackets: `heads(2*a, b)`."""
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], Node | tuple | Record)
