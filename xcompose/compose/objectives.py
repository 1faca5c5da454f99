"""Whether the words of a spec's `search` mean something for its model and its task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from xcompose.attention.grid import grid_of
from xcompose.compose.composer import Composer
from xcompose.compose.model import Model
from xcompose.compose.parts import Context
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.diagnostics.suggest import suggest
from xcompose.registry import Registry
from xcompose.spec.expect import PARSERS
from xcompose.spec.model import Node, Spec
from xcompose.spec.objectives import AT_LENGTH, COUNTED

LOSS = "loss"
BOUNDS = (*PARSERS, "latency")
"""What a bound may be about beside metrics."""


def part_builder(model: Model, registry: Registry, spec: str = "") -> Callable[[Node], Any]:
    """What builds tasks, optimizers, schedules and strategies for a model."""
    composer, options = Composer(registry, spec=spec), model.options
    context = Context(
        dim=model.dim, causal=options.causal if model.decodes else "none", vocab=model.vocab, length=options.length,
        grid=grid_of(options.grid, options.grid_block),
    )  # fmt: skip
    return lambda node: composer.build(composer.options(node), context)


def search_findings(spec: Spec, model: Model, registry: Registry) -> list[Diagnostic]:
    """What is wrong with the `search` of a spec, all at once.

    Args:
        spec: with a model and a search.
        model: planned, of the spec without any choice.
        registry: where task and strategy are looked up.
    """
    found = [attrs.evolve(d, spec=spec.name, stage="compose") for d in _words(spec, model)]
    part = part_builder(model, registry, spec.name)
    try:
        part(spec.search["strategy"])
    except SpecError as error:
        found += error.diagnostics
    if not asked(spec):
        return found
    if spec.task is None:
        return [*found, _no_task(spec)]
    try:
        return [*found, *_metrics(spec, {LOSS, part(spec.task).metric})]
    except SpecError as error:
        return [*found, *error.diagnostics]


def asked(spec: Spec) -> tuple[str, ...]:
    """The metrics that objectives and bounds of a search ask for, each once: whether anything must be trained."""
    objectives = (o.key for o in spec.search["minimize"] if o.is_metric)
    bounds = (e.key for e in spec.search["within"] if e.key not in BOUNDS)
    return tuple(dict.fromkeys([*objectives, *bounds]))


def _words(spec: Spec, model: Model) -> Iterator[Diagnostic]:
    search = spec.search
    if not search["choices"]:
        fixes = ("write for example: choices: {model.dim: [64, 128]}",)
        yield Diagnostic("XC012", "a search needs something to choose", path="search.choices", fixes=fixes)
    if not search["minimize"]:
        fixes = ("write for example: minimize: [loss, params]",)
        yield Diagnostic("XC012", "a search needs something to make small", path="search.minimize", fixes=fixes)
    if search["budget"].unit not in ("trials", "seconds"):
        yield Diagnostic(
            "XC030", f"a search lasts for trials or for a time, found '{search['budget']}'", path="search.budget",
            fixes=("write for example: 60 trials, or 20min",),
        )  # fmt: skip
    for objective in search["minimize"]:
        if objective.key == "state" and not model.decodes:
            yield Diagnostic(
                "XC060", "this model has no state to make small", objective.span, path="search.minimize",
                label="only a decoder keeps one",
            )  # fmt: skip


def _metrics(spec: Spec, there: set[str]) -> Iterator[Diagnostic]:
    places = [(o.key, o.span, (*COUNTED, *AT_LENGTH)) for o in spec.search["minimize"] if o.is_metric]
    places += [(e.key, e.span, BOUNDS) for e in spec.search["within"] if e.key not in BOUNDS]
    has = " and ".join(sorted(there))
    for key, span, words in places:
        if key not in there:
            fixes = (*suggest(key, [*words, *there]), f"it has {has}")
            yield Diagnostic(
                "XC060", f"the task has no metric '{key}'", span, path="search", fixes=fixes, spec=spec.name,
                stage="compose",
            )  # fmt: skip


def _no_task(spec: Spec) -> Diagnostic:
    return Diagnostic(
        "XC030", f"'{asked(spec)[0]}' is measured on a task, and '{spec.name}' has none", path="task", spec=spec.name,
        fixes=("add one, for example: task: lm(data=stdlib)", "make counts small: minimize: [params]"), stage="compose",
    )  # fmt: skip
