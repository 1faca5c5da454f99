"""Who may read whom, as patterns declare it: matrices for pictures and liveness, and what layers reach together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from xcompose.attention.pattern import Pattern, Point


class Places(Protocol):
    """The spans of slots: integer arrays (m)."""

    @property
    def start(self) -> Any: ...

    @property
    def end(self) -> Any: ...

    @property
    def at(self) -> Any: ...


def visible_matrix(
    pattern: Pattern, n: int, causal: bool, heads: int = 1, slots: Places | None = None, prefix: int = 0
) -> np.ndarray:
    """(h n m) bool: which slots the query of each row may read.

    Args:
        n: rows, which stand at positions -prefix .. n - prefix - 1.
        slots: the slots to read; the rows themselves if not given.

    Where contents decide, it is what may be read at most.

    Raises:
        DependsOnLength: the pattern needs the length, and there is none in a decoder.
    """
    groups, first, found = pattern.groups(heads), 0, []
    for count, part in groups:
        found.append(_of_group(part, range(-prefix, n - prefix), causal, (first, count), slots))
        first += count
    return found[0] if len(found) == 1 else np.concatenate(found)


def of_any_head(matrix: np.ndarray) -> np.ndarray:
    """(n m) from (h n m): what any of the heads may read."""
    return matrix[0] if matrix.strides[0] == 0 else np.logical_or.reduce(matrix, axis=0)


def visible_positions(
    pattern: Pattern, n: int, causal: bool, slots: Places, heads: int = 1, prefix: int = 0
) -> np.ndarray:
    """(h n n) bool: which rows each query may read through slots that stand for spans of them."""
    at = np.arange(-prefix, n - prefix)
    holds = (np.asarray(slots.start)[:, None] <= at) & (at <= np.asarray(slots.end)[:, None])
    seen = visible_matrix(pattern, n, causal, heads, slots, prefix)
    alike = seen.strides[0] == 0
    found = (seen[:1] if alike else seen).astype(np.float32) @ holds.astype(np.float32) > 0
    return np.broadcast_to(found, (heads, n, n)) if alike else found


def receptive_field(layers: Iterable[np.ndarray]) -> list[np.ndarray]:
    """(n n) bool after each layer: which inputs may reach each position.

    Args:
        layers: (n n) or (h n n) of each layer, from the first on. Residual streams pass every position to itself.
    """
    found: list[np.ndarray] = []
    for layer in layers:
        n = layer.shape[-1]
        step = layer.reshape(-1, n, n).any(0) | np.eye(n, dtype=bool)
        found.append(step.astype(np.float32) @ found[-1].astype(np.float32) > 0 if found else step)
    return found


def _of_group(pattern: Pattern, rows: range, causal: bool, group: tuple[int, int], slots: Places | None) -> np.ndarray:
    """As `visible_matrix`, for a group of heads: its first one, and how many."""
    (first, heads), n, total = group, len(rows), None if causal else rows.stop
    places = np.arange(rows.start, rows.stop)
    each = heads if pattern.per_head else 1
    query = Point(at=places[:, None], head=np.arange(first, first + each)[:, None, None], total=total)
    if slots is None:
        slot = Point(at=places[None], total=total)
    else:
        start, end, at = (np.asarray(part)[None] for part in (slots.start, slots.end, slots.at))
        slot = Point(at=at, start=start, end=end, total=total)
    readable = np.broadcast_to(slot.last <= query.at if causal else np.True_, (each, n, slot.at.shape[1]))
    found: np.ndarray = readable & (np.True_ if pattern.learned else pattern.allows(query, slot))
    if pattern.otherwise == "self":
        found = found | (~found.any(2, keepdims=True) & readable & (slot.at == query.at))
    return np.broadcast_to(found, (heads, *found.shape[1:]))
