"""Sequences of several lengths in one batch, answered length by length where a pattern asks how long they are.

A plan is made for one length, so that a padded batch would have none. Here the sequences of each length are answered
together, cut where they end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from xcompose.attention.reads import Read


def each_length(reads: Sequence[Read], lengths: Tensor, answer: Callable[[Sequence[Read]], Tensor]) -> Tensor:
    """The answers (b n h e) to reads of tokens; rows behind the end of their sequence get zeros.

    Args:
        reads: queries and slots stand in unison, at ranges; log-weights only hide what lies behind an end.
        lengths: (b) where the sequences end.
        answer: answers sequences of one length.
    """
    n, found, order = reads[0].q.shape[1], [], []
    for length in lengths.unique().tolist():
        mine = (lengths == length).nonzero()[:, 0]
        some = [_cut(read, mine, length) for read in reads]
        behind = n - some[0].q.shape[1]
        found.append(functional.pad(answer(some), (0, 0, 0, 0, 0, behind)))
        order.append(mine)
    return torch.cat(found)[torch.cat(order).argsort()]


def _cut(read: Read, mine: Tensor, length: int) -> Read:
    """The read of some sequences, without what stands at `length` or later."""
    queries, slots = read.queries, read.slots
    assert isinstance(queries.at, range)
    assert isinstance(slots.at, range)
    n, m = (len(range(at.start, min(at.stop, length), at.step)) for at in (queries.at, slots.at))
    axis = replace(
        queries, at=queries.at[:n], valid=None, tags={k: t[mine, :n] for k, t in queries.tags.items()}, total=length
    )
    kept = replace(
        slots, k=slots.k[mine, :m], v=slots.v[mine, :m], at=slots.at[:m], log_weight=None,
        tags={k: t[mine][..., :m] for k, t in slots.tags.items()},
    )  # fmt: skip
    raw = None if read.raw_q is None else read.raw_q[mine, :n]
    return replace(read, q=read.q[mine, :n], raw_q=raw, queries=axis, slots=kept)
