"""Several positions at once do what each of them does."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import context, part, rows
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

C = 12


def test_all_members_act_in_order():
    inside, outside = context(C, length=9, heads=3, head_dim=4), context(C, length=9)
    members = [part("position", name) for name in ("rotary", "alibi", "transformer-xl")]
    joined = inside.build(part("position", "all", of=tuple(members))).double()
    rotary, alibi, xl = joined.members
    embedded = outside.build(part("position", "all", of=(part("position", "learned"),))).double()
    x, t, axis = rows(2, 5, C), rows(2, 5, 3, 4), Axis(range(5))

    assert torch.equal(embedded.embed(x, axis), embedded.members[0].embed(x, axis))
    assert not torch.equal(embedded.embed(x, axis), x)
    turned = rotary.turn(t, torch.arange(5), "query") + xl.u
    torch.testing.assert_close(joined.turn(t, torch.arange(5), "query"), turned)
    assert [type(term).__name__ for term in joined.terms(3, 4)] == ["Distance", "Distances"]


def test_inside_an_attention_only_what_acts_there_is_built():
    """The model adds to the embedding; a layer that says so again would have weights that nobody uses."""
    of = (part("position", "learned"), part("position", "alibi"))
    inside = context(C, length=9, heads=3, head_dim=4).build(part("position", "all", of=of))

    assert [type(member).__name__ for member in inside.members] == ["Alibi"]


def test_nothing_to_join_is_refused():
    with pytest.raises(PartError) as caught:
        context(C).build(part("position", "all", of=()))

    assert caught.value.message == "position 'all' joins at least one position, found none"
    assert caught.value.option == "of"
