"""Blocks and windows beside local-attention 1.11.2.

Where the oracle departs: `exact_windowsize` reads window_size keys and the query, which is our `window(size)`; rotary
is switched on where `dim` is given, so none is given; lengths are filled up on the right (`autopad`), and what was
filled up is kept out by its `mask`.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("local_attention", reason="pip install -e '.[oracles]'")
from local_attention import LocalAttention

from tests.plugins.helpers import pattern, rows
from xcompose.attention.attend import attend
from xcompose.attention.reads import Axis, Read, Slots

pytestmark = pytest.mark.oracle
B, H, D, W = 2, 3, 5, 4
SETTINGS = {
    "causal, one block back": (dict(causal=True, look_backward=1), pattern("blocks", size=W, back=1)),
    "causal, own block": (dict(causal=True, look_backward=0), pattern("blocks", size=W)),
    "causal, exact": (dict(causal=True, look_backward=1, exact_windowsize=True), pattern("window", size=W)),
    "blocks on both sides": (
        dict(causal=False, look_backward=1, look_forward=1), pattern("blocks", size=W, back=1, ahead=1),
    ),
    "own block": (dict(causal=False, look_backward=0, look_forward=0), pattern("blocks", size=W)),
    "exact": (
        dict(causal=False, look_backward=1, look_forward=1, exact_windowsize=True), pattern("window", size=W),
    ),
}  # fmt: skip


@pytest.mark.parametrize("n", [4, 8, 20, 23])
@pytest.mark.parametrize("setting", SETTINGS)
def test_outputs_and_gradients(setting, n):
    given, ours = SETTINGS[setting]
    q, k, v = (rows(B, n, H, D, seed=i).requires_grad_() for i in range(3))
    theirs = LocalAttention(window_size=W, autopad=True, use_rotary_pos_emb=False, **given)
    there = torch.ones(B, n, dtype=torch.bool)

    wanted = theirs(*(t.transpose(1, 2) for t in (q, k, v)), mask=there).transpose(1, 2)
    axis = Axis(range(n), total=None if given["causal"] else n)
    found = attend([Read(q, axis, Slots(k, v, range(n)), ours, given["causal"], D**-0.5)])

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    upstream = rows(B, n, H, D, seed=7)
    for one, other in zip(*(torch.autograd.grad(y, [q, k, v], upstream) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
