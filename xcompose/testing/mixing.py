"""What everything owes that works inside a mixer: patterns, scores, memories, recurrences, positions, and mixers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import strategies as st

from xcompose.testing.contract import BuiltContract
from xcompose.testing.drawing import cuts, for_drawn
from xcompose.testing.stand import Stand

if TYPE_CHECKING:
    from xcompose.verify.subject import Part

LENGTHS = (1, 2, 3, 5, 7, 11, 16, 17, 23, 32, 37)
"""Lengths to draw from, where a model takes them."""
EXACT = 1e-9
"""How far two ways to compute one thing may be apart in double precision, relative to the largest answer."""


@contextmanager
def by_the_book() -> Iterator[None]:
    """Let the reference executor answer every read of softmax attention."""
    from xcompose.attention import attend

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attend, "choose", lambda reads, dropout: ("reference", "by the book"))
        yield


class MixingContract(BuiltContract):
    """Contract tests of what moves information along the sequence."""

    smooth: ClassVar[bool] = True
    """Whether gradients are those of what is computed: False where some are stopped on purpose."""

    def mixers(self, stand: Stand) -> list[Part]:
        """The mixers of a stand's model that read their own sequence, in double precision."""
        from xcompose.compose.parts import Mixer
        from xcompose.verify.subject import outermost

        parts = [p for p in stand.subject.parts() if isinstance(p.module, Mixer) and not p.cross]
        return outermost(parts)

    def test_for_any_length_it_is_attention_by_the_book(self, expression: str) -> None:
        import torch

        from xcompose.verify.measure import distance
        from xcompose.verify.subject import alone, rows

        for stand in self.stands(expression):
            lengths = stand.lengths(LENGTHS)
            for part in self.mixers(stand):

                def check(n: int, batch: int, stand: Stand = stand, part: Part = part) -> None:
                    x = rows(part, n, self.seed, torch.float64, batch=batch)
                    with torch.no_grad():
                        found = alone(part, n)(x)
                        with by_the_book():
                            wanted = alone(part, n)(x)
                    if (apart := distance(found, wanted)) > EXACT:
                        measured = f"{batch} x {n} rows: the answers differ by {apart:.2g}"
                        hint = "tiles that leave pairs out or hold some twice: look at `cover`"
                        self.breaks(stand, "the fast way does not give what the definition gives", measured, hint)

                drawn = {"n": st.sampled_from(lengths), "batch": st.integers(1, 3)}
                for_drawn(check, self.examples, self.seed, **drawn)

    def test_any_cut_gives_the_same(self, expression: str) -> None:
        import torch

        from xcompose.verify.measure import distance
        from xcompose.verify.subject import alone, rows

        for stand in self.stands(expression):
            if stand.subject.causal != "strict":
                continue
            lengths = stand.lengths(LENGTHS)
            for part in self.mixers(stand):
                if not part.causal:
                    continue

                def check(sizes: list[int], batch: int, stand: Stand = stand, part: Part = part) -> None:
                    n = sum(sizes)
                    x = rows(part, n, self.seed, torch.float64, batch=batch)
                    with torch.no_grad():
                        apart = distance(in_pieces(part, x, sizes), alone(part, n)(x))
                    if apart > EXACT:
                        measured = (
                            f"{batch} x {n} rows cut into {', '.join(map(str, sizes))}: they differ by {apart:.2g}"
                        )
                        hint = "a state that is one short, or forgets where it stands"
                        self.breaks(stand, "piece by piece it gives something else than at once", measured, hint)

                drawn = {"sizes": st.sampled_from(lengths).flatmap(cuts), "batch": st.integers(1, 3)}
                for_drawn(check, self.examples, self.seed, **drawn)

    def test_its_gradients_are_right(self, expression: str) -> None:
        import torch

        from xcompose.verify.subject import alone, rows

        if not self.smooth:
            pytest.skip("smooth = False")
        for stand in self.stands(expression):
            n = next(m for m in (7, *reversed(stand.lengths(LENGTHS))) if stand.takes(m))
            for part in self.mixers(stand):
                x = rows(part, n, self.seed, torch.float64, batch=2).requires_grad_()
                try:
                    torch.autograd.gradcheck(alone(part, n), x, fast_mode=True, atol=1e-6, rtol=1e-4, nondet_tol=1e-9)
                except torch.autograd.gradcheck.GradcheckError as error:  # type: ignore[attr-defined]
                    measured = str(error).strip().partition("\n")[0]
                    hint = "a backward by hand, a detached tensor, or an answer that is not smooth (smooth = False)"
                    self.breaks(stand, "its gradient is not the one of what it computes", measured, hint)


def in_pieces(part: Part, x, sizes: list[int]):
    """What a mixer gives of rows (b n c) that reach it piece by piece."""
    import torch

    from xcompose.attention.reads import Axis
    from xcompose.compose.parts import Mixer

    mixer = part.module
    assert isinstance(mixer, Mixer)
    state, at, found = mixer.start(x.shape[0], x), 0, []
    for size in sizes:
        mixed = mixer(x[:, at : at + size], Axis(range(at, at + size)), state)
        state, at = mixed.state, at + size
        found.append(mixed.x)
    return torch.cat(found, 1)
