from __future__ import annotations

import subprocess
import sys

import pytest

from xcompose.api import NEVER, DependsOnLength, Pattern, Point, Run, options


@options
class Below(Pattern):
    """Every key up to the query: the least that a pattern must say."""

    def allows(self, q, k):
        return k.at <= q.at


def test_the_default_cover_is_one_tile_with_the_predicate():
    pattern = Below()
    (run,) = pattern.cover(range(5, 11), range(2, 23, 3), False)

    assert (run.count, run.rows, run.cols) == (1, 6, 7)
    assert (run.q_start, run.q_stride, run.k_start, run.k_stride) == (5, 1, 2, 3)
    assert run.allows == pattern.allows
    assert pattern.cover(range(0), range(7), False) == pattern.cover(range(7), range(0), True) == ()


def test_the_default_pattern_drops_nothing_and_divides_nothing():
    pattern = Below()

    assert pattern.last_reader(17) == NEVER
    assert pattern.groups(5) == ((5, pattern),)
    assert pattern.steady(100) is None
    assert not any([pattern.full, pattern.empty, pattern.learned, pattern.crosses, pattern.per_head])


def test_a_point_without_a_span_stands_for_itself():
    assert (Point(at=5).first, Point(at=5).last) == (5, 5)
    assert (Point(at=5, start=3, end=8).first, Point(at=5, start=3, end=8).last) == (3, 8)


def test_a_point_knows_the_length_or_says_that_there_is_none():
    assert Point(at=5, total=11).length == 11
    with pytest.raises(DependsOnLength):
        _ = Point(at=5).length


def test_a_single_tile_is_cut_to_the_sequence():
    early = Run(1, 10, 20, -3, 0, -5, 0).clipped(range(13), range(11))
    late = Run(1, 10, 20, 8, 0, 2, 0).clipped(range(13), range(13))
    outside = Run(1, 4, 4, 30, 0, 30, 0).clipped(range(13), range(13))

    assert (early.q_start, early.rows, early.k_start, early.cols) == (0, 7, 0, 11)
    assert (late.q_start, late.rows, late.k_start, late.cols) == (8, 5, 2, 11)
    assert (outside.rows, outside.cols) == (0, 0)


def test_runs_and_strided_tiles_are_not_cut():
    many = Run(2, 10, 20, -3, 10, -5, 10)
    strided = Run(1, 10, 20, -3, 0, -5, 0, q_stride=2, k_stride=2)

    assert many.clipped(range(13), range(13)) is many
    assert strided.clipped(range(13), range(13)) is strided


def test_patterns_need_no_torch():
    program = (
        "import sys; import xcompose_plugins.patterns.window as w; import xcompose_plugins.patterns.random as r; "
        "p = w.Window(size=3); p.cover(range(9), range(9), True); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout == "False\n"
