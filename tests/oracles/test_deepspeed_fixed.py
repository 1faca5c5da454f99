"""The fixed sets of summary beside FixedSparsityConfig of deepspeed 0.19.0, which is one file of plain torch.

`make oracles` takes this file alone, without the package. With blocks of one position its layout is the merged form: a
local window of `size`, and `last` global positions of each. Where the oracle departs: its global columns begin with
their own rows, so that with several of them some lie ahead of the query, and the causal mask has to be laid over them;
a short window at the end gets global columns, too, which in a decoder its own rows read anyway, and which an encoder
here has not; heads take stretches in turn, head h number h mod s, where here those of a stretch stand side by side.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("deepspeed_sparsity_config", reason="make oracles")
from deepspeed_sparsity_config import FixedSparsityConfig

from tests.plugins.helpers import context, pattern, rows
from xcompose.api import Axis, Read, Slots, Union, attend
from xcompose.attention.counts import pairs
from xcompose.attention.visible import visible_matrix

pytestmark = pytest.mark.oracle
LENGTHS = (8, 13, 24, 37)


def merged(size: int, last: int, spread: str = "all") -> Union:
    given = context(12).build(pattern("summary", size=size, last=last, spread=spread))
    return Union((pattern("blocks", size=size), given))


def layout(n: int, size: int, last: int, heads: int = 1, **given) -> torch.Tensor:
    """(h n n) bool"""
    if heads > 1:
        given |= {"different_layout_per_head": True, "num_different_global_patterns": min(heads, size // last)}
    config = FixedSparsityConfig(heads, block=1, num_local_blocks=size, num_global_blocks=last, **given)
    return config.make_layout(n).bool()


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize(("size", "last"), [(4, 1), (4, 2), (6, 3), (8, 8), (1, 1)])
def test_the_merged_set_of_a_decoder(n, size, last):
    wanted = (layout(n, size, last, attention="unidirectional") & torch.ones(n, n, dtype=torch.bool).tril())[0]
    ours = merged(size, last)

    assert torch.from_numpy(visible_matrix(ours, n, True)[0]).equal(wanted)
    assert pairs(ours, n, True) == int(wanted.sum())


@pytest.mark.parametrize(("size", "last"), [(4, 1), (4, 2), (6, 3)])
def test_the_merged_set_of_an_encoder(size, last):
    wanted = layout(24, size, last, attention="bidirectional")[0]

    assert torch.from_numpy(visible_matrix(merged(size, last), 24, False)[0]).equal(wanted)


@pytest.mark.parametrize(("size", "last", "heads"), [(8, 2, 4), (8, 2, 8), (6, 3, 4), (8, 2, 3)])
def test_heads_that_take_stretches_backwards(size, last, heads):
    n, stretches = 24, min(heads, size // last)
    theirs = layout(n, size, last, heads, attention="unidirectional") & torch.ones(n, n, dtype=torch.bool).tril()
    order = sorted(range(heads), key=lambda h: (h % stretches, h))
    ours = torch.from_numpy(visible_matrix(merged(size, last, "heads"), n, True, heads))

    assert ours.equal(theirs[order])


def test_what_is_read_and_its_gradients():
    """Dense attention of torch under the oracle's mask."""
    n, size, last = 37, 8, 2
    mask = (layout(n, size, last, attention="unidirectional") & torch.ones(n, n, dtype=torch.bool).tril())[0]
    ours = [rows(2, n, 3, 5, seed=i).requires_grad_() for i in range(3)]
    theirs = [t.detach().transpose(1, 2).requires_grad_() for t in ours]
    wanted = torch.nn.functional.scaled_dot_product_attention(*theirs, attn_mask=mask)
    q, k, v = ours
    found = attend([Read(q, Axis(range(n)), Slots(k, v, range(n)), merged(size, last), True, 5**-0.5)])
    upstream = rows(2, n, 3, 5, seed=9)
    found.backward(upstream)
    wanted.backward(upstream.transpose(1, 2))

    torch.testing.assert_close(found, wanted.transpose(1, 2), rtol=0, atol=1e-12)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad.transpose(1, 2), rtol=0, atol=1e-12)
