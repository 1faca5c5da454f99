"""Union of patterns: a query reads what at least one of them allows; written a | b.

Maths    S_i = A_i | B_i | ...;  a key that several patterns allow counts once in the softmax
Shapes   as its members
Cost     the pairs of all members at most; tiles that overlap are masked so that none counts twice; the cache keeps what
         any member still reads
Limits   the members share one softmax; learned patterns cannot be members
Paper    Zaheer et al., Big Bird, 2020, arXiv:2007.14062, s. 2
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Part, Pattern, Union, hookimpl, option, options, set_members


@options
class UnionOptions:
    of: tuple[Part.pattern, ...] = option(main=True)
    """The patterns to join."""


def _build(options: UnionOptions, context: Any) -> Pattern:
    return Union(set_members("union", options.of, context))


@hookimpl
def components():
    return [Component(kind="pattern", name="union", options=UnionOptions, build=_build)]
