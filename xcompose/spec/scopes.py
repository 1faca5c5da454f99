"""Where layer keys take their values from: a layer over its block, its stack and the model."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics import Note, Span
from xcompose.schema import Blocks, Layers, Length, OptionSchema, ValueType, type_of
from xcompose.spec import components, renames
from xcompose.spec.findings import BROKEN, Refused
from xcompose.spec.merge import Stack, heads, lookups, until_null
from xcompose.spec.model import Node, Section
from xcompose.spec.numbers import LARGEST
from xcompose.spec.resolver import Place

if TYPE_CHECKING:
    from xcompose.spec.resolver import Resolver

WIDTH_OF_A_HEAD = 64
SECTION_OPTIONS = (
    OptionSchema("layers", type_of(Layers)),
    OptionSchema("length", attrs.evolve(type_of(Length), optional=True), default=None, at_least=1),
    OptionSchema("grid", ValueType("list", of=type_of(Length), optional=True), default=None, at_least=1),
    OptionSchema("grid_block", ValueType("list", of=type_of(Length), optional=True), default=None, at_least=1),
    OptionSchema("blocks", type_of(Blocks), default=None),
)
COUNTED = ("kv_heads", "heads", "head_dim", "length")
"""Keys whose value follows from others where nobody writes it."""


class Scope:
    """A model, one of its sections, or one layer: the keys it has and what was given for each.

    Args:
        resolver: of this spec.
        path: of the model, section or layer.
        span: where it is written.
        options: its keys.
        stacks: what was given for each key, newest first.
        outer: the model around a section.
    """

    def __init__(
        self, resolver: Resolver, path: str, span: Span, options: Mapping[str, OptionSchema],
        stacks: Mapping[str, Stack], outer: Scope | None = None,
    ):  # fmt: skip
        self.resolver, self.path, self.span = resolver, path, span
        self.options, self.stacks, self.outer = options, stacks, outer
        self.reduced: components.Reduced | None = None
        self._values: dict[str, Any] = {}
        self._reading: set[str] = set()
        self._blocks: list[str] | None = None

    def stack(self, name: str) -> Stack:
        """What was given for a key."""
        return self.stacks.get(name, [])

    def place(self, name: str) -> Place:
        """The place of a key."""
        option = self.options[name]
        owner = self.reduced.name if self.reduced else self.path.rpartition(".")[2]
        heads = None
        if option.layer and option.type.name == "component" and "heads" in self.options:
            count = self.value("heads")
            heads = Fraction(count) if isinstance(count, int) else None
        return Place(f"{self.path}.{name}", option.type, self.span, option.default, self, option, owner, heads)

    def value(self, name: str) -> Any:
        """The value of a key, or `BROKEN`; read once."""
        if name in self._reading:
            stack = self.stack(name)
            message = f"reference cycle: '{self.path}.{name}' needs itself"
            self.resolver.findings.report("XC022", message, stack[0].span if stack else self.span, path=self.path)
            return BROKEN
        if name not in self._values:
            self._reading.add(name)
            value = self.resolver.typed(self.place(name), self.stack(name))
            if value is None and name in COUNTED:
                value = self.resolver.defaults[f"{self.path}.{name}"] = self._counted(name)
            self._values[name] = value
            self._reading.discard(name)
        return self._values[name]

    def dim(self) -> Any:
        """The model's width c, or `BROKEN`; None for a model without one."""
        model = self.resolver.scope
        return None if model is None or "dim" not in model.options else model.value("dim")

    @property
    def is_layer(self) -> bool:
        """Whether this is one layer: a model or section need not have what only layers need."""
        return "layers" not in self.options and self.reduced is None

    @property
    def blocks(self) -> Stack:
        """The mappings of names to layers, newest first."""
        return until_null(self.stack("blocks"))

    def block_names(self) -> list[str]:
        """The names of all blocks."""
        if self._blocks is None:
            blocks = self.blocks
            self._blocks = [name for name in heads(blocks) if until_null(lookups(blocks, name))]
        return self._blocks

    def layer_options(self) -> dict[str, OptionSchema]:
        """The keys that a layer may write."""
        return {name: option for name, option in self.options.items() if option.layer}

    def _counted(self, name: str) -> Any:
        """`heads`, `kv_heads` and `head_dim` of a layer that does not write them; `length` of a grid."""
        if name == "kv_heads":
            return self.value("heads")
        if name == "length":
            grid = self.value("grid") if "grid" in self.options else None
            return grid if grid is None or grid is BROKEN else self._positions(grid)
        dim, parts = self.dim(), WIDTH_OF_A_HEAD if name == "heads" else self.value("heads")
        if dim is BROKEN or parts is BROKEN:
            return BROKEN
        if dim is None or parts is None:
            return None
        if dim % parts == 0:
            return dim // parts
        return self._not_whole(name, dim, parts) if self.is_layer else None

    def _positions(self, grid: tuple[int, ...]) -> Any:
        length = prod(grid)
        if length <= LARGEST:
            return length
        span = self.stack("grid")[0].span
        self.resolver.findings.report("XC015", "the grid has more positions than can be counted", span, path=self.path)
        return BROKEN

    def _not_whole(self, name: str, dim: int, parts: int) -> Any:
        findings, model = self.resolver.findings, self.resolver.scope
        assert model is not None
        if name == "heads":
            span = model.stack("dim")[0].span
            message = f"dim {dim:,} is not a multiple of {WIDTH_OF_A_HEAD}, so 'heads' must be written"
            findings.report("XC012", message, span, path=self.path, fixes=("write heads: followed by a count",))
        else:
            stack = self.stack("heads")
            notes = (Note("the width", model.stack("dim")[0].span),)
            message = f"{parts} heads do not divide dim {dim:,}"
            fixes = ("write head_dim, or another number of heads",)
            span = stack[0].span if stack else self.span
            findings.report("XC015", message, span, path=self.path, notes=notes, fixes=fixes)
        return BROKEN

    def section(self, name: str) -> Scope:
        """One of the two stacks of a model, with the model's values for what it does not write."""
        if name not in self._values:
            self._values[name] = self._section(name)
        return self._values[name]

    def _section(self, name: str) -> Scope:
        from xcompose.spec.readers import mappings, unknown

        place = Place(f"{self.path}.{name}", self.options[name].type, self.span, self.options[name].default, self)
        given = mappings(self.resolver, place, self.stack(name))
        own = {option.name: self.options.get(option.name, option) for option in SECTION_OPTIONS}
        options = {**own, **self.layer_options()}
        given = renames.modern_all(self.resolver, place, given, options.values(), name)
        unknown(self.resolver, place, given, options, name)
        stacks = {key: lookups(given, key) + (self.stack(key) if key != "layers" else []) for key in options}
        span = given[0].key or given[0].span if given else self.span
        return Scope(self.resolver, place.path, span, options, stacks, self)

    def read(self) -> Any:
        """The `Node` of a model, or the `Section`."""
        values: dict[str, Any] = {}
        for name, option in self.options.items():
            if option.type.name == "section":
                values[name] = self.section(name).read()
            else:
                values[name] = self.value(name)
        if any(value is BROKEN for value in values.values()):
            return BROKEN
        if self.reduced is not None:
            return components.node(self.reduced, Place(self.path, ValueType("component"), self.span), values)
        spans = {name: stack[0].span for name, stack in self.stacks.items() if stack}
        return Section({k: v for k, v in values.items() if k != "blocks"}, self.span, self.path, spans)


def model_scope(resolver: Resolver) -> Scope:
    """The scope of the model, made once.

    Raises:
        Refused: the model has no type, or none that is known.
    """
    if resolver.scope is None:
        if resolver.model_failed:
            raise Refused
        resolver.model_failed = True
        stack = resolver.sections["model"]
        place = Place("model", ValueType("component", kind="model"), stack[0].key or stack[0].span)
        reduced = components.reduce(resolver, place, stack)
        assert reduced is not None
        options = {option.name: option for option in reduced.schema.options}
        resolver.scope = Scope(resolver, "model", reduced.span, options, reduced.options)
        resolver.scope.reduced = reduced
        resolver.model_failed = False
    return resolver.scope


__all__ = ["Node", "Scope", "heads", "model_scope"]
