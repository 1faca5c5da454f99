"""One softmax over reads: chooses an executor from shapes, types and flags, never from data."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xcompose.attention.cached import attend_cached
from xcompose.attention.explain import report
from xcompose.attention.reads import Read


def attend(reads: Sequence[Read], *, dropout: float = 0.0, training: bool = False, executor: str = "auto") -> Tensor:
    """Answer every query by one softmax over all slots that its reads allow.

    Args:
        reads: sources with queries of one shape (b n h d), slots of their own.
        dropout: probability of dropping a weight after normalisation, while `training`.
        executor: "auto", or the name of one executor.

    Returns:
        (b n h e); a query that may read nothing gives 0.
    """
    if not reads:
        raise ValueError("attend needs at least one read")
    for read in reads:
        report(read.name, "cached", "the only executor")
    return attend_cached(reads, dropout if training else 0.0)
