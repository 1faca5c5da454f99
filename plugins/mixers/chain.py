"""Chain of mixers: each reads what the one before it wrote, with nothing in between.

Maths    y = f_P( .. f_2(f_1(x)))
Shapes   x, y (b n c)
Cost     the sum of its members
Limits   no residual and no norm between members: two layers have both
Paper    a combinator of this project; two patterns in a row reach what one cannot: Child et al., Sparse Transformers,
         arXiv:1904.10509, s. 4.2
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
from torch import Tensor, nn

from xcompose.api import (
    Axis,
    Component,
    Context,
    Mixed,
    Mixer,
    Part,
    PartError,
    Source,
    Visible,
    fill_rows,
    hookimpl,
    numbered,
    option,
    options,
)


@options
class ChainOptions:
    """Chain of mixers."""

    of: tuple[Part.mixer, ...] = option(main=True)
    """The mixers, in order: chain(attention(pattern=blocks(64)), attention(pattern=strided(64)))."""


class Chain(Mixer):
    """Runs its members one after the other."""

    def __init__(self, options: ChainOptions, context: Context):
        super().__init__()
        if not options.of:
            raise PartError("mixer 'chain' joins at least one mixer, found none", option="of")
        self.dim = context.dim
        # Members read what the one before them wrote, all of it: only the last may leave rows out.
        self.of = nn.ModuleList(context.build(part, rows=None) for part in options.of[:-1])
        self.of.append(context.build(options.of[-1]))

    @property
    def members(self) -> tuple[Mixer, ...]:
        return tuple(self.of)  # type: ignore[arg-type]

    def hides(self, what: str) -> str:
        return "it joins several mixers, each with an inside of its own"

    def mix(self, x: Tensor, axis: Axis, source: Source | None = None) -> Mixed:
        return self._run(x, axis, [None] * len(self.members), source)._replace(state=None)

    def start(self, batch: int, like: Tensor) -> Any:
        return [member.start(batch, like) for member in self.members]

    def extend(self, x: Tensor, axis: Axis, state: Any, source: Source | None = None) -> Mixed:
        return self._run(x, axis, state, source)

    def state_shape(self, n: int) -> Mapping[str, tuple[int, ...]]:
        return numbered(member.state_shape(n) for member in self.members)

    def visible(self, n: int) -> tuple[Visible, ...]:
        """Positions that reach a query through all members, whatever heads they pass."""
        seen = [member.visible(n) for member in self.members]
        whole, *later = [reduce(or_, [group.matrix for group in groups]) for groups in seen]
        exact = all(group.exact for groups in seen for group in groups)
        for step in later:
            # A row that a member makes depends on the row that asked for it, if what it found leaves a choice.
            through, asked = (step.astype(int) @ m.astype(int) > 0 for m in (whole, whole | np.eye(n, dtype=bool)))
            exact &= bool((through == asked).all())
            whole = asked
        return (Visible("chain", sum(group.heads for group in seen[-1]), whole, exact),)

    def _run(self, x: Tensor, axis: Axis, states: list[Any], source: Source | None) -> Mixed:
        found = []
        for member, state in zip(self.members, states, strict=True):
            mixed = member(x if axis.valid is None else fill_rows(x, axis.valid), axis, state, source)
            found.append(mixed)
            x = mixed.x
        return Mixed(
            x, [one.state for one in found], numbered(one.losses for one in found), numbered(one.stats for one in found)
        )


@hookimpl
def components():
    return [Component(kind="mixer", name="chain", options=ChainOptions, build=Chain)]
