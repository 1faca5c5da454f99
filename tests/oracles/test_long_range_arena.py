"""The sets of Sparse Transformer beside the mask builder of google-research/long-range-arena at cd31e5c.

Its numpy functions were run at 13 positions, with stand-ins for the packages around them; bit j of row i says whether
query i reads key j. Where the oracle departs: its band of `bandwidth` has as many keys, the query included, so the
paper's key `stride` back is not among them; its summaries have the first position of every block beside the last c.
"""

from __future__ import annotations

import pytest

from tests.plugins.helpers import context, pattern
from xcompose.api import Pattern, Point, Union
from xcompose.attention.visible import visible_matrix

pytestmark = pytest.mark.oracle
N = 13

LOCAL_4 = [1, 3, 7, 15, 30, 60, 120, 240, 480, 960, 1920, 3840, 7680]
STRIDED_4 = [1, 2, 4, 8, 17, 34, 68, 136, 273, 546, 1092, 2184, 4369]
FIXED_1_OF_4 = [1, 3, 7, 15, 16, 48, 112, 240, 256, 768, 1792, 3840, 4096]
FIXED_2_OF_4_1 = [1, 1, 1, 9, 25, 25, 25, 153, 409, 409, 409, 2457, 6553]
FIXED_2_OF_5_2 = [1, 1, 1, 9, 25, 57, 57, 57, 313, 825, 1849, 1849, 1849]


class Beginnings(Pattern):
    """The first position of every block: what the oracle adds."""

    def __init__(self, size: int):
        self.size = size

    def allows(self, q: Point, k: Point):
        return (q.at * 0 + k.at) % self.size == 0


def summary(size: int, last: int) -> Pattern:
    return context(12).build(pattern("summary", size=size, last=last))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (LOCAL_4, pattern("window", size=3)),
        (STRIDED_4, pattern("strided", stride=4)),
        (FIXED_1_OF_4, pattern("blocks", size=4)),
        (FIXED_2_OF_4_1, Union((summary(4, 1), Beginnings(4)))),
        (FIXED_2_OF_5_2, Union((summary(5, 2), Beginnings(5)))),
    ],
    ids=["local", "strided", "fixed 1", "fixed 2, one position", "fixed 2, two positions"],
)
def test_the_sets(theirs, ours):
    found = visible_matrix(ours, N, True)[0]

    assert [sum(1 << j for j in range(N) if row[j]) for row in found] == theirs
