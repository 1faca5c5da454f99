"""Which rows of a sequence a mixer has to answer, where queries are divided among several mixers.

The rows are said by a pattern that looks at the query alone. Where they are all in one piece, as the first ones or all
but the first ones are, the mixer need not look at the others.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xcompose.attention.constant import constant
from xcompose.attention.pattern import Pattern, Point
from xcompose.attention.reads import Axis
from xcompose.compose.parts import Visible
from xcompose.decode.cache import times

GRID = 48
"""Positions on each side at which `asks_keys` compares."""


def asks_keys(rows: Pattern) -> bool:
    """Whether the predicate looks at the key, so that it does not say which rows are meant."""
    at = np.arange(-GRID, GRID)
    found = rows.allows(Point(at=at[:, None], total=GRID), Point(at=at[None], total=GRID))
    found = np.broadcast_to(found, (2 * GRID, 2 * GRID))
    return bool((found != found[:, :1]).any())


def counted(rows: Pattern, at: range, total: int | None) -> np.ndarray:
    """(n) bool: which of the rows at these places count.

    Raises:
        DependsOnLength: the pattern asks for the length, and there is none.
    """
    found = rows.allows(Point(at=np.arange(at.start, at.stop), total=total), Point(at=0, total=total))
    return np.broadcast_to(found, len(at)).astype(bool)


@constant
def one_piece(rows: Pattern, at: range, total: int | None) -> range | None:
    """The numbers of the rows that count, if none between them does not; else None."""
    return _one_piece(rows, at, total)


@lru_cache(maxsize=1024)
def _one_piece(rows: Pattern, at: range, total: int | None) -> range | None:
    numbers = np.flatnonzero(counted(rows, at, total))
    if not len(numbers):
        return range(0)
    first, last = int(numbers[0]), int(numbers[-1])
    return range(first, last + 1) if last + 1 - first == len(numbers) else None


def piece_of(rows: Pattern | None, axis: Axis) -> range | None:
    """As `one_piece`, for the rows of an axis; None as well where all of them have to be looked at."""
    if rows is None or not isinstance(axis.at, range) or isinstance(axis.total, Tensor):
        return None
    if rows.needs_length and axis.valid is not None:
        return None
    return one_piece(rows, axis.at, axis.total)


def has_rows(rows: Pattern, at: range) -> bool:
    """Whether any of the rows at these places counts."""
    return bool(counted(rows, at, at.stop).any())


def only_rows(found: tuple[Visible, ...], rows: Pattern, causal: bool, prefix: int = 0) -> tuple[Visible, ...]:
    """What the rows that count may read; the others nothing.

    Args:
        prefix: how many of the rows stand before the tokens.
    """
    if not found:
        return found
    n = len(found[0].matrix) - prefix
    asks = counted(rows, range(-prefix, n), None if causal else n)[:, None]
    return tuple(one._replace(matrix=one.matrix & asks) for one in found)


class Asked:
    """The rows of one call that a mixer has to answer.

    Args:
        rows: which ones; None: all.
        axis: of every row.
    """

    # no attrs class: the compiler follows this one
    def __init__(self, rows: Pattern | None, axis: Axis):
        self.rows, self.whole = rows, axis
        self.piece = piece_of(rows, axis)
        self.axis = None if self.piece is None else _some(axis, self.piece)
        """Of the rows that have to be answered; None where every row has to be looked at."""

    def of(self, x: Tensor) -> Tensor:
        """The rows that have to be answered, of all (b n ...)."""
        return x if self.piece is None else x[:, self.piece.start : self.piece.stop]

    def put(self, y: Tensor) -> Tensor:
        """(b n c) from the answers to the rows that `of` gives, zeros where nothing was asked."""
        if self.rows is None:
            return y
        if self.piece is not None:
            return functional.pad(y, (0, 0, self.piece.start, self.whole.n - self.piece.stop))
        return torch.where(chosen(self.rows, self.whole, y)[..., None], y, torch.zeros_like(y))


def _some(axis: Axis, piece: range) -> Axis:
    assert isinstance(axis.at, range)
    rows = slice(piece.start, piece.stop)
    valid = None if axis.valid is None else axis.valid[:, rows]
    tags = {name: tag[:, rows] for name, tag in axis.tags.items()}
    return Axis(axis.at[rows], valid, tags, axis.total, axis.clock)


def chosen(rows: Pattern, axis: Axis, like: Tensor) -> Tensor:
    """(n) or (b n) bool: which rows of `like` (b n c) count."""
    at, total = axis.positions(like.device), axis.total
    if axis.valid is not None and total is not None and rows.needs_length:
        at, total = times(axis, like.shape[0], like.device), axis.valid.sum(1)[:, None]
    return rows.allows(Point(at=at, total=total), Point(at=0, total=total)).expand(at.shape)
