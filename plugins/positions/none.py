"""No position: attention takes the keys as a set, apart from what patterns and causality hide.

Maths    x_i and q_i k_j as they are
Shapes   x (b n c)
Cost     none
Limits   an encoder without patterns cannot tell the order of its tokens; a causal stack can, from how many it sees
Paper    Haviv et al., Transformer Language Models without Positional Encodings Still Learn Positional Information,
         EMNLP Findings 2022, arXiv:2203.16634
"""

from __future__ import annotations

from xcompose.api import Component, Context, Position, hookimpl, options


@options
class NoPositionOptions:
    """No position."""


class NoPosition(Position):
    """Leaves everything as it is."""

    def __init__(self, options: NoPositionOptions, context: Context):
        super().__init__()


@hookimpl
def components():
    return [Component(kind="position", name="none", options=NoPositionOptions, build=NoPosition)]
