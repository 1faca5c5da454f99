"""All of several positions: what each adds to the embedding, its turns, and its parts of the logits.

Maths    x_i = e_i + P_i + P'_i;  q_i becomes T'_i T_i q_i;  logit_ij = q_i k_j s + b_ij + b'_ij
Shapes   x (b n c);  q (b n h d);  b (h n m)
Cost     the sum of its members
Limits   turns are applied in the order written
Paper    Beltagy, Peters, Cohan, Longformer, 2020, arXiv:2004.05150, s. 4.1 (sinusoidal and relative together)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from xcompose.api import Axis, Component, Context, Part, PartError, Position, Term, hookimpl, option, options


@options
class AllOptions:
    """All of several positions."""

    of: tuple[Part.position, ...] = option(main=True)
    """The positions: all(sinusoidal, alibi)."""


class All(Position):
    """Its members, one after the other."""

    def __init__(self, options: AllOptions, context: Context):
        super().__init__()
        if not options.of:
            raise PartError("position 'all' joins at least one position, found none", option="of")
        made = [context.build(part) for part in options.of]
        # What only adds to the embedding is the model's affair; inside an attention nothing would ask it.
        self.of = nn.ModuleList(one for one in made if context.head_dim is None or one.acts_inside)

    @property
    def members(self) -> tuple[Position, ...]:
        return tuple(self.of)  # type: ignore[arg-type]

    def embed(self, x: Tensor, axis: Axis) -> Tensor:
        for member in self.members:
            x = member.embed(x, axis)
        return x

    def turn(self, t: Tensor, at: Tensor, side: Literal["query", "key"]) -> Tensor:
        for member in self.members:
            t = member.turn(t, at, side)
        return t

    @property
    def turns(self) -> bool:
        return any(member.turns for member in self.members)

    def terms(self, heads: int, head_dim: int) -> Sequence[Term]:
        return [term for member in self.members for term in member.terms(heads, head_dim)]


@hookimpl
def components():
    return [Component(kind="position", name="all", options=AllOptions, build=All)]
