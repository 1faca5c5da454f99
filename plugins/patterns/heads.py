"""Heads of different patterns: each group of heads reads by one of its own, heads(3*window(64), strided(64)).

Maths    head h reads by the pattern of its group;  a group of share s has heads s / (sum of shares)
Shapes   q (b n h d);  h must be a multiple of (sum of shares) / gcd(shares)
Cost     the mean of its members, weighted by their shares
Limits   the projections stay common to all heads: the mixer of the same name gives each group its own
Paper    Beltagy, Peters, Cohan, Longformer, 2020, arXiv:2004.05150, s. 4.1 (a dilation for each head)
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Heads, Part, Pattern, hookimpl, option, options


@options
class HeadsOptions:
    of: tuple[Part.pattern, ...] = option(main=True, shares=True)
    """The patterns, each with its share of the heads: heads(3*window(64), dense)."""


def _build(options: HeadsOptions, context: Any) -> Pattern:
    return Heads(tuple((share, context.build(part)) for share, part in options.of))


@hookimpl
def components():
    return [Component(kind="pattern", name="heads", options=HeadsOptions, build=_build)]
