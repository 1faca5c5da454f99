"""Sum of mixers: all of them read the same rows, and what they find is added.

Maths    y_i = sum_p f_p(x)_i
Shapes   x, y (b n c)
Cost     the sum of its members
Limits   a member that is large drowns the others; `gate` weighs them
Paper    a combinator of this project
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xcompose.api import Axis, Component, Context, Part, PartError, SideBySide, hookimpl, option, options


@options
class SumOptions:
    """Sum of mixers."""

    of: tuple[Part.mixer, ...] = option(main=True)
    """The mixers: sum(attention(pattern=window(64)), attention(score=linear))."""


class Sum(SideBySide):
    """Adds what its members find."""

    def __init__(self, options: SumOptions, context: Context):
        if not options.of:
            raise PartError("mixer 'sum' joins at least one mixer, found none", option="of")
        super().__init__(context.dim, [context.build(part) for part in options.of])

    def join(self, x: Tensor, mixed: Sequence[Tensor], axis: Axis) -> Tensor:
        return sum(mixed[1:], mixed[0])


@hookimpl
def components():
    return [Component(kind="mixer", name="sum", options=SumOptions, build=Sum)]
