from __future__ import annotations

import pytest
from xcompose_plugins.schedules.constant import ConstantOptions, build

from xcompose.api import Context

CONTEXT = Context(dim=5, causal="strict")


def test_it_stays():
    factor = build(ConstantOptions(), CONTEXT)

    assert [factor(t, 10) for t in (0, 5, 9, 100)] == [1.0] * 4


def test_it_grows_first_when_asked():
    factor = build(ConstantOptions(warmup=4), CONTEXT)

    assert [factor(t, 10) for t in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
