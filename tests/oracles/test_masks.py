"""Patterns beside the mask modifiers of attn_gym 0.0.17, as torch's flex attention spells them out.

Where the oracle departs: its dilated window counts positions, |i - j| <= window, ours keys, so its window is our size
times the dilation; its sliding window is causal.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("attn_gym", reason="pip install -e '.[oracles]'")
from attn_gym.masks import (
    causal_mask,
    generate_dilated_sliding_window,
    generate_global_sliding_window,
    generate_sliding_window,
)
from torch.nn.attention.flex_attention import create_mask

from tests.plugins.helpers import pattern
from xcompose.attention.algebra import Union
from xcompose.attention.counts import pairs
from xcompose.attention.visible import visible_matrix

pytestmark = pytest.mark.oracle
LENGTHS = (1, 7, 23, 40)


def equal(theirs, ours, n: int, causal: bool) -> None:
    wanted = create_mask(theirs, None, None, n, n, device="cpu")[0, 0]
    assert torch.from_numpy(visible_matrix(ours, n, causal, 1)[0]).equal(wanted)
    assert pairs(ours, n, causal) == int(wanted.sum())


@pytest.mark.parametrize("n", LENGTHS)
def test_everything_before(n):
    equal(causal_mask, pattern("dense"), n, True)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_window(n, size):
    equal(generate_sliding_window(size), pattern("window", size=size), n, True)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize(("size", "dilation"), [(1, 2), (3, 2), (2, 3), (4, 1)])
def test_a_dilated_window(n, size, dilation):
    ours = pattern("window", size=size, dilation=dilation)

    equal(generate_dilated_sliding_window(size * dilation, dilation), ours, n, False)


@pytest.mark.parametrize("n", [7, 23, 40])
@pytest.mark.parametrize(("size", "first"), [(1, 1), (3, 2), (2, 5)])
def test_a_window_and_tokens_that_all_read_and_that_read_all(n, size, first):
    ours = Union((pattern("window", size=size), pattern("global", first=first)))

    equal(generate_global_sliding_window(size, torch.arange(n) < first), ours, n, False)
