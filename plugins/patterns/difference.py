"""Difference of patterns: a query reads what the first one allows and none of the others; written a - b.

Maths    S_i = A_i - B_i - ...
Shapes   as its members
Cost     the tiles of the first member, masked; the cache keeps what the first member still reads
Limits   there is no complement: write dense - b, which costs as much as dense; learned patterns cannot be members
Paper    Dai et al., Transformer-XL, 2019, arXiv:1901.02860, s. 3.2 (two reads that must not meet)
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Difference, Part, Pattern, hookimpl, option, options, set_members


@options
class DifferenceOptions:
    of: tuple[Part.pattern, ...] = option(main=True)
    """The pattern to start from, then those to take away."""


def _build(options: DifferenceOptions, context: Any) -> Pattern:
    return Difference(set_members("difference", options.of, context))


@hookimpl
def components():
    return [Component(kind="pattern", name="difference", options=DifferenceOptions, build=_build)]
