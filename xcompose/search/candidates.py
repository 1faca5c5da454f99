"""What is known of a combination before anything runs: whether it is legal, and what it costs by count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch

from xcompose.compose.build import plan_model
from xcompose.compose.objectives import BOUNDS, asked, part_builder
from xcompose.compose.room import refuse_what_does_not_fit
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.search.ground import Changed
from xcompose.search.trial import Aim
from xcompose.spec import SpecName, freeze
from xcompose.spec.model import Expectation, Spec
from xcompose.verify import expect
from xcompose.verify.facts import Facts

if TYPE_CHECKING:
    from xcompose.search.ground import Ground


class Rejected(Exception):
    """A combination that is illegal, or breaks a bound."""


@attrs.frozen
class Known:
    """What is known of a combination that may be measured."""

    spec: Spec
    key: str
    """Equal for candidates that would be trained in the same way."""
    figures: Mapping[str, float]
    """By objective: those that are counted."""


def examine(ground: Ground, aims: Sequence[Aim], chosen: Mapping[str, str]) -> Known:
    """Read, compose and count a combination on the meta device.

    Raises:
        Rejected: with the reason.
        Changed: a file of the spec is not what it was.
    """
    try:
        spec = ground.resolve(chosen)
        model = plan_model(spec, registry=ground.registry)
        refuse_what_does_not_fit(model, torch.get_default_dtype())
        if asked(ground.spec):
            refuse_teachers(spec)
        if asked(ground.spec) and spec.task is not None:
            part_builder(model, ground.registry, spec.name)(spec.task)
        facts = Facts(model, spec)
        within = ground.spec.search["within"]
        _refuse(expect.counted(within, facts))
        _refuse(_misbehaves(within, ground, chosen))
        return Known(spec, key_of(spec), {aim.name: _counted(aim, facts) for aim in aims if _is_counted(aim)})
    except Changed:
        raise
    except SpecError as error:
        raise Rejected(said(error.diagnostics)) from error
    except Rejected:
        raise
    except Exception as error:  # a plugin may raise anything, and that is the end of this combination only
        raise Rejected(f"{type(error).__name__}: {error}") from error


def refuse_teachers(spec: Spec) -> None:
    """Refuse add-ons of training that learn from another spec: a search has no weights to give them.

    Raises:
        SpecError: one does (XC030).
    """
    for node in spec.train.get("addons", ()):
        if any(isinstance(value, SpecName) for value in node.options.values()):
            raise SpecError(
                Diagnostic(
                    "XC030", f"a search has no teacher's weights for '{node.name}'", node.span, path="train.addons",
                    fixes=("search without it, and train the winners with it",), spec=spec.name, stage="search",
                )
            )  # fmt: skip


def said(diagnostics: Iterable[Diagnostic]) -> str:
    """Findings in one line: the first in full, and how many there are beside it."""
    found = [d for d in diagnostics if d.severity == "error"]
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{first.message}{': ' + first.label if first.label else ''}{more}"


def _refuse(found: Sequence[Diagnostic]) -> None:
    if found:
        raise SpecError(found)


def _misbehaves(within: Iterable[Expectation], ground: Ground, chosen: Mapping[str, str]) -> list[Diagnostic]:
    """Broken bounds of behaviour, which certificates measure on a small copy."""
    bounds = [e for e in within if e.key in expect.MEASURED]
    if not bounds:
        return []
    from xcompose.verify.runner import check_spec

    sets = [*ground.sets, *(f"{path}={value}" for path, value in chosen.items())]
    report = check_spec(ground.reference, sets, stages=("contracts",), registry=ground.registry)
    return expect.measured(bounds, report.results) or [f for f in report.findings if f.severity == "error"]


def _is_counted(aim: Aim) -> bool:
    return not aim.objective.is_metric and aim.objective.key != "latency"


def _counted(aim: Aim, facts: Facts) -> float:
    key = aim.objective.key
    if key in ("params", "trainable"):
        return facts.parameters.total if key == "params" else facts.parameters.trainable
    n = aim.objective.at or facts.length
    try:
        return facts.amount(key, n)
    except ValueError as error:
        raise Rejected(f"{aim.name}: {error}") from error


def key_of(spec: Spec) -> str:
    """What a trial of a spec would be: equal where model, add-ons, task and training are."""
    same: dict[str, Any] = {"name": "", "about": "", "paper": (), "expect": (), "search": {}}
    return hashlib.sha256(freeze(attrs.evolve(spec, **same)).encode()).hexdigest()[:16]


def latencies(within: Iterable[Expectation], aims: Iterable[Aim], spec: Spec) -> list[int]:
    """The lengths at which a candidate is timed."""
    assert spec.model is not None
    usual = length_of(spec)
    asked_at = [aim.objective.at or usual for aim in aims if aim.objective.key == "latency"]
    return sorted({*asked_at, *(e.value.at or usual for e in within if e.key == "latency")})


def length_of(spec: Spec) -> int:
    """Where a latency is read unless a length is said: the model's own."""
    from xcompose.verify.facts import USUAL

    assert spec.model is not None
    return spec.model.options.get("length") or USUAL


def too_slow(within: Iterable[Expectation], timed: Mapping[int, float], spec: Spec) -> str:
    """The first bound of latency that is broken; nothing where all are kept."""
    for e in within:
        if e.key == "latency" and not e.value.holds(timed[e.value.at or length_of(spec)]):
            return f"expected latency {e.text}, found {1000 * timed[e.value.at or length_of(spec)]:.3g} ms"
    return ""


def violations(within: Iterable[Expectation], metrics: Mapping[str, float]) -> dict[str, float]:
    """By how much each bound of a metric is broken; 0 where it is kept."""
    return {f"{e.key} {e.text}": _excess(e, metrics[e.key]) for e in within if e.key not in BOUNDS}


def _excess(e: Expectation, value: float) -> float:
    low = 0.0 if e.value.low is None else max(0.0, e.value.low - value)
    high = 0.0 if e.value.high is None else max(0.0, value - e.value.high)
    return max(low, high)
