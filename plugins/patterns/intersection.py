"""Intersection of patterns: a query reads what all of them allow; written a & b.

Maths    S_i = A_i & B_i & ...
Shapes   as its members
Cost     the tiles of the member that needs fewest, masked by the others; the cache keeps what all members still read
Limits   easily empty for some queries; learned patterns cannot be members
Paper    Child et al., Generating Long Sequences with Sparse Transformers, 2019, arXiv:1904.10509, s. 4.2
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Intersection, Part, Pattern, hookimpl, option, options, set_members


@options
class IntersectionOptions:
    of: tuple[Part.pattern, ...] = option(main=True)
    """The patterns that must agree."""


def _build(options: IntersectionOptions, context: Any) -> Pattern:
    return Intersection(set_members("intersection", options.of, context))


@hookimpl
def components():
    return [Component(kind="pattern", name="intersection", options=IntersectionOptions, build=_build)]
