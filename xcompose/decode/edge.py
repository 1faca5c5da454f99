"""The edge of a model: padded input, wherever the padding lies, in and out of the right-padded form used inside.

No shape depends on data, so both directions compile and export.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Packed(NamedTuple):
    """Tokens with those of each row moved to its front."""

    tokens: Tensor
    """(b n) int64, or rows (b n w) of numbers; 0 where there is none"""
    valid: Tensor
    """(b n) bool, true then false in each row"""
    place: Tensor
    """(b n) int64: where in the packed row each place of the original went"""
    mask: Tensor
    """(b n) bool, as given"""


def gather(tokens: Tensor, mask: Tensor) -> Packed:
    """Move the tokens of each row to its front, in order.

    Args:
        tokens: (b n) int64, or rows (b n w) of numbers; what stands where the mask is false is never looked at.
        mask: (b n) bool, true where a token is.
    """
    order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
    valid = mask.gather(1, order)
    packed = _taken(tokens, order).masked_fill(~_beside(valid, tokens), 0)
    return Packed(packed, valid, torch.argsort(order, dim=1), mask)


def scatter(x: Tensor, packed: Packed) -> Tensor:
    """Put rows (b n ...) back where their tokens came from; zeros where there was none."""
    rows = _taken(x, packed.place)
    return torch.where(_beside(packed.mask, x), rows, torch.zeros_like(rows))


def _taken(x: Tensor, places: Tensor) -> Tensor:
    """The rows of x (b n ...) that stand at places (b n)."""
    return x.gather(1, _beside(places, x).expand(*places.shape, *x.shape[2:]))


def _beside(t: Tensor, x: Tensor) -> Tensor:
    """t (b n) with an axis of one for each axis of x (b n ...) behind n."""
    return t.reshape(*t.shape, *[1] * (x.dim() - 2))
