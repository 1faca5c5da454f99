"""The learning rate falls with the inverse square root of the step, after a warm-up.

Maths    factor(t) = min((t + 1) / warmup, sqrt(warmup / (t + 1)))
Shapes   one number a step
Cost     none
Limits   does not look at the end of training, so it never reaches nothing
Paper    Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv:1706.03762, s. 5.3, scaled to 1 at its top
"""

from __future__ import annotations

import math

from xcompose.api import Component, Context, Count, ScheduleFunction, hookimpl, option, options


@options
class RsqrtOptions:
    """Inverse square root."""

    warmup: Count = option(1000, at_least=1)
    """Steps in which the rate grows from nothing; the longer, the slower it falls afterwards."""


def build(options: RsqrtOptions, context: Context) -> ScheduleFunction:
    """The factor of the learning rate in step t, from 0."""

    def factor(step: int, total: int) -> float:
        return min((step + 1) / options.warmup, math.sqrt(options.warmup / (step + 1)))

    return factor


@hookimpl
def components():
    return [Component(kind="schedule", name="rsqrt", options=RsqrtOptions, build=build, also=("inverse-sqrt", "noam"))]
