from __future__ import annotations

from types import SimpleNamespace

import pytest
from xcompose_plugins.patterns.dense import Dense
from xcompose_plugins.patterns.heads import HeadsOptions, components
from xcompose_plugins.patterns.strided import Strided
from xcompose_plugins.patterns.window import Window

from xcompose.api import PartError, Point

A, B = Window(size=3), Strided(stride=4)
CONTEXT = SimpleNamespace(build=lambda part: part)


def heads(*of):
    (component,) = components()
    return component.build(HeadsOptions(of=of), CONTEXT)


def test_shares_divide_the_heads():
    assert heads((3, A), (1, B)).groups(8) == ((6, A), (2, B))
    assert heads((6, A), (2, B)).groups(4) == ((3, A), (1, B))
    assert heads((1, A), (1, B), (1, Dense())).groups(3) == ((1, A), (1, B), (1, Dense()))


def test_groups_may_be_divided_again():
    assert heads((2, heads((1, A), (1, B))), (1, Dense())).groups(6) == ((2, A), (2, B), (2, Dense()))


def test_a_share_that_is_not_whole_is_refused():
    with pytest.raises(PartError) as caught:
        heads((3, A), (2, B)).groups(8)

    assert caught.value.message == "8 heads cannot be divided 3 : 2"
    assert caught.value.label == "the shares come out whole for multiples of 5 heads only"
    assert caught.value.fixes == ("heads: 5, 10, 15 ...", "other shares, which divide 8 heads")


def test_legal_numbers_of_heads_take_out_common_factors():
    with pytest.raises(PartError) as caught:
        heads((6, A), (2, B)).groups(6)

    assert caught.value.message == "6 heads cannot be divided 6 : 2"
    assert caught.value.label == "the shares come out whole for multiples of 4 heads only"


@pytest.mark.parametrize("ask", ["allows", "cover", "last_reader"])
def test_there_is_no_common_answer(ask):
    pattern = heads((1, A), (1, B))
    arguments = {"allows": (Point(at=1), Point(at=0)), "cover": (range(3), range(3), True), "last_reader": (0,)}

    with pytest.raises(TypeError, match="^every group of heads has a pattern of its own: ask `groups` first$"):
        getattr(pattern, ask)(*arguments[ask])


def test_it_crosses_clocks_when_all_members_do():
    assert heads((1, Dense()), (1, Dense())).crosses
    assert not heads((1, Dense()), (1, A)).crosses
    assert not heads((1, Dense()), (1, A)).full
