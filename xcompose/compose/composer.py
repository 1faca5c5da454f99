"""From nodes of a spec to option objects, and from option objects to working parts.

A part that refuses says what is wrong and how to mend it (`PartError`); only the composer knows where it was written.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from torch import nn
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from xcompose.compose.addons import Listed, out_of_order
from xcompose.compose.findings import Findings
from xcompose.compose.parts import Context, Position
from xcompose.diagnostics import Diagnostic, Note, PartError, Span, SpecError
from xcompose.registry import Registry
from xcompose.spec.model import Layer, Node, Record, Section


@attrs.define(eq=False)
class Composer:
    """Builds the parts of one model, and remembers where each was written.

    Args:
        registry: where components are looked up.
        spec: the spec's name, for findings.
    """

    registry: Registry
    spec: str = ""
    _origins: dict[int, tuple[Any, Node]] = attrs.field(factory=dict, init=False)
    """By the identity of an options object, which is kept alive here."""
    _enclosing: list[Node] = attrs.field(factory=list, init=False)

    def options(self, node: Node) -> Any:
        """The options object of a component, with those of the components inside it.

        Raises:
            SpecError: options that do not fit their class, all of them.
        """
        findings = Findings()
        made = self._options(node, findings)
        findings.settle()
        return made

    def _options(self, node: Node, findings: Findings) -> Any:
        before = len(findings.found)
        made = self._made(self.registry.component(node.kind, node.name).options, node.options, node, "", findings)
        if len(findings.found) > before:
            return None
        self._origins[id(made)] = (made, node)
        return made

    def _made(self, cls: type, values: Mapping[str, Any], node: Node, at: str, findings: Findings) -> Any:
        """An object of an option class, that of a component or of a record inside one; None if it cannot be made.

        Args:
            at: where the record stands in the component: `of.1.`
        """
        before = len(findings.found)
        hints, found, sound = _hints(cls), {}, {}
        for name, value in values.items():
            known = len(findings.found)
            found[name] = self._value(value, hints.get(name), node, f"{at}{name}", findings)
            sound |= {name: found[name]} if len(findings.found) == known else {}
        for name, problem in _ill_typed(node.name, hints, sound, at).items():
            findings.add(self._finding(node, PartError(problem, option=f"{at}{name}", code="XC030")))
        if len(findings.found) > before:
            return None
        try:
            return cls(**found)
        except (TypeError, ValueError) as error:
            findings.add(self._finding(node, _inside(at, _as_part_error(error))))
            return None

    def _value(self, value: Any, hint: Any, node: Node, at: str, findings: Findings) -> Any:
        match value:
            case Node():
                return self._options(value, findings)
            case Layer() | Section():
                return attrs.evolve(value, options=self._value(value.options, None, node, at, findings))
            case tuple():
                below = _element(hint)
                return tuple(self._value(item, below, node, f"{at}.{i}", findings) for i, item in enumerate(value))
            case Mapping() if (record := _record(hint)) is not None:
                return self._made(record, value, node, f"{at}.", findings)
            case Mapping():
                below = _element(hint)
                return {name: self._value(item, below, node, f"{at}.{name}", findings) for name, item in value.items()}
            case _:
                return value

    def build(self, part: Any, context: Context) -> Any:
        """The working part of an options object. What `context.build` calls.

        Raises:
            SpecError: the part refuses its options or its place, with the place as written.
        """
        node = self.written(part)
        component = self.registry.component(node.kind, node.name) if node else self.registry.component_of(part)
        if component.build is None:
            return part
        key = (component.kind, component.full_name, part, context.length, context.grid)
        if component.kind == "position" and key in context.cache:
            return context.cache[key]
        node = node or self._enclosing[-1]
        self._enclosing.append(node)
        try:
            made = component.build(part, context)
        except PartError as error:
            raise SpecError(self._finding(node, error)) from error
        finally:
            self._enclosing.pop()
        if isinstance(made, Position) and _only_embeds(made):
            context.cache[key] = made
        return made

    def addons(self, nodes: Sequence[Node], context: Context, before: Sequence[Listed] = ()) -> list[Listed]:
        """The add-ons of a model, in an order that makes sense.

        Args:
            nodes: as written.
            context: of the model.
            before: those that it has already.

        Raises:
            SpecError: one belongs to training, refuses its options, or may not follow those before it.
        """
        findings, found = Findings(), list(before)
        for node in nodes:
            with findings:
                found.append(self._addon(node, context, found))
        findings.settle()
        return found[len(before) :]

    def _addon(self, node: Node, context: Context, before: Sequence[Listed]) -> Listed:
        if self.registry.component(node.kind, node.name).facts.get("stage", "model") != "model":
            error = PartError(f"'{node.name}' changes training, not the model", fixes=("move it to train.addons",))
            raise SpecError(self._finding(node, error))
        listed = Listed(node.name, self.build(self.options(node), context), node)
        if error := out_of_order(before, listed):
            raise SpecError(self._finding(node, error))
        return listed

    def changed(self, listed: Listed, change: Callable[[nn.Module], None], model: nn.Module) -> None:
        """Let an add-on change a model.

        Raises:
            SpecError: it refuses this model.
        """
        try:
            change(model)
        except PartError as error:
            raise SpecError(self._finding(listed.node, error)) from error

    def name(self, part: Any) -> str:
        """What a spec calls the component of an options object."""
        node = self.written(part)
        return node.name if node else self.registry.component_of(part).full_name

    def written(self, part: Any) -> Node | None:
        """The node an options object came from; None for one that a plugin made itself."""
        return self._origins.get(id(part), (part, None))[1]

    def finding(self, part: Any, error: PartError) -> Diagnostic:
        """The located finding about the part with these options."""
        return self._finding(self._origins[id(part)][1], error)

    def _finding(self, node: Node, error: PartError) -> Diagnostic:
        return Diagnostic(
            code=error.code, message=error.message, label=error.label, fixes=error.fixes, stage="compose",
            spec=self.spec, span=_span(node, error.option), notes=self._notes(error),
            path=f"{node.path}.{error.option}" if error.option else node.path,
        )  # fmt: skip

    def _notes(self, error: PartError) -> tuple[Note, ...]:
        """Where the model says that it is a decoder, for whoever is refused because of it."""
        model = self._enclosing[0] if self._enclosing else None
        if model is None or model.kind != "model" or not error.message.startswith("a decoder cannot"):
            return ()
        return (Note("causal because of this", model.span),) if model.span else ()


def _span(node: Node, option: str) -> Span | None:
    """Where an option stands, or what is inside it: `of.1.rows`; the nearest thing around it that was written."""
    first, *below = option.split(".")
    span = node.option_spans.get(first, node.span)
    value: Any = node.options.get(first)
    for step in below:
        spans = value.spans if isinstance(value, Record) else {}
        if isinstance(value, tuple):
            value = value[int(step)]
        elif isinstance(value, Mapping):
            value = value.get(step)
        else:
            return span
        span = value.span if isinstance(value, Node | Record) and value.span else spans.get(step, span)
    return span


def _ill_typed(owner: str, hints: Mapping[str, Any], values: Mapping[str, Any], at: str) -> dict[str, str]:
    """What is wrong with the options of a component, by name."""
    problems = {name: f"'{owner}' has no option '{at}{name}'" for name in values if name not in hints}
    for name, value in values.items():
        try:
            check_type(value, hints.get(name, Any), collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError as error:
            problems[name] = f"'{owner}' cannot take this '{at}{name}': {error}"
    return problems


@functools.lru_cache(maxsize=512)
def _hints(cls: type) -> Mapping[str, Any]:
    """The annotations of an option class, evaluated: half of the time that a deep model takes to compose."""
    return typing.get_type_hints(cls)


def _element(hint: Any) -> Any:
    """The annotation of the elements of a list or mapping; None where it says nothing about them."""
    inner = _present(hint)
    arguments = typing.get_args(inner)
    if typing.get_origin(inner) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return arguments[0]
    return arguments[1] if typing.get_origin(inner) is dict else None


def _record(hint: Any) -> type | None:
    """The option class that an annotation names, if it names one."""
    inner = _present(hint)
    return inner if isinstance(inner, type) and attrs.has(inner) else None


def _present(hint: Any) -> Any:
    """`T` of `T | None`, any other annotation as it is."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    return next(one for one in typing.get_args(hint) if one is not type(None))


def _inside(at: str, error: PartError) -> PartError:
    """What is wrong with a record, said of the component that it stands in."""
    option = (at + error.option).rstrip(".")
    return PartError(error.message, label=error.label, fixes=error.fixes, option=option, code=error.code)


def _as_part_error(error: Exception) -> PartError:
    return error if isinstance(error, PartError) else PartError(str(error), code="XC030")


def _only_embeds(position: Position) -> bool:
    """Whether it acts at the embedding alone: then all layers share one, and its parameters count once."""
    kind = type(position)
    return kind.turn is Position.turn and kind.terms is Position.terms and kind.embed is not Position.embed
