"""Counts are classed by how they grow."""

from __future__ import annotations

import math

import pytest

from xcompose.cost.growth import CLASSES, allowed, classify, exponent

LENGTHS = (2**18, 2**19, 2**20)


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda n: 7, "O(1)"),
        (lambda n: 0, "O(1)"),
        (lambda n: 7 * math.log2(n), "O(log n)"),
        (lambda n: 3 * n + 10**6, "O(n)"),
        (lambda n: n * 257 - 257 * 128, "O(n)"),
        (lambda n: 5 * n * math.log2(n), "O(n log n)"),
        (lambda n: n**1.5, "O(n^1.5)"),
        (lambda n: n * (n + 1) // 2 + 1000 * n, "O(n^2)"),
        (lambda n: n**3, "O(n^3)"),
        (lambda n: n**4, "O(n^4)"),
    ],
)
def test_a_count_gets_its_class(work, expected):
    assert str(classify(LENGTHS, [work(n) for n in LENGTHS])) == expected


def test_the_longest_two_lengths_decide():
    assert exponent((1, 2, 4), (100, 1, 4)) == 2.0


def test_an_exponent_may_lie_five_hundredths_above_its_class():
    linear = next(growth for growth in CLASSES if str(growth) == "O(n)")

    assert allowed(linear, 2**19, 2**20) == pytest.approx(1.05)
    assert str(classify((2**9, 2**10), (1, 2**1.049))) == "O(n)"
    assert str(classify((2**9, 2**10), (1, 2**1.051))) == "O(n log n)"
