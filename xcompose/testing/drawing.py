"""Shapes that Hypothesis draws: the same ones for one seed, and a failure with the smallest that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st


def for_drawn(check: Callable[..., None], examples: int, start: int, /, **drawn: st.SearchStrategy[Any]) -> None:
    """Call a check with drawn values, and fail with what it says of the smallest that it refuses.

    Args:
        check: takes each drawn value by its name; fails with `pytest.fail`.
        examples: how many are drawn.
        start: the seed.
        drawn: what to draw, by name.
    """
    __tracebackhide__ = True

    @seed(start)
    @settings(
        max_examples=examples, database=None, deadline=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow], report_multiple_bugs=False,
    )  # fmt: skip
    @given(**drawn)
    def each(**values: Any) -> None:
        check(**values)

    try:
        each()
    except pytest.fail.Exception as failure:
        raise pytest.fail.Exception(str(failure.msg), pytrace=False) from None


def cuts(n: int) -> st.SearchStrategy[list[int]]:
    """Pieces, from first to last, that n rows are cut into."""
    return st.sets(st.integers(1, max(1, n - 1)), max_size=4).map(lambda places: _pieces(sorted(places), n))


def _pieces(places: list[int], n: int) -> list[int]:
    edges = [0, *(place for place in places if place < n), n]
    return [end - begin for begin, end in zip(edges, edges[1:], strict=False)]
