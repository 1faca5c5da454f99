"""What a position owes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st

from xcompose.testing.drawing import for_drawn
from xcompose.testing.mixing import EXACT, MixingContract
from xcompose.testing.stand import Made, Stand

if TYPE_CHECKING:
    from torch import Tensor

MOST = 30
"""Rows that are looked at, at most."""


class PositionContract(MixingContract):
    """Contract tests of positions."""

    kind = "position"

    def positions(self, expression: str, *, inside: bool = False) -> Iterator[tuple[Stand, Made]]:
        """The position of each stand, in double precision, its weights drawn anew: that of the model, or the one inside
        attention where it acts there."""
        import torch

        for stand in self.stands(expression):
            every = stand.made()
            made = next((one for one in every if one.context.head_dim), every[0]) if inside else every[0]
            generator = torch.Generator().manual_seed(self.seed)
            with torch.no_grad():
                for parameter in made.part.double().parameters():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
            yield stand, made

    def test_rows_of_a_cache_are_those_of_the_whole(self, expression: str) -> None:
        import torch

        from xcompose.attention.reads import Axis
        from xcompose.verify.measure import distance

        for stand, made in self.positions(expression):
            longest = stand.longest(MOST)
            width = made.context.narrow or made.context.dim

            def check(n: int, first: int, stand=stand, part=made.part, width=width) -> None:
                first, total = min(first, n - 1), None if stand.subject.causal != "none" else n
                x, at = _drawn(2, n, width, seed=self.seed), torch.arange(n)
                whole = part.embed(x, Axis(range(n), total=total))[:, first:]
                ways = {"a range": range(first, n), "a tensor": at[first:].expand(2, -1)}
                for what, places in ways.items():
                    apart = distance(part.embed(x[:, first:], Axis(places, total=total)), whole)
                    if apart > EXACT:
                        measured = f"positions {first} .. {n - 1}, given as {what}: rows differ by {apart:.2g}"
                        hint = "look at `axis.at`, never at the number of the row"
                        self.breaks(
                            stand, "rows that come later are embedded otherwise than in the whole text", measured, hint
                        )

            with torch.no_grad():
                drawn = dict(n=st.integers(1, longest), first=st.integers(0, longest))
                for_drawn(check, self.examples, self.seed, **drawn)

    def test_it_turns_by_the_place_alone(self, expression: str) -> None:
        import torch

        from xcompose.verify.measure import distance

        turning = [(stand, made) for stand, made in self.positions(expression, inside=True) if made.part.turns]
        if not turning:
            pytest.skip("it turns nothing")
        for stand, made in turning:
            longest, d = stand.longest(MOST), made.context.head_dim or made.context.dim

            def check(n: int, first: int, stand=stand, part=made.part, d=d) -> None:
                first = min(first, n - 1)
                t, at = _drawn(2, n, 2, d, seed=self.seed), torch.arange(n)
                for side in ("query", "key"):
                    whole = part.turn(t, at, side)
                    later = part.turn(t[:, first:], at[first:], side)
                    alike = part.turn(t, at.expand(2, -1), side)
                    if whole.shape != t.shape:
                        measured = f"{tuple(t.shape)} became {tuple(whole.shape)}"
                        self.breaks(stand, "`turn` changes the shape", measured)
                    if max(distance(later, whole[:, first:]), distance(alike, whole)) > EXACT:
                        measured = f"{side}s at {first} .. {n - 1}, or places given as (b n), are turned otherwise"
                        self.breaks(stand, "`turn` does not go by the places that it is given", measured)

            with torch.no_grad():
                drawn = dict(n=st.integers(1, longest), first=st.integers(0, longest))
                for_drawn(check, self.examples, self.seed, **drawn)

    def test_terms_by_distance_know_the_distance_alone(self, expression: str) -> None:
        import torch

        from xcompose.attention.pattern import Point

        found = False
        for stand, made in self.positions(expression, inside=True):
            heads = stand.spec.model.options["heads"]  # type: ignore[union-attr]
            for term in made.part.terms(heads, made.context.head_dim or made.context.dim // heads):
                if not term.by_distance:
                    continue
                found = True
                at = torch.arange(stand.longest(MOST))
                here, there = (term.label(Point(at=(at + by)[:, None]), Point(at=(at + by)[None])) for by in (0, 5))
                if not torch.equal(here, there):
                    hint = "by_distance = False, or labels of `q.at - k.at`"
                    self.breaks(stand, "moved by 5 positions, a term `by_distance` has other labels", hint=hint)
        if not found:
            pytest.skip("it has no term by distance")


def _drawn(*shape: int, seed: int) -> Tensor:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
