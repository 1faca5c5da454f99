from __future__ import annotations

from types import SimpleNamespace

import pytest
from xcompose_plugins.patterns.blocks import Blocks
from xcompose_plugins.patterns.global_ import Global
from xcompose_plugins.patterns.intersection import IntersectionOptions, components
from xcompose_plugins.patterns.window import Window

from xcompose.api import Intersection, PartError

from .owed import owes

CONTEXT = SimpleNamespace(build=lambda part: part)
NEAR, OWN, FIRST = Window(size=3), Blocks(size=5), Global(first=2)


def build(*of):
    (component,) = components()
    return component.build(IntersectionOptions(of=of), CONTEXT)


def test_a_query_may_read_what_all_members_allow():
    pattern = build(NEAR, OWN)

    assert pattern == Intersection((NEAR, OWN))
    for n in (1, 2, 13, 29):
        owes(pattern, n, lambda i, j: abs(i - j) <= 3 and i // 5 == j // 5)
        owes(build(NEAR, OWN, FIRST), n, lambda i, j: abs(i - j) <= 3 and i // 5 == j // 5 and (i < 2 or j < 2))


def test_fewer_than_two_members_are_refused():
    with pytest.raises(PartError) as caught:
        build(NEAR)

    assert caught.value.message == "intersection joins at least two patterns, found 1"
