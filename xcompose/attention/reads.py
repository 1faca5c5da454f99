"""Attention is one softmax over reads: the records that mixers, memories, scores and the engine exchange.

    attend([Read(q, slots, pattern, ...), ...]) -> (b n h e)

The records are standard dataclasses because the compiler follows those and no others.
Shapes use the one alphabet: b batch, n queries, m slots, h heads, g key/value heads, d head width, e value width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from xcompose.attention.pattern import Pattern, Point
from xcompose.attention.places import Stairs, every

BEFORE_TIME = -(2**62)
"""The `end` of a slot that belongs to no position and always exists."""


@dataclass(frozen=True, eq=False)
class Axis:
    """The rows of a (b n c) tensor on the time line.

    `at` is a `range` where all rows of the batch stand at the same places (training, prefill from nothing, steps in
    unison): plans are made from it without looking at data. It is a tensor (b n) where they do not.
    """

    at: range | Tensor
    valid: Tensor | None = None
    """(b n) bool; None: every row holds a token. Invalid rows are zeroed by the model and read by nobody."""
    tags: Mapping[str, Tensor] = field(default_factory=dict)
    """(b n) integers by name."""
    total: int | Tensor | None = None
    """The length of the sequence, where the model sees all of it at once (encoders); None in decoders. Lengths
    (b 1 1 1) where padding makes them differ and a pattern asks for them."""
    clock: str = "tokens"
    """Positions compare only on one clock; the source of cross-attention has another."""

    @property
    def n(self) -> int:
        return len(self.at) if isinstance(self.at, range) else self.at.shape[-1]

    @property
    def prefix(self) -> int:
        """How many rows stand before the tokens, below position 0."""
        return max(0, -self.at.start) if isinstance(self.at, range) else 0

    def lengths(self) -> Tensor:
        """(b) how many tokens each sequence has, where some rows hold none; prefix rows do not count."""
        assert self.valid is not None, "without `valid` all sequences have one length"
        return self.valid.sum(1) - self.prefix

    def positions(self, device: torch.device) -> Tensor:
        """(n) where all rows agree, else (b n); int64."""
        if isinstance(self.at, range):
            return every(self.at, device)
        return self.at


@dataclass(frozen=True, eq=False)
class Slots:
    """Keys and values, and the span of time each slot stands for."""

    k: Tensor
    """(b m g d), turned by the position already."""
    v: Tensor
    """(b m g e)"""
    at: range | Tensor
    """(m) or (b m), or (b h m) where heads keep rows of their own"""
    start: range | Stairs | Tensor | int | None = None
    end: range | Stairs | Tensor | int | None = None
    """None: the same as `at` (tokens). One number for all: `BEFORE_TIME` for slots that always exist."""
    log_weight: Tensor | None = None
    """(b m) or (b h m): added to the logits; -inf where a slot does not exist."""
    tags: Mapping[str, Tensor] = field(default_factory=dict)
    """(b m) or (b h m) integers by name."""


class Term(ABC):
    """An additive, pairwise part of the logits: `label(i, slot)` times a table. ALiBi, T5, Transformer-XL, Shaw ..."""

    trainable: bool = False
    """Whether gradients flow into it; then the fused kernel is left."""
    by_distance: bool = False
    """Whether labels depend on `q.at - k.at` alone. A tile of even steps then asks once for each distance, not for each
    pair: labels come as (1 distances)."""
    adds_values: bool = False
    """Whether `values` adds to the answer, too."""
    anywhere: bool = True
    """Whether the pairs of a tile may stand anywhere, others for each head, at no greater cost. Terms that need tiles
    of neighbours are refused where contents choose."""

    @abstractmethod
    def label(self, q: Point, k: Point) -> Tensor:
        """Integer labels of pairs, any shape that broadcasts to (..., n, m)."""

    @abstractmethod
    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        """The addition to the logits of one tile.

        Args:
            q: (t n h d) raw queries of the tile, before `turn` (t: batch times tiles), in single precision at least.
            labels: broadcastable to (t 1 n m); to (t h n m) where contents choose, for terms that stand `anywhere`.

        Returns:
            Broadcastable to (t h n m), already scaled.
        """

    def values(self, weights: Tensor, labels: Tensor) -> Tensor:
        """The addition to the weighted sum of values of one tile: the sum over slots of weight times a vector.

        Args:
            weights: (t h n m), on any scale: the answer is linear in them.
            labels: as for `bias`.

        Returns:
            (t h n e)
        """
        raise NotImplementedError(f"{type(self).__name__} says it adds to the values, but not what")

    def ready(self, apart: range | None) -> Term:
        """This term for one read, made only where there are tiles: what all tiles of the read share is made here.

        Args:
            apart: where `q.at - k.at` lie, for terms `by_distance`; None for others.
        """
        return self


class Clock(ABC):
    """How positions count between queries and slots that do not keep the time of the tokens. Patterns and the causal
    rule keep true time. Written with operators only, for integers, arrays and tensors alike."""

    @abstractmethod
    def query(self, at: Any) -> Any:
        """Where a query at `at` stands on it."""

    @abstractmethod
    def slot(self, at: Any) -> Any:
        """Where a slot at `at` stands on it, the same for every query."""


@dataclass(frozen=True, eq=False)
class Read:
    """One source of keys in the common softmax."""

    q: Tensor
    """(b n h d), turned by the position already."""
    queries: Axis
    slots: Slots
    pattern: Pattern
    causal: bool
    scale: float
    terms: tuple[Term, ...] = ()
    raw_q: Tensor | None = None
    """(b n h d) before the turn, for terms; None: as `q`."""
    name: str = "tokens"
    """For explanations: tokens, memory conv ..."""


class Score(nn.Module):
    """How a query weighs the keys it may read. `softmax` is the plain one; a kernel gives features."""

    kernel: bool = False
    """Whether weights are products of features, so that sums over keys replace the softmax."""
    content: bool = True
    """Whether products of queries and keys count. Without them there are no keys, and the width of keys is 0."""
    asks: int = 0
    """How many more channels each head of a query has, which `terms` get instead of those of products."""

    def terms(self, heads: int, head_dim: int) -> Sequence[Term]:
        """Logits of its own, between tokens: beside them no slot is read that is not a token. Called once when
        attention is built."""
        return ()

    def weigh(self, q: Tensor) -> Tensor:
        """Turned queries (b n h d), as products with keys see them."""
        return q

    def check(self, axis: Axis) -> None:
        """Look at the rows before anything is computed.

        Raises:
            ValueError: it knows nothing of some of them.
        """

    def features(self, t: Tensor, side: Literal["query", "key"]) -> tuple[Tensor, Tensor | None]:
        """Map (b n h d) to features (b n h r), and a per-row log-scale (b n h) that stabilises, or None.

        Zeros of padding are the engine's business. Never take a maximum over time: it leaks.
        """
        raise NotImplementedError("only kernels have features")

    whole: bool = False
    """Whether the features of a key depend on other keys, those of the future too: then a decoder takes it under
    `causal: value` alone, and `features_among` is asked instead."""

    def features_among(self, t: Tensor, side: Literal["query", "key"], valid: Tensor | None) -> Tensor:
        """As `features`, without log-scales, for kernels that look at the whole sequence.

        Args:
            valid: (b n) bool, which rows count; None: all of them.
        """
        raise NotImplementedError("only kernels that look at the whole sequence")


class Choice(NamedTuple):
    """Which executor a read got, and why."""

    read: str
    executor: str
    reason: str
