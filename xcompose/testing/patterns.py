"""What a pattern owes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import strategies as st

from xcompose.testing.drawing import for_drawn
from xcompose.testing.mixing import MixingContract
from xcompose.testing.stand import Stand

SEEN = 13
"""Positions on each side where pairs are asked one by one."""
FAR = 160
"""Positions up to which readers of a slot are looked for."""


class PatternContract(MixingContract):
    """Contract tests of patterns.

    Those of a fixed pattern ask `allows`, which is the definition; all else that the pattern says must agree with it.
    """

    kind = "pattern"
    longest: ClassVar[int] = 90
    """The longest sequence whose cover is looked at."""

    def groups(self, stand: Stand) -> Iterator[tuple[int, int, Any]]:
        """The pattern of each group of heads whose definition can be asked: its first head, how many, the pattern."""
        heads, first = stand.spec.model.options["heads"], 0  # type: ignore[union-attr]
        for made in stand.made()[:1]:
            for count, part in made.part.groups(heads):
                if not part.learned:
                    yield first, count, part.present()
                first += count

    def fixed(self, expression: str) -> Iterator[tuple[Stand, bool, int, Any]]:
        """Each stand with each pattern in it whose definition can be asked: whether causal, the longest sequence."""
        __tracebackhide__ = True
        found = False
        for stand in self.stands(expression):
            for _, _, part in self.groups(stand):
                found = True
                yield stand, stand.subject.causal != "none", stand.longest(self.longest), part
        if not found:
            pytest.skip("contents choose: `allows` alone says nothing")

    def test_its_heads_add_up(self, expression: str) -> None:
        for stand in self.stands(expression):
            heads = stand.spec.model.options["heads"]  # type: ignore[union-attr]
            for made in stand.made()[:1]:
                counts = [count for count, _ in made.part.groups(heads)]
                if sum(counts) != heads or min(counts) < 1:
                    measured = f"`groups({heads})` gives groups of {', '.join(map(str, counts))}"
                    self.breaks(stand, "its groups are not all heads of the layer", measured)

    def test_numbers_arrays_and_tensors_are_answered_alike(self, expression: str) -> None:
        import torch

        from xcompose.attention.pattern import Point

        for stand, causal, longest, part in self.fixed(expression):
            n = min(SEEN, longest)
            total, at = None if causal else n, np.arange(n)
            sides = {
                "tensors": [torch.arange(n)[:, None], torch.arange(n)[None]], "arrays": [at[:, None], at[None]],
            }  # fmt: skip
            one = np.array([[bool(part.allows(Point(at=i, total=total), Point(at=j, total=total))) for j in range(n)]
                            for i in range(n)])  # fmt: skip
            for what, (q, k) in sides.items():
                said = np.broadcast_to(
                    np.asarray(part.allows(Point(at=q, total=total), Point(at=k, total=total))), (n, n)
                )
                if (said != one).any():
                    i, j = np.argwhere(said != one)[0]
                    measured = f"query {i}, key {j}: {one[i, j]} for numbers, {said[i, j]} for {what}"
                    hint = (
                        "write `allows` with & | ~ and comparisons alone: `and`, `or`, `not`, `if` ask for one number"
                    )
                    self.breaks(stand, "`allows` says one thing of numbers and another of many at once", measured, hint)

    def test_the_cover_holds_every_pair_once(self, expression: str) -> None:
        from xcompose.attention.checks import cover_fault

        for stand, causal, longest, part in self.fixed(expression):
            if part.per_head:
                pytest.skip("heads have patterns of their own, which no cover serves")

            def check(n: int, late: int, start: int, stand=stand, causal=causal, part=part) -> None:
                queries, keys = range(min(late, n - 1), n), range(min(start, late, n - 1), n)
                if fault := cover_fault(part, queries, keys, causal):
                    measured = f"cover({queries}, {keys}, causal={causal}): {fault}"
                    hint = "tiles that end one position early or late, or that overlap without an `allows`"
                    self.breaks(stand, "the cover does not hold every allowed pair exactly once", measured, hint)

            drawn = {"n": st.integers(1, longest), "late": st.integers(0, 40), "start": st.integers(0, 20)}
            for_drawn(check, 3 * self.examples, self.seed, **drawn)

    def test_the_last_reader_is_not_too_early(self, expression: str) -> None:
        from xcompose.attention.checks import early_last_reader
        from xcompose.attention.pattern import Point

        for stand, causal, _, part in self.fixed(expression):
            if not causal:
                continue
            n = stand.longest(FAR)
            at = np.arange(n)
            reads = np.broadcast_to(part.allows(Point(at=at[:, None]), Point(at=at[None])), (n, n)) & (
                at[:, None] >= at
            )
            latest = np.where(reads.any(0), n - 1 - reads[::-1].argmax(0), -1)
            said = np.broadcast_to(part.last_reader(at), (n,))
            alone = np.array([part.last_reader(int(j)) for j in at[:: max(1, n // 20)]])
            early = said < latest
            j = int(early.argmax())
            found = (j, said[j], latest[j]) if early[j] else early_last_reader(part, stand.planned.options.length)
            if found:
                measured = "key {}: last_reader says {}, but query {} reads it".format(*found)
                self.breaks(
                    stand, "a cache would drop a key that is still read", measured, "`last_reader` is too early"
                )
            if (alone != said[:: max(1, n // 20)]).any():
                self.breaks(stand, "`last_reader` says one thing of a number and another of many at once")

    def test_its_flags_tell_the_truth(self, expression: str) -> None:
        from xcompose.attention.pattern import DependsOnLength, Point

        for stand, causal, longest, part in self.fixed(expression):
            n = longest
            at, before, total = np.arange(n), -np.arange(1, 4), None if causal else n
            q, k = Point(at=at[:, None], total=total), Point(at=at[None], total=total)
            every = np.broadcast_to(part.allows(q, k), (n, n))
            wrong = {
                "full": part.full and not every.all(), "empty": part.empty and every.any(),
                "per_head": not part.per_head and any(
                    (part.allows(Point(at=at[:, None], head=h, total=total), k) != every).any() for h in (1, 2, 3)
                ),
            }  # fmt: skip
            if not causal and part.prefix_pairs != "some":
                early = Point(at=before[None], total=total)
                answers = np.broadcast_to(part.allows(q, early), (n, 3))
                wrong["prefix_pairs"] = not (answers.all() if part.prefix_pairs == "all" else not answers.any())
            try:
                part.allows(Point(at=3), Point(at=1))
            except DependsOnLength:
                wrong["needs_length"] = not part.needs_length
            for name, lies in wrong.items():
                if lies:
                    self.breaks(stand, f"`{name}` is not what `allows` says", f"{name} = {getattr(part, name)!r}")

    def test_what_is_steady_stays_the_same_when_moved(self, expression: str) -> None:
        from xcompose.attention.pattern import Point

        for stand, causal, longest, part in self.fixed(expression):
            if (steady := part.steady(longest)) is None:
                continue
            total, step = None if causal else longest, steady.period
            at = np.arange(max(0, steady.low), min(longest, steady.high) - step)
            if len(at) == 0:
                continue
            here, there = (
                part.allows(Point(at=(at + by)[:, None], total=total), Point(at=(at + by)[None], total=total))
                for by in (0, step)
            )
            if (np.asarray(here) != np.asarray(there)).any():
                measured = f"steady({longest}) = {steady}"
                self.breaks(stand, f"moved by {step}, `allows` says something else", measured, "`steady` says too much")

    def test_its_pairs_are_counted_right(self, expression: str) -> None:
        from xcompose.attention.counts import pairs
        from xcompose.attention.visible import visible_matrix

        for stand, causal, longest, part in self.fixed(expression):
            if part.per_head or part.otherwise != "nothing":
                continue
            for n in sorted({1, min(7, longest), longest}):
                counted, there = pairs(part, n, causal), int(visible_matrix(part, n, causal).sum())
                if counted != there:
                    measured = f"{n} positions, causal={causal}: {counted} pairs in the cover, {there} are allowed"
                    self.breaks(stand, "its pairs are not those that are counted from its cover", measured)

    def test_it_joins_with_a_window(self, expression: str) -> None:
        from xcompose.attention.algebra import Difference, Intersection, Union
        from xcompose.attention.checks import cover_fault

        near = self.registry.component("pattern", "window").options(size=3)
        for stand, causal, longest, part in self.fixed(expression):
            if stand.component.build is not None or part.per_head:
                pytest.skip("it is no fixed pattern, and no set operation takes it")
            joined = {"|": Union((part, near)), "&": Intersection((part, near)), "-": Difference((part, near))}
            for sign, pattern in joined.items():

                def check(n: int, stand=stand, causal=causal, pattern=pattern, sign=sign) -> None:
                    if fault := cover_fault(pattern, range(n), range(n), causal):
                        measured = f"{n} positions, causal={causal}: {fault}"
                        hint = "the cover alone is right: look for an `allows` of a tile that asks for its tile"
                        self.breaks(stand, f"'{stand.expression} {sign} window(3)' is covered wrong", measured, hint)

                for_drawn(check, self.examples, self.seed, n=st.integers(1, longest))
