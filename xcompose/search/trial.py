"""Trials: what became of each combination, and how they are written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from xcompose.spec.objectives import Objective

State = Literal["done", "same", "stopped", "failed", "rejected", "repeat"]
STATES: dict[str, str] = {
    "done": "measured",
    "same": "model, task and training as in an earlier trial: its figures are taken",
    "stopped": "stopped early, because it could no longer win",
    "failed": "failed while it was measured",
    "rejected": "rejected before anything ran",
    "repeat": "model, task and training as in a trial that was stopped, failed, or is under way",
}
"""What can become of a trial."""

SPENT = ("done", "stopped", "failed")
"""These count against a budget of trials."""


@attrs.frozen(kw_only=True)
class Trial:
    """What became of one combination of choices."""

    number: int
    chosen: Mapping[str, str]
    state: State
    reason: str = ""
    """Why it is not simply done."""
    figures: Mapping[str, float] = attrs.field(factory=dict)
    """By objective, as the spec writes it; those that are known."""
    metrics: Mapping[str, float] = attrs.field(factory=dict)
    """Everything that the task measured."""
    curve: Mapping[float, Mapping[str, float]] = attrs.field(factory=dict)
    """Metrics by the share of the budget at which they were read."""
    violations: Mapping[str, float] = attrs.field(factory=dict)
    """By bound that only training could show: by how much it is broken; 0: kept."""
    seconds: float = 0.0
    """That it took."""
    key: str = ""
    """What it is: equal for candidates that would be trained in the same way."""
    like: int | None = None
    """The trial whose figures or fate it shares."""

    @property
    def counts(self) -> bool:
        """Whether it may win: measured, and within all bounds."""
        return self.state == "done" and not any(self.violations.values())

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return attrs.asdict(self) | {"curve": {repr(k): dict(v) for k, v in self.curve.items()}}

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Trial:
        """From `as_json`."""
        return cls(**{**data, "curve": {float(k): v for k, v in data["curve"].items()}})


@attrs.frozen
class Aim:
    """An objective, and in which direction it is better."""

    objective: Objective
    larger: bool = False
    """Whether more is better."""

    @property
    def name(self) -> str:
        return str(self.objective)

    def small(self, value: float) -> float:
        """The figure so that less is better, to six digits: behind them, sums in another order differ."""
        value = float(f"{value:.6g}")
        return -value if self.larger else value


def vector(trial: Trial, aims: Sequence[Aim]) -> list[float]:
    """The figures of a measured trial, each so that less is better."""
    return [aim.small(trial.figures[aim.name]) for aim in aims]


def winners(trials: Sequence[Trial], aims: Sequence[Aim]) -> list[Trial]:
    """What nothing beats, best in the first objective first."""
    from xcompose.search.dominance import front

    there = [trial for trial in trials if trial.counts]
    vectors = [vector(trial, aims) for trial in there]
    best = sorted(front(vectors), key=lambda i: (vectors[i], there[i].number))
    return [there[i] for i in best]
