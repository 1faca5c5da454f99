"""What memories and recurrences owe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import strategies as st

from xcompose.testing.drawing import for_drawn
from xcompose.testing.mixing import LENGTHS, MixingContract
from xcompose.testing.stand import Stand

if TYPE_CHECKING:
    from xcompose.attention.reads import Slots
    from xcompose.compose.parts import Memory
    from xcompose.verify.subject import Part


class MemoryContract(MixingContract):
    """Contract tests of memories."""

    kind = "memory"

    def memories(self, expression: str) -> Iterator[tuple[Stand, Part, Memory]]:
        """The memories in each stand's model, in double precision, and the mixers that they stand in."""
        from xcompose.compose.parts import Memory

        for stand in self.stands(expression):
            for part in self.mixers(stand):
                for memory in part.module.modules():
                    if isinstance(memory, Memory):
                        yield stand, part, memory

    def test_slots_stay_in_their_span(self, expression: str) -> None:
        self.certified(expression, "spans")

    def test_spans_stay_as_they_are_when_the_text_grows(self, expression: str) -> None:
        from xcompose.attention.checks import spans_are_prefix

        for stand, part, memory in self.memories(expression):
            if part.causal and stand.subject.causal == "strict" and (fault := spans_are_prefix(memory.spans)):
                self.breaks(stand, "a decoder cannot use these slots", fault, "write spans that only the past decides")

    def test_it_gives_the_slots_that_it_says(self, expression: str) -> None:
        for stand, part, memory in self.memories(expression):

            def check(n: int, batch: int, stand=stand, part=part, memory=memory) -> None:
                said = memory.spans(n)
                for slots in given(part, memory, n, batch, self.seed):
                    count = len(np.asarray(said.at))
                    if slots.k.shape[:2] != (batch, count) or slots.v.shape[:2] != (batch, count):
                        measured = f"{batch} x {n} rows: spans({n}) says {count}, k is {tuple(slots.k.shape)}"
                        hint = "a block that is not complete, counted by one of the two only"
                        self.breaks(stand, "it gives other slots than `spans` says", measured, hint)
                    for name in ("at", "start", "end") if part.causal else ():  # an encoder has no use for them
                        if fault := _other(getattr(slots, name), getattr(said, name), slots, count):
                            self.breaks(
                                stand, f"its slots have another '{name}' than `spans` says", f"{n} rows: {fault}"
                            )

            lengths = stand.lengths(LENGTHS)
            drawn = {"n": st.sampled_from(lengths), "batch": st.integers(1, 3)}
            for_drawn(check, self.examples, self.seed, **drawn)


class RecurrenceContract(MemoryContract):
    """Contract tests of recurrences: memories of earlier segments, with a restriction of the tokens read."""

    kind = "recurrence"
    smooth = False
    detached: ClassVar[bool] = True
    """Whether no gradient flows into rows of earlier segments."""

    def test_no_gradient_flows_into_earlier_segments(self, expression: str) -> None:
        import torch

        from xcompose.attention.visible import visible_matrix
        from xcompose.verify.measure import gradients
        from xcompose.verify.subject import alone, rows

        if not self.detached:
            pytest.skip("detached = False")
        found = False
        for stand, part, memory in self.memories(expression):
            if memory.tokens is None:
                continue
            found = True
            n = stand.subject.n
            own = visible_matrix(memory.tokens, n, True)[0]
            x = rows(part, n, self.seed, torch.float64)
            slopes = gradients(alone(part, n), x, range(n), torch.ones(part.dim, dtype=torch.float64)).numpy()
            foreign = (slopes > 1e-12) & ~own
            if foreign.any():
                i, j = np.argwhere(foreign)[0]
                measured = f"output {i} has a gradient of {slopes[i, j]:.2g} with respect to row {j}"
                hint = "detach the rows that are carried, in `slots` and in `extend`"
                self.breaks(stand, "a gradient flows into rows of an earlier segment", measured, hint)
        if not found:
            pytest.skip("it restricts no read of tokens, so there are no segments")


def given(part: Part, memory: Memory, n: int, batch: int, seed: int) -> list[Slots]:
    """The slots that a memory gives its mixer of n random rows."""
    import torch

    from xcompose.verify.subject import alone, rows

    caught: list[Slots] = []
    original = memory.slots

    def note(*given: Any, **more: Any) -> Any:
        slots, losses = original(*given, **more)
        caught.append(slots)
        return slots, losses

    memory.slots = note  # type: ignore[method-assign]
    try:
        with torch.no_grad():
            alone(part, n)(rows(part, n, seed, torch.float64, batch=batch))
    finally:
        del memory.slots
    return caught


def _other(given: Any, said: Any, slots: Slots, count: int) -> str:
    """How the places of slots differ from those of their spans; empty where they do not."""
    found, wanted = _places(slots.at if given is None else given, count), np.asarray(said).reshape(-1)
    different = found != wanted
    if not different.any():
        return ""
    slot = int(different.argmax())
    return f"slot {slot} says {found[slot]}, its span {wanted[slot]}"


def _places(place: Any, count: int) -> np.ndarray:
    """The places of so many slots of the first sequence and head."""
    from xcompose.attention.places import Stairs, numbers

    if isinstance(place, range | Stairs | int):
        return np.broadcast_to(numbers(place, np.arange(count)), (count,))
    return np.asarray(place).reshape(-1, count)[0] if count else np.zeros(0, dtype=int)
