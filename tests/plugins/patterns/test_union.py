from __future__ import annotations

from types import SimpleNamespace

import pytest
from xcompose_plugins.patterns.blocks import Blocks
from xcompose_plugins.patterns.global_ import Global
from xcompose_plugins.patterns.union import UnionOptions, components
from xcompose_plugins.patterns.window import Window

from xcompose.api import PartError, Union

from .owed import owes

CONTEXT = SimpleNamespace(build=lambda part: part)
NEAR, OWN, FIRST = Window(size=3), Blocks(size=5), Global(first=2)


def build(*of):
    (component,) = components()
    return component.build(UnionOptions(of=of), CONTEXT)


def test_a_query_may_read_what_one_member_allows():
    pattern = build(NEAR, OWN, FIRST)

    assert pattern == Union((NEAR, OWN, FIRST))
    for n in (1, 2, 13, 29):
        owes(pattern, n, lambda i, j: abs(i - j) <= 3 or i // 5 == j // 5 or i < 2 or j < 2)


@pytest.mark.parametrize(
    ("of", "found", "fix"), [((), 0, "write at least two patterns"), ((NEAR,), 1, "write the pattern alone")]
)
def test_fewer_than_two_members_are_refused(of, found, fix):
    with pytest.raises(PartError) as caught:
        build(*of)

    assert caught.value.message == f"union joins at least two patterns, found {found}"
    assert caught.value.fixes == (fix,)


def test_a_member_that_chooses_by_contents_is_refused():
    with pytest.raises(PartError) as caught:
        build(NEAR, SimpleNamespace(learned=True))

    assert caught.value.message == "union cannot join a pattern that chooses by contents"
    assert caught.value.label == "which pairs it has is known only when the contents are, so pairs could count twice"
    assert caught.value.fixes == ("give it heads of its own: heads(a, b)", "give it layers of its own")
