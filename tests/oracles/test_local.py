"""Against local-attention 1.11.2, class LocalAttention: queries, keys and values (b h n d), no weights to map.

    window_size=w, causal, look_backward=k       blocks of w with a memory of k w, in a decoder
    window_size=w, look_backward=look_forward=k  blocks of w with a memory of k w, in an encoder
    ..., exact_windowsize                        a window of w on each side: w + 1 keys in a decoder

Its quirks: `dim` switches rotary positions on silently, so it is left out and they are switched off; `autopad` fills
up on the right to a multiple of the block, with rows that an encoder reads unless a mask is given. A memory is a whole
number of blocks. Blocks of a grid have no implementation to compare with: the tests of the pattern have their sets.
"""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import context, rows
from tests.plugins.helpers import pattern as written
from xcompose.api import Axis, Pattern, Read, Slots
from xcompose.attention.attend import attend

oracle = pytest.importorskip("local_attention", reason="pip install -e '.[oracles]'")
pytestmark = pytest.mark.oracle
B, H, D, SIZE = 2, 3, 5, 4


def local(**given) -> Pattern:
    return context(D).build(written("local", **given))


SETTINGS = {
    "a block": (True, 0, False, local(block=(SIZE,), memory=(0,))),
    "a block and the one before": (True, 1, False, local(block=(SIZE,), memory=(SIZE,))),
    "a block and the two before": (True, 2, False, local(block=(SIZE,), memory=(2 * SIZE,))),
    "a block, both sides": (False, 0, False, local(block=(SIZE,), memory=(0,))),
    "a block and its neighbours": (False, 1, False, local(block=(SIZE,), memory=(SIZE,))),
    "a window": (True, 1, True, written("window", size=SIZE)),
    "a window, both sides": (False, 1, True, written("window", size=SIZE)),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("n", [4, 13, 24])
def test_the_same_answers_and_gradients(name, n):
    causal, back, exact, pattern = SETTINGS[name]
    theirs = oracle.LocalAttention(
        window_size=SIZE, causal=causal, look_backward=back, look_forward=0 if causal else back, autopad=True,
        exact_windowsize=exact, use_rotary_pos_emb=False,
    )  # fmt: skip
    given, ours = ([rows(B, n, H, D, seed=i).requires_grad_() for i in range(3)] for _ in range(2))
    weight = rows(B, n, H, D, seed=3)

    real = torch.ones(B, n, dtype=torch.bool)
    wanted = theirs(*(t.transpose(1, 2) for t in given), mask=real).transpose(1, 2)
    axis = Axis(range(n), total=None if causal else n)
    found = attend([Read(ours[0], axis, Slots(ours[1], ours[2], range(n)), pattern, causal, D**-0.5)])

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), ours), torch.autograd.grad((wanted * weight).sum(), given),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
