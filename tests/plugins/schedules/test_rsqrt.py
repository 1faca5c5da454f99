from __future__ import annotations

import pytest
from xcompose_plugins.schedules.rsqrt import RsqrtOptions, build

from xcompose.api import Context

CONTEXT = Context(dim=5, causal="strict")


def test_it_grows_to_one_and_falls_with_the_root():
    factor = build(RsqrtOptions(warmup=16), CONTEXT)

    assert [factor(t, 10) for t in (0, 7, 15)] == pytest.approx([1 / 16, 0.5, 1.0])
    assert [factor(t, 10) for t in (63, 255, 1023)] == pytest.approx([0.5, 0.25, 0.125])
