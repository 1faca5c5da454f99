"""What a score owes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st

from xcompose.testing.drawing import for_drawn
from xcompose.testing.mixing import EXACT, LENGTHS, MixingContract
from xcompose.testing.stand import Stand


class ScoreContract(MixingContract):
    """Contract tests of scores."""

    kind = "score"

    def scores(self, expression: str) -> Iterator[tuple[Stand, Any, int]]:
        """The score of each stand in double precision, and the width of a head."""
        for stand in self.stands(expression):
            for made in stand.made()[:1]:
                yield stand, made.part.double(), made.context.head_dim

    def test_features_look_at_their_own_row_alone(self, expression: str) -> None:
        import torch

        from xcompose.verify.measure import distance

        kernels = [found for found in self.scores(expression) if found[1].kernel and not found[1].whole]
        if not kernels:
            pytest.skip("it has no features, or says that they look at the whole sequence")
        for stand, score, d in kernels:

            def check(n: int, batch: int, heads: int, stand=stand, score=score, d=d) -> None:
                t = _drawn(batch, n, heads, d, seed=self.seed)
                for side in ("query", "key"):
                    whole, scale = score.features(t, side)
                    lone, own = score.features(t[:1, -1:, :1].contiguous(), side)
                    apart = distance(whole[:1, -1:, :1], lone)
                    if scale is not None and own is not None:
                        apart = max(apart, distance(scale[:1, -1:, :1], own))
                    if whole.shape[:3] != t.shape[:3]:
                        self.breaks(
                            stand, "features are not those of each row", f"{tuple(t.shape)} give {tuple(whole.shape)}"
                        )
                    if apart > EXACT:
                        measured = (
                            f"{side}s ({batch} {n} {heads} {d}): a row alone and among others differ by {apart:.2g}"
                        )
                        hint = "a maximum or a mean over time, heads or the batch: over time it leaks"
                        self.breaks(stand, "the features of a row depend on other rows", measured, hint)

            drawn = {"n": st.integers(1, 9), "batch": st.integers(1, 3), "heads": st.integers(1, 3)}
            with torch.no_grad():
                for_drawn(check, self.examples, self.seed, **drawn)

    def test_a_decoder_gives_what_an_encoder_gives_of_the_text_so_far(self, expression: str) -> None:
        import torch

        from xcompose.verify.measure import distance
        from xcompose.verify.subject import alone, rows

        stands = {stand.subject.causal == "none": stand for stand in self.stands(expression)}
        if len(stands) < 2:
            pytest.skip("it works in decoders only, or in encoders only")
        (before,), (whole,) = self.mixers(stands[False]), self.mixers(stands[True])
        known = before.module.state_dict()
        if {n: t.shape for n, t in known.items()} != {n: t.shape for n, t in whole.module.state_dict().items()}:
            pytest.skip("it has other weights in an encoder than in a decoder")
        kept = {name: t.clone() for name, t in whole.module.state_dict().items()}
        try:
            whole.module.load_state_dict(known)

            def check(n: int) -> None:
                x = rows(before, n, self.seed, torch.float64)
                with torch.no_grad():
                    apart = distance(alone(before, n)(x)[:, -1], alone(whole, n)(x)[:, -1])
                if apart > EXACT:
                    measured = f"the last of {n} rows differs by {apart:.2g}"
                    hint = "a sum over another axis, or a key that is left out or counted twice"
                    self.breaks(stands[False], "causal, it is not what it is for the whole text so far", measured, hint)

            lengths = stands[False].lengths(LENGTHS)
            for_drawn(check, self.examples, self.seed, n=st.sampled_from(lengths))
        finally:
            whole.module.load_state_dict(kept)


def _drawn(*shape: int, seed: int) -> Any:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
