"""The `train` section of a spec as one object, and how far a budget goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from xcompose.spec.model import Expectation

UNKNOWN = 10**9
"""Stands for the number of steps as long as nothing is known about it."""


@attrs.frozen
class Budget:
    """How long a run lasts, in steps or in seconds; the other is None."""

    steps: int | None
    seconds: float | None

    def done(self, step: int, seconds: float) -> bool:
        """Whether a run that has made so many steps in so many seconds is over."""
        return step >= self.steps if self.steps is not None else seconds >= (self.seconds or 0)

    def total(self, step: int, seconds: float) -> int:
        """The number of steps of the whole run; with a budget of time, an estimate from the steps so far."""
        if self.steps is not None:
            return self.steps
        assert self.seconds is not None
        return max(step + 1, round(step * self.seconds / seconds)) if step and seconds else UNKNOWN

    def share(self, step: int, seconds: float) -> float:
        """How much of it is used up, from 0 to 1."""
        used = step / self.steps if self.steps else seconds / self.seconds if self.seconds else 1.0
        return min(1.0, used)


@attrs.frozen(kw_only=True)
class Settings:
    """How to train: LANGUAGE section 10, with the components apart."""

    amount: float = 1000
    unit: str = "steps"
    """steps, epochs, tokens or seconds"""
    batch: int = 8
    """Sequences in a step."""
    length: int = 1024
    """Tokens in a sequence."""
    eval_every: int = 500
    eval_batches: int = 20
    save_every: int = 500
    lr: float = 3e-4
    clip: float | None = 1.0
    """The largest norm of the gradient; None: any."""
    seed: int = 0
    recompute: bool = False
    """Whether layers are computed again in the backward pass, to save memory."""
    goal: tuple[Expectation, ...] = ()
    """Metrics, and the range each must end in."""

    @classmethod
    def of(cls, train: Mapping[str, Any], length: int | None) -> Settings:
        """From the `train` of a resolved spec; `length` is the model's own, used where `train` has none.

        A clip of 0 does not clip.
        """
        plain = {"batch", "lr", "seed", "recompute"}
        values = {key: value for key, value in train.items() if key in plain}
        if "clip" in train:
            values["clip"] = train["clip"] or None
        if (budget := train.get("budget")) is not None:
            values |= {"amount": budget.amount, "unit": budget.unit}
        for section, key in (("eval", "every"), ("eval", "batches"), ("save", "every")):
            if key in (train.get(section) or {}):
                values[f"{section}_{key}"] = train[section][key]
        wanted = train.get("length") or length
        if wanted is not None:
            values["length"] = wanted
        return cls(**values, goal=tuple(train.get("goal") or ()))

    def budget(self, sequences: int) -> Budget:
        """How far it goes with so many sequences in an epoch; at least one step."""
        if self.unit == "seconds":
            return Budget(None, self.amount)
        sizes = {"steps": 1.0, "epochs": sequences / self.batch, "tokens": 1 / (self.batch * self.length)}
        return Budget(max(1, math.ceil(self.amount * sizes[self.unit])), None)
