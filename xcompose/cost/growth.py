"""How a count grows with the length: from counts at n, 2n and 4n to the smallest class that covers them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xcompose.spec.values import Growth

SLACK = 0.05
"""How far a measured exponent may lie above that of its class."""
CLASSES = (
    Growth("O(1)", 0.0),
    Growth("O(log n)", 0.0, True),
    Growth("O(n)", 1.0),
    Growth("O(n log n)", 1.0, True),
    Growth("O(n^1.5)", 1.5),
    Growth("O(n^2)", 2.0),
    Growth("O(n^2 log n)", 2.0, True),
    Growth("O(n^3)", 3.0),
)


def exponent(lengths: Sequence[int], values: Sequence[float]) -> float:
    """The exponent of growth between the last two of several lengths; 0 where nothing is counted.

    The longest two decide: there terms of lower order weigh least.
    """
    (n, m), (a, b) = lengths[-2:], values[-2:]
    if b <= 0 or a <= 0:
        return 0.0
    return math.log(b / a) / math.log(m / n)


def allowed(growth: Growth, n: int, m: int) -> float:
    """The largest exponent between n and m that a class covers."""
    logs = math.log(math.log(m) / math.log(n)) / math.log(m / n) if growth.log else 0.0
    return growth.exponent + logs + SLACK


def classify(lengths: Sequence[int], values: Sequence[float]) -> Growth:
    """The smallest class that covers what was counted."""
    found = exponent(lengths, values)
    n, m = lengths[-2:]
    for growth in CLASSES:
        if found <= allowed(growth, n, m):
            return growth
    power = math.ceil(found - SLACK)
    return Growth(f"O(n^{power})", float(power))
