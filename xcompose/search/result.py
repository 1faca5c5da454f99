"""What a search found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from xcompose.search.trial import STATES, Aim, Trial
from xcompose.spec.formats import format_bytes, format_flops, format_short


@attrs.frozen(kw_only=True)
class SearchResult:
    """How a search ended."""

    name: str
    """Of the spec."""
    folder: Path
    aims: tuple[Aim, ...]
    trials: tuple[Trial, ...]
    winners: tuple[Trial, ...]
    """What nothing beats, best in the first objective first."""
    more: Mapping[int, Mapping[str, float]] = attrs.field(factory=dict)
    """Further figures of the winners, by trial number."""
    seconds: float = 0.0
    """Of the whole search, earlier parts included."""
    ended: str = ""
    """Why it ended before its budget."""
    interrupted: bool = False
    remarks: tuple[str, ...] = ()
    """What the strategy says."""
    jobs: int = 1
    machine: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended in each way."""
        found = Counter(trial.state for trial in self.trials)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def further(self) -> tuple[str, ...]:
        """The names of the further figures."""
        return tuple(dict.fromkeys(name for figures in self.more.values() for name in figures))

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "objectives": [{"name": aim.name, "larger is better": aim.larger} for aim in self.aims],
            "winners": [self._winner(place, trial) for place, trial in enumerate(self.winners, start=1)],
            "counts": self.counts, "seconds": self.seconds, "ended": self.ended, "interrupted": self.interrupted,
            "remarks": list(self.remarks), "jobs": self.jobs, "machine": dict(self.machine),
            "trials": [trial.as_json() for trial in self.trials],
        }  # fmt: skip

    def _winner(self, place: int, trial: Trial) -> dict[str, Any]:
        return {
            "place": place, "trial": trial.number, "spec": f"winner-{place}.xc.yaml", "chosen": dict(trial.chosen),
            "figures": dict(trial.figures), "metrics": dict(trial.metrics),
            "more": dict(self.more.get(trial.number, {})),
        }  # fmt: skip

    def summary(self) -> str:
        """One line: how many trials, and what became of them."""
        words = {
            "done": "measured", "same": "the same as others", "stopped": "stopped early", "failed": "failed",
            "rejected": "rejected", "repeat": "repeated",
        }  # fmt: skip
        parts = ", ".join(f"{count} {words[state]}" for state, count in self.counts.items())
        count = len(self.trials)
        return f"{count} {'combination' if count == 1 else 'combinations'}: {parts}; {clock(self.seconds)}"


def shown(aim: Aim | str, value: float) -> str:
    """A figure of an objective, for people."""
    key = aim.partition(" ")[0] if isinstance(aim, str) else aim.objective.key
    if key in ("params", "trainable"):
        return format_short(int(value))
    if key in ("state", "memory"):
        return format_bytes(value)
    if key == "time":
        return format_flops(value)
    return milliseconds(value) if key == "latency" else f"{value:.4g}"


def milliseconds(seconds: float) -> str:
    """`3.42 ms`."""
    return f"{1000 * seconds:.3g} ms"


def clock(seconds: float) -> str:
    """`48 s`, `12 min`, `3.1 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
