"""Several memories at once: one softmax over the slots of all."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import attention, context, mixer, part, rows
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

C = 12


def conv(factor, **given):
    return part("memory", "conv", factor=factor, **given)


def test_members_of_members_are_read_side_by_side():
    joined = part("memory", "all", of=(conv(2, null="learned"), part("memory", "all", of=(conv(3),))))
    made = mixer(attention(heads=3, pattern="none", memory=joined), C)

    assert made.inner.names == ("memory all", "memory all 2", "memory all 3")
    assert [memory.spans(6).start[-1] for memory in (made.inner.memories[0], made.inner.memories[2])] == [4, 3]


def test_two_equal_memories_are_one():
    """Every slot is there twice, so every weight is halved."""
    once = mixer(attention(heads=3, pattern="none", memory=conv(2)), C)
    twice = mixer(attention(heads=3, pattern="none", memory=part("memory", "all", of=(conv(2), conv(2)))), C)
    state = once.state_dict()
    twice.load_state_dict(
        state | {name.replace("memory.0", "memory.1"): t for name, t in state.items() if "memory.0" in name}
    )
    x = rows(2, 7, C)

    torch.testing.assert_close(twice(x, Axis(range(7))).x, once(x, Axis(range(7))).x, rtol=0, atol=1e-12)


def test_nothing_to_join_is_refused():
    with pytest.raises(PartError) as caught:
        context(C).build(part("memory", "all", of=()))

    assert caught.value.message == "memory 'all' joins at least one memory, found none"
    assert caught.value.option == "of"
