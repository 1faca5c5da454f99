"""What mixers, feed-forward networks, norms and residuals owe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st

from xcompose.testing.contract import BuiltContract
from xcompose.testing.drawing import for_drawn
from xcompose.testing.mixing import EXACT, MixingContract
from xcompose.testing.stand import Made, Stand

SIDES = st.lists(st.integers(1, 5), min_size=0, max_size=3)
"""Axes before the width."""


class MixerContract(MixingContract):
    """Contract tests of mixers."""

    kind = "mixer"

    def test_it_keeps_the_shape(self, expression: str) -> None:
        import torch

        from xcompose.verify.subject import alone, rows

        for stand in self.stands(expression):
            for part in self.mixers(stand):

                def check(n: int, batch: int, stand=stand, part=part) -> None:
                    x = rows(part, n, self.seed, torch.float64, batch=batch)
                    with torch.no_grad():
                        found = alone(part, n)(x)
                    if found.shape != x.shape or not found.isfinite().all():
                        measured = (
                            f"{tuple(x.shape)} became {tuple(found.shape)}, all numbers: {bool(found.isfinite().all())}"
                        )
                        self.breaks(stand, "a mixer gives rows of the shape that it gets", measured)

                lengths = stand.lengths((1, 2, 3, 5, 16, 31, 37))
                drawn = {"n": st.sampled_from(lengths), "batch": st.integers(1, 3)}
                for_drawn(check, self.examples, self.seed, **drawn)


class RowContract(BuiltContract):
    """Contract tests of what changes each row by itself."""

    any_axes: ClassVar[bool] = False
    """Whether it takes rows of any axes (..., c), and not only (b n c)."""
    by_place: ClassVar[bool] = False
    """Whether it may treat a row by where it stands in (b n c), as one that keeps rows before the tokens apart."""

    def parts(self, expression: str) -> Iterator[tuple[Stand, Made]]:
        """What is built in each stand, in double precision."""
        for stand in self.stands(expression):
            for made in stand.made()[:1]:
                if made.part is None:
                    pytest.skip("it is nothing")
                made.part.double().eval()
                yield stand, made

    def test_each_row_is_answered_by_itself(self, expression: str) -> None:
        import torch

        from xcompose.verify.measure import distance

        for stand, made in self.parts(expression):
            run: Callable[[Any], Any] = made.part

            def check(sides: list[int], stand=stand, run=run, width=made.context.dim) -> None:
                x = torch.randn(*sides, width, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)
                found = run(x)
                if found.shape != x.shape or not found.isfinite().all():
                    measured = (
                        f"{tuple(x.shape)} became {tuple(found.shape)}, all numbers: {bool(found.isfinite().all())}"
                    )
                    self.breaks(stand, "it gives rows of the shape that it gets", measured)
                last = x.reshape(-1, width)[-1].reshape([1] * len(sides) + [width])
                apart = 0.0 if self.by_place else distance(run(last).reshape(-1), found.reshape(-1, width)[-1])
                if apart > EXACT:
                    measured = f"{tuple(x.shape)}: the last row, alone and among the others, differs by {apart:.2g}"
                    hint = "a statistic over more than the last axis"
                    self.breaks(stand, "what it makes of a row depends on other rows", measured, hint)

            sides = (
                SIDES
                if self.any_axes and not self.by_place
                else st.tuples(st.integers(1, 4), st.integers(1, 9)).map(list)
            )
            with torch.no_grad():
                for_drawn(check, self.examples, self.seed, sides=sides)


class FfnContract(RowContract):
    """Contract tests of feed-forward networks."""

    kind = "ffn"


class NormContract(RowContract):
    """Contract tests of norms."""

    kind = "norm"
    any_axes = True


class ResidualContract(BuiltContract):
    """Contract tests of residuals."""

    kind = "residual"

    def test_it_runs_every_branch_once_and_in_order(self, expression: str) -> None:
        import torch

        from xcompose.compose.parts import Branch

        for stand in self.stands(expression):
            for made in stand.made()[:1]:
                residual, context = made.part.double().eval(), made.context

                def check(n: int, batch: int, stand=stand, residual=residual, context=context) -> None:
                    ran: list[int] = []

                    def branch(number: int) -> Branch:
                        def run(x: Any) -> Any:
                            ran.append(number)
                            return torch.tanh(x) + number, {"number": torch.tensor(number)}

                        return Branch(run)

                    count = context.branches or len(context.roles)
                    x = torch.randn(batch, n, context.dim, dtype=torch.float64)
                    with torch.no_grad():
                        carry, beside = residual(residual.enter(x), [branch(i) for i in range(count)])
                        found = residual.leave(carry)
                    said = [int(one["number"]) for one in beside]
                    if ran != list(range(count)) or said != ran:
                        measured = f"{count} branches: ran {ran}, gave back what {said} gave"
                        self.breaks(stand, "it does not run each branch once, in order", measured)
                    if found.shape[:2] != x.shape[:2] or not found.isfinite().all():
                        measured = f"{tuple(x.shape)} became {tuple(found.shape)}"
                        self.breaks(stand, "what leaves is not a row for each row that entered", measured)

                drawn = {"n": st.integers(1, 9), "batch": st.integers(1, 3)}
                for_drawn(check, self.examples, self.seed, **drawn)
