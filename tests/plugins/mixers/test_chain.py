"""A chain runs one mixer after the other, and reaches what they reach together."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import attention, context, mixer, part, pattern, rows
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

N, C = 9, 12
BLOCKS = attention(heads=3, pattern=pattern("blocks", size=3))
STRIDED = attention(heads=3, pattern=pattern("strided", stride=3))


def test_formula():
    made = mixer(part("mixer", "chain", of=(BLOCKS, STRIDED)), C)
    x, (first, second) = rows(2, N, C), made.members

    found = made(x, Axis(range(N))).x

    assert torch.equal(found, second(first(x, Axis(range(N))).x, Axis(range(N))).x)


def test_what_members_write_on_padding_is_not_read():
    made = mixer(part("mixer", "chain", of=(attention(heads=3, bias=True), attention(heads=3))), C, "none")
    x, valid = rows(2, N, C), torch.arange(N) < torch.tensor([N, 4])[:, None]

    found = made(torch.where(valid[..., None], x, 0.0), Axis(range(N), valid, total=N)).x

    torch.testing.assert_close(found[1:, :4], made(x[1:, :4], Axis(range(4), total=4)).x, rtol=0, atol=1e-12)


def test_blocks_then_strides_reach_every_earlier_block():
    """A stride goes to the same place of an earlier block, which has read its block up to there."""
    made = mixer(part("mixer", "chain", of=(BLOCKS, STRIDED)), C)

    (found,) = made.visible(N)

    assert found.matrix.tolist() == [[j <= i and j % 3 <= i % 3 for j in range(N)] for i in range(N)]
    assert (found.label, found.heads, found.exact) == ("chain", 3, True)


def test_nothing_to_join_is_refused():
    with pytest.raises(PartError) as caught:
        context(C).build(part("mixer", "chain", of=()))

    assert caught.value.message == "mixer 'chain' joins at least one mixer, found none"
    assert caught.value.option == "of"
