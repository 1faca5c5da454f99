"""Dense: every query may read every key.

Maths    S_i = {j : 0 <= j < n};  in a decoder the core keeps j <= i
Shapes   q (b n h d), k (b m g d);  also between two sequences, n != m
Cost     n m pairs per head; n (n + 1) / 2 in a decoder; the cache keeps every key
Limits   quadratic; the yardstick for all others
Paper    Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762, s. 3.2
"""

from __future__ import annotations

from xcompose.api import Component, Everything, hookimpl, options


@options
class Dense(Everything):
    """All pairs, as where no pattern is written. There are no options."""


@hookimpl
def components():
    return [Component(kind="pattern", name="dense", options=Dense, also=("full",))]
