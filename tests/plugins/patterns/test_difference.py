from __future__ import annotations

from types import SimpleNamespace

import pytest
from xcompose_plugins.patterns.blocks import Blocks
from xcompose_plugins.patterns.difference import DifferenceOptions, components
from xcompose_plugins.patterns.global_ import Global
from xcompose_plugins.patterns.window import Window

from xcompose.api import Difference, PartError

from .owed import owes

CONTEXT = SimpleNamespace(build=lambda part: part)
NEAR, OWN, FIRST = Window(size=3), Blocks(size=5), Global(first=2)


def build(*of):
    (component,) = components()
    return component.build(DifferenceOptions(of=of), CONTEXT)


def test_a_query_may_read_what_the_first_member_allows_and_no_other():
    pattern = build(OWN, NEAR)

    assert pattern == Difference((OWN, NEAR))
    for n in (1, 2, 13, 29):
        owes(pattern, n, lambda i, j: i // 5 == j // 5 and abs(i - j) > 3)
        owes(build(OWN, NEAR, FIRST), n, lambda i, j: i // 5 == j // 5 and abs(i - j) > 3 and min(i, j) >= 2)


def test_fewer_than_two_members_are_refused():
    with pytest.raises(PartError) as caught:
        build(NEAR)

    assert caught.value.message == "difference joins at least two patterns, found 1"
