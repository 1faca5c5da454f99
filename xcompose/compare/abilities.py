"""What a model costs and is able to do, as named facts that can be put side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from xcompose.compose.build import plan_model
from xcompose.compose.weights import plain_tensors
from xcompose.cost.growths import KINDS
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.registry import Registry
from xcompose.spec.formats import format_bytes, format_flops, format_length
from xcompose.spec.model import Layer, Node, Section, Spec
from xcompose.verify.facts import FARTHEST, Facts

NONE = "–"
"""Stands where a model does not take a length, or has no state."""
TITLES = {"time": "work", "memory": "activations", "state": "state"}


class Fact(NamedTuple):
    """One fact of a model."""

    name: str
    shown: str
    amount: float | None = None
    """Where it is an amount, of which a ratio means something."""


class Difference(NamedTuple):
    """A fact that two models do not share."""

    name: str
    old: str
    new: str
    ratio: float | None
    """New over old, of amounts."""

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:.3g}"
        return f"{self.old} → {self.new}" + (f"   {ratio}×" if ratio not in ("", "1") else "")


@attrs.frozen
class Measured:
    """What the models of two specs cost and are able to do, as far as they compose."""

    differences: tuple[Difference, ...]
    """The facts in which they differ; that one of them does not compose is the only one."""
    old: tuple[Diagnostic, ...] = ()
    """Why the old one does not compose."""
    new: tuple[Diagnostic, ...] = ()


def measured(old: Spec, new: Spec, lengths: Sequence[int], registry: Registry) -> Measured:
    """The facts in which the models of two specs differ, planned on the meta device: nothing is computed.

    Args:
        old, new: resolved.
        lengths: at which amounts are read.
        registry: where components are looked up.
    """
    if old.model is None or new.model is None:
        return Measured(())
    (before, refused), (after, wrong) = (_facts(spec, lengths, registry) for spec in (old, new))
    if not refused and not wrong:
        return Measured(_differences(before, after))
    said = [f"no: {found[0].message}" if found else "yes" for found in (refused, wrong)]
    composes = (Difference("composes", said[0], said[1], None),) if said[0] != said[1] else ()
    return Measured(composes, refused, wrong)


def _facts(spec: Spec, lengths: Sequence[int], registry: Registry) -> tuple[dict[str, Fact], tuple[Diagnostic, ...]]:
    try:
        return {fact.name: fact for fact in facts(spec, lengths, registry)}, ()
    except SpecError as error:
        return {}, error.diagnostics


def _differences(before: Mapping[str, Fact], after: Mapping[str, Fact]) -> tuple[Difference, ...]:
    found = []
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name, Fact(name, NONE)), after.get(name, Fact(name, NONE))
        if one.shown != other.shown or one.amount != other.amount:
            ratio = other.amount / one.amount if one.amount and other.amount else None
            found.append(Difference(name, one.shown, other.shown, ratio))
    return tuple(found)


def facts(spec: Spec, lengths: Sequence[int], registry: Registry) -> list[Fact]:
    """What is true of the model of a spec: parameters, abilities, growths, amounts and reach at some lengths.

    Raises:
        SpecError: it does not compose.
    """
    model = plan_model(spec, registry=registry)
    known = Facts(model, spec)
    total, trainable = known.parameters.total, known.parameters.trainable
    weights = sum(tensor.numel() * tensor.element_size() for tensor in plain_tensors(model).values())
    assert spec.model is not None
    found = [
        Fact("parameters", f"{total:,}", total),
        Fact("trainable", f"{trainable:,}", trainable),
        Fact("weights", format_bytes(weights), weights),
        Fact("layers", str(known.layers)),
        Fact("causal", spec.model.options["causal"] if model.decodes else "none"),
        Fact("generates", "step by step, with a state" if model.decodes else "no"),
        Fact("lengths", _lengths(known)),
        Fact("random plans", ", ".join(_stochastic(spec, registry)) or "none"),
    ]
    found += [Fact(f"{TITLES[kind]} grows as", _shown(lambda kind=kind: known.growths.of(kind))) for kind in KINDS]
    for n in lengths:
        found += [_amount(known, kind, n) for kind in KINDS]
        if n <= FARTHEST:
            found.append(Fact(f"reach at {format_length(n)}", _shown(lambda n=n: _reach(known, n))))
    return found


def _lengths(known: Facts) -> str:
    most = known.model.options.length
    step = {0: "by no simple rule", 1: "any"}.get(known.step, f"multiples of {known.step}")
    return f"{step}, up to {format_length(most)}" if most else step


def _amount(known: Facts, kind: str, n: int) -> Fact:
    name = f"{TITLES[kind]} at {format_length(n)}"
    try:
        amount = known.amount(kind, n)
    except ValueError:  # the model does not take this length, which is a fact, too
        return Fact(name, NONE)
    return Fact(name, format_flops(amount) if kind == "time" else format_bytes(amount), amount)


def _shown(ask: Callable[[], Any]) -> str:
    try:
        found = ask()
    except ValueError:
        return NONE
    return NONE if found is None else str(found)


def _reach(known: Facts, n: int) -> str:
    if not known.takes(n):
        return NONE
    reached, _, exact = known.reach_of(n)
    return f"{reached:,} of {n:,} positions" + ("" if exact else " at most")


def _stochastic(spec: Spec, registry: Registry) -> list[str]:
    """The components of a spec whose plans are drawn."""
    nodes = list(_nodes([spec.model, *spec.addons]))
    drawn = {node.name for node in nodes if registry.component(node.kind, node.name).facts.get("stochastic")}
    return sorted(drawn)


def _nodes(value: Any) -> Sequence[Node]:
    """All components in a value, itself included."""
    if isinstance(value, Node):
        return [value, *_nodes(list(value.options.values()))]
    if isinstance(value, Mapping):
        return _nodes(list(value.values()))
    if isinstance(value, list | tuple):
        return [node for item in value for node in _nodes(item)]
    return _nodes(list(value.options.values())) if isinstance(value, Layer | Section) else []
