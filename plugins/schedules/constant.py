"""The same learning rate throughout, after an optional warm-up.

Maths    factor(t) = min(1, (t + 1) / warmup)
Shapes   one number a step
Cost     none
Limits   does not settle: the last steps are as large as the first
Paper    n.a.
"""

from __future__ import annotations

from xcompose.api import Component, Context, Count, ScheduleFunction, hookimpl, option, options


@options
class ConstantOptions:
    """A constant learning rate."""

    warmup: Count = option(0)
    """Steps in which the rate grows from nothing."""


def build(options: ConstantOptions, context: Context) -> ScheduleFunction:
    """The factor of the learning rate in step t, from 0."""

    def factor(step: int, total: int) -> float:
        return min(1.0, (step + 1) / max(1, options.warmup))

    return factor


@hookimpl
def components():
    return [Component(kind="schedule", name="constant", options=ConstantOptions, build=build)]
