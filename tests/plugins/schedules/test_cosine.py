from __future__ import annotations

import math

import pytest
from xcompose_plugins.schedules.cosine import CosineOptions, build

from xcompose.api import Context

CONTEXT = Context(dim=5, causal="strict")


def test_it_grows_then_falls_as_half_a_cosine():
    factor = build(CosineOptions(warmup=5, floor=0.1), CONTEXT)

    assert [factor(t, 105) for t in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0], abs=1e-12)
    assert factor(55, 105) == pytest.approx(0.55, abs=1e-12)
    assert factor(30, 105) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2, abs=1e-12)
    assert factor(105, 105) == pytest.approx(0.1, abs=1e-12)


def test_behind_the_end_it_stays_at_the_floor():
    assert build(CosineOptions(floor=0.25), CONTEXT)(31, 7) == 0.25


def test_without_warmup_it_starts_at_the_top():
    assert build(CosineOptions(), CONTEXT)(0, 100) == 1.0


def test_a_run_shorter_than_the_warmup_is_fine():
    assert build(CosineOptions(warmup=100), CONTEXT)(6, 7) == pytest.approx(0.07)
