"""Heads of different kinds: each group of a layer's heads is a mixer of its own.

Maths    y = concat(o_1 .. o_P) W_o + b = sum_p o_p W_p + b, W_p being the rows of W_o that meet group p
Shapes   x, y (b n c);  group p has h s_p / sum(s) heads, s the shares
Cost     the mean of its members, weighted by their shares
Limits   every group must get whole heads, and a whole share of the key/value heads
Paper    a combinator of this project; local and routing heads in one layer: Roy et al., Routing Transformer, TACL 2021,
         arXiv:2003.05997, s. 5
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from torch import Tensor

from xcompose.api import Axis, Component, Context, Count, Part, PartError, SideBySide, hookimpl, option, options


@options
class HeadsOptions:
    """Heads of different kinds."""

    of: tuple[Part.mixer, ...] = option(main=True, shares=True)
    """The mixers, each with its share of the heads: heads(3*attention(pattern=window(64)), attention)."""
    heads: Count | None = option(None, inherited=True, at_least=1)
    """Number of heads h that are divided; `dim`/64 if not written."""


class Heads(SideBySide):
    """Adds what the groups write; the bias of the output is written by the first."""

    def __init__(self, options: HeadsOptions, context: Context):
        counts = divided(options, context)
        super().__init__(
            context.dim,
            [
                context.build(part, heads=count, out_bias=context.out_bias and i == 0)
                for i, (count, (_, part)) in enumerate(zip(counts, options.of, strict=True))
            ],
        )

    def hides(self, what: str) -> str:
        return next(filter(None, (member.hides(what) for member in self.members)), "")

    def look_for(self, what: frozenset[str]) -> None:
        super().look_for(what)
        for member in self.members:
            member.look_for(what)

    def join(self, x: Tensor, mixed: Sequence[Tensor], axis: Axis) -> Tensor:
        return sum(mixed[1:], mixed[0])


def divided(options: HeadsOptions, context: Context) -> list[int]:
    """Heads of each group.

    Raises:
        PartError: there are no whole numbers in these shares.
    """
    if not options.of:
        raise PartError("mixer 'heads' divides heads among at least one mixer, found none", option="of")
    heads = context.heads or options.heads or whole_heads(context.dim)
    shares = [share for share, _ in options.of]
    if min(shares) < 1:
        raise PartError("a share of heads is at least 1", option="of")
    total = sum(shares)
    if any(heads * share % total for share in shares):
        step = total // gcd(*shares)
        raise PartError(
            f"{heads} heads do not divide into shares of {':'.join(map(str, shares))}",
            label=f"the number of heads must be a multiple of {step}",
            fixes=(f"heads={max(step, heads // step * step)}", f"heads={(heads // step + 1) * step}"), option="of",
        )  # fmt: skip
    return [heads * share // total for share in shares]


def whole_heads(dim: int) -> int:
    """Heads of 64."""
    if dim % 64:
        raise PartError(f"'dim' {dim} does not divide into heads of 64", fixes=("heads=...",))
    return dim // 64


@hookimpl
def components():
    return [Component(kind="mixer", name="heads", options=HeadsOptions, build=Heads)]
