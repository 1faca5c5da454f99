"""Reads what a search makes small: counts, measured time, and metrics of the task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from xcompose.diagnostics import Note, Span
from xcompose.schema import ValueType
from xcompose.spec.findings import Refused
from xcompose.spec.lists import item_place, items
from xcompose.spec.merge import Stack
from xcompose.spec.numbers import Problem, parse_length, shown
from xcompose.spec.resolver import Place

if TYPE_CHECKING:
    from xcompose.spec.resolver import Resolver

COUNTED = ("params", "trainable")
AT_LENGTH = ("state", "memory", "time", "latency")
"""What has a length: bytes of the decode state, bytes of activations, FLOPs, seconds."""
TEXTS = ValueType("list", of=ValueType("text"))


@attrs.frozen
class Objective:
    """Something to make small, or large where more of it is better."""

    key: str
    """params, trainable, state, memory, time, latency, or a metric."""
    at: int | None = None
    """A length in tokens; None: that of the model, or none where length does not matter."""
    text: str = attrs.field(default="", eq=False)
    """As written: `state at 64Ki`."""
    span: Span | None = attrs.field(default=None, eq=False)

    @property
    def is_metric(self) -> bool:
        return self.key not in COUNTED + AT_LENGTH

    def __str__(self) -> str:
        return self.text or self.key


def parse_objective(text: str) -> Objective:
    """`params`, `state at 64Ki`, `latency at 4Ki`, `bits_per_byte`.

    Raises:
        Problem: none of these.
    """
    key, found, length = (piece.strip() for piece in text.strip().partition(" at "))
    wanted = "a metric, params, trainable, or state, memory, time, latency at a length"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
        raise Problem(f"expected {wanted}, found {shown(text)}", fixes=("write for example: latency at 4Ki",))
    if found and key not in AT_LENGTH:
        raise Problem(f"'{key}' has no length", fixes=(f"write: {key}",))
    return Objective(key, parse_length(length) if found else None, text.strip())


def objectives(resolver: Resolver, stack: Stack) -> tuple[Objective, ...]:
    """What `search.minimize` names, each once."""
    if not stack:
        return ()
    place = Place("search.minimize", TEXTS, stack[0].span, default=())
    found: list[Objective] = []
    try:
        listed = items(resolver, place, stack)
    except Refused:
        return ()
    for number, item in enumerate(listed):
        objective = _one(resolver, item_place(place, number), item)
        if objective is not None and not _again(resolver, objective, found):
            found.append(objective)
    return tuple(found)


def _one(resolver: Resolver, place: Place, item: Stack) -> Objective | None:
    from xcompose.spec.readers import text_of

    given = resolver.first(place, item)
    if given is None:
        return None
    try:
        return attrs.evolve(parse_objective(text_of(resolver, place, given)), span=given.span)
    except Problem as problem:
        resolver.findings.report(
            problem.code, problem.message, given.span, problem.label, fixes=problem.fixes, path=place.path
        )
    except Refused:
        pass
    return None


def _again(resolver: Resolver, objective: Objective, before: Sequence[Objective]) -> bool:
    first = next((other for other in before if other == objective), None)
    if first is not None:
        notes = (Note("and here", first.span),)
        message = f"'{objective}' is made small twice"
        resolver.findings.report("XC006", message, objective.span, notes=notes, path="search.minimize")
    return first is not None
