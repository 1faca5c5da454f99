"""What optimizers and schedules owe."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

from hypothesis import strategies as st

from xcompose.testing.contract import Contract
from xcompose.testing.drawing import for_drawn
from xcompose.testing.stand import Stand


class OptimizerContract(Contract):
    """Contract tests of optimizers."""

    kind = "optimizer"
    types = ("decoder",)
    lr: ClassVar[float] = 0.05
    """A learning rate by which it gets somewhere."""

    def begun(self, stand: Stand, lr: float | None = None) -> tuple[list[Any], Any]:
        """Weights of several shapes, and an optimizer of them."""
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        shapes = ((3, 5), (7,), (2, 3, 5))
        weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        weights.append(torch.nn.Parameter(torch.randn(5, generator=generator)))  # which gets no gradient
        rate = self.lr if lr is None else lr
        return weights, stand.made()[0].part([{"params": weights[:1]}, {"params": weights[1:]}], rate)

    def test_it_descends_a_bowl(self, expression: str) -> None:
        for stand in self.stands(expression)[:1]:
            weights, optimizer = self.begun(stand)
            before = float(_bowl(weights))
            for _ in range(60):
                _step(weights, optimizer)
            after = float(_bowl(weights))
            if not after < 0.7 * before:
                measured = f"60 steps at lr = {self.lr}: from {before:.4g} to {after:.4g}"
                self.breaks(stand, "it does not descend a bowl", measured, "a sign, or a step of another size than lr")

    def test_a_rate_of_zero_changes_nothing(self, expression: str) -> None:
        import torch

        for stand in self.stands(expression)[:1]:
            weights, optimizer = self.begun(stand, lr=0.0)
            before = [w.detach().clone() for w in weights]
            for _ in range(3):
                _step(weights, optimizer)
            if not all(torch.equal(w, old) for w, old in zip(weights, before, strict=True)):
                hint = "schedules change `lr` of the groups: every change of a weight must scale with it"
                self.breaks(stand, "at a learning rate of 0 it changes weights", hint=hint)

    def test_it_goes_on_exactly_from_its_state(self, expression: str) -> None:
        import torch

        for stand in self.stands(expression)[:1]:
            weights, optimizer = self.begun(stand)
            for _ in range(3):
                _step(weights, optimizer)
            state, kept = copy.deepcopy(optimizer.state_dict()), [w.detach().clone() for w in weights]
            for _ in range(3):
                _step(weights, optimizer)
            again, other = self.begun(stand)
            with torch.no_grad():
                for w, old in zip(again, kept, strict=True):
                    w.copy_(old)
            other.load_state_dict(state)
            for _ in range(3):
                _step(again, other)
            if not all(torch.equal(a, b) for a, b in zip(weights, again, strict=True)):
                hint = "all that it remembers belongs into `state` and the groups"
                self.breaks(stand, "loaded from its state it goes on otherwise", hint=hint)

    def test_what_gets_no_gradient_stays(self, expression: str) -> None:
        import torch

        for stand in self.stands(expression)[:1]:
            weights, optimizer = self.begun(stand)
            before = weights[-1].detach().clone()
            _step(weights, optimizer)
            if not torch.equal(weights[-1], before):
                self.breaks(stand, "it changes a weight that has no gradient")


class ScheduleContract(Contract):
    """Contract tests of schedules."""

    kind = "schedule"
    types = ("decoder",)

    def test_its_factors_are_numbers_not_below_zero(self, expression: str) -> None:
        for stand in self.stands(expression)[:1]:
            factor = stand.made()[0].part

            def check(total: int, step: int, stand=stand, factor=factor) -> None:
                found = factor(step, total)
                if not isinstance(found, int | float) or not math.isfinite(found) or found < 0:
                    measured = f"step {step} of {total}: {found!r}"
                    hint = "a run may go on for some steps behind the last one, and may have one step only"
                    self.breaks(stand, "a factor of the learning rate is no number from 0 on", measured, hint)

            drawn = {"total": st.integers(1, 10_000), "step": st.integers(0, 10_100)}
            for_drawn(check, 5 * self.examples, self.seed, **drawn)

    def test_the_first_step_learns(self, expression: str) -> None:
        for stand in self.stands(expression)[:1]:
            factor = stand.made()[0].part
            for total in (2, 100, 10_000):
                if not factor(0, total) > 0:
                    hint = "count steps from 0: (step + 1) / warmup"
                    self.breaks(stand, "the first step learns nothing", f"step 0 of {total}: {factor(0, total)}", hint)

    def test_it_goes_by_the_step_alone(self, expression: str) -> None:
        for stand in self.stands(expression)[:1]:
            factor, steps = stand.made()[0].part, [0, 1, 7, 50, 99]
            forward, back = [factor(s, 100) for s in steps], [factor(s, 100) for s in reversed(steps)][::-1]
            if forward != back:
                hint = "a run that goes on asks for its step at once, without those before it"
                self.breaks(stand, "asked in another order it gives other factors", f"{forward} and {back}", hint)


def _bowl(weights: list[Any]) -> Any:
    return sum((w - 1).square().mean() for w in weights[:-1])


def _step(weights: list[Any], optimizer: Any) -> None:
    optimizer.zero_grad()
    _bowl(weights).backward()
    optimizer.step()
