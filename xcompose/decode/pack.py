"""Ragged rows in rectangular tensors: what counts stands left, in order; the places behind it are filled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def pack(keep: Tensor, rows: Mapping[str, Tensor], fill: Mapping[str, Any]) -> dict[str, Tensor]:
    """Move the rows to keep to the left, in order, and cut what no sequence needs.

    Args:
        keep: (b m) bool.
        rows: tensors (b m ...) by name.
        fill: by name, what stands where a sequence keeps fewer rows than another; 0 if not given.

    Returns:
        Tensors (b w ...), w being the most rows that one sequence keeps.
    """
    count = keep.sum(1)
    width = int(count.max()) if len(count) else 0
    order = torch.sort((~keep).to(torch.uint8), dim=1, stable=True).indices[:, :width]
    there = torch.arange(width, device=keep.device) < count[:, None]
    return {name: fill_rows(take_rows(t, order), there, fill.get(name, 0)) for name, t in rows.items()}


def take_rows(t: Tensor, places: Tensor) -> Tensor:
    """Rows of t (b m ...) at places (b w), as (b w ...)."""
    wide = places.reshape(*places.shape, *[1] * (t.ndim - 2)).expand(*places.shape, *t.shape[2:])
    return t.gather(1, wide)


def fill_rows(t: Tensor, there: Tensor, value: Any = 0) -> Tensor:
    """t (b m ...) with a value in all rows that are not there; `there` is (b m) bool."""
    return torch.where(there.reshape(*there.shape, *[1] * (t.ndim - 2)), t, value)
