"""The model by hand is the composed one, so that the comparison is of the same work."""

from __future__ import annotations

import torch

from xcompose.compare.overhead import BY_HAND, COMPOSED, both, run_overhead


def test_both_compute_the_same():
    composed, by_hand = both(dim=48, heads=3, layers=2)
    tokens = torch.randint(256, (2, 37))

    torch.testing.assert_close(composed(tokens).logits, by_hand(tokens), rtol=0, atol=1e-5)


def test_they_are_timed_beside_each_other():
    result = run_overhead([16], repeats=1)

    assert result.cases == (BY_HAND, COMPOSED)
    assert all(m.seconds > 0 for m in result.measured)
    assert result.of(BY_HAND)[0].ratio == 1.0
    assert result.of(COMPOSED)[0].ratio is not None
