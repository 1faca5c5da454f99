"""Half a cosine: from the full learning rate down to a floor at the last step.

Maths    factor(t) = (t + 1) / warmup                                            for t < warmup
         factor(t) = floor + (1 - floor) (1 + cos(pi (t - warmup) / (total - warmup))) / 2   after it
Shapes   one number a step
Cost     none
Limits   needs to know the end: with a budget of time the number of steps is estimated as it goes
Paper    Loshchilov and Hutter, SGDR, ICLR 2017, arXiv:1608.03983, eq. 5, without restarts
"""

from __future__ import annotations

import math

from xcompose.api import Component, Context, Count, Real, ScheduleFunction, hookimpl, option, options


@options
class CosineOptions:
    """Half a cosine."""

    warmup: Count = option(0)
    """Steps in which the rate grows from nothing."""
    floor: Real = option(0.0, at_least=0, at_most=1)
    """What is left at the end, as a part of the full rate."""


def build(options: CosineOptions, context: Context) -> ScheduleFunction:
    """The factor of the learning rate in step t, from 0."""

    def factor(step: int, total: int) -> float:
        if step < options.warmup:
            return (step + 1) / options.warmup
        way = min(1.0, (step - options.warmup) / max(1, total - options.warmup))
        return options.floor + (1 - options.floor) * (1 + math.cos(math.pi * way)) / 2

    return factor


@hookimpl
def components():
    return [Component(kind="schedule", name="cosine", options=CosineOptions, build=build)]
