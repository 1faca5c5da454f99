"""Keys and values that later queries may still read, with the time of each; batch first, rows at different times.

A cache is a mapping of tensors: `k` (b m g d), `v` (b m g e), `at` (b m). Where a sequence has fewer slots than
another, `at` is `NEVER`: such a slot lies in the future of every query, so the causal rule hides it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xcompose.attention.pattern import NEVER, Pattern
from xcompose.attention.reads import Axis
from xcompose.decode.pack import fill_rows, pack

Cache = Mapping[str, Tensor]

PIECE = 2**16


def empty_cache(batch: int, groups: int, width: int, value_width: int, like: Tensor) -> dict[str, Tensor]:
    """A cache without slots, of the type and on the device of `like`."""
    return {
        "k": like.new_zeros(batch, 0, groups, width),
        "v": like.new_zeros(batch, 0, groups, value_width),
        "at": torch.zeros(batch, 0, dtype=torch.long, device=like.device),
    }


def append(cache: Cache, rows: Mapping[str, Tensor], axis: Axis) -> dict[str, Tensor]:
    """The cache with these rows (b n ...) behind, in the cache's type; rows that are not valid are absent."""
    batch = cache["at"].shape[0]
    fresh = {**rows, "at": times(axis, batch, cache["at"].device)}
    if axis.valid is not None:
        fresh = {name: fill_rows(t, axis.valid, NEVER if name == "at" else 0) for name, t in fresh.items()}
    return {name: torch.cat([t, fresh[name].to(t.dtype)], 1) for name, t in cache.items()}


def drop(cache: Cache, last_reader: Callable[[Any], Any], axis: Axis) -> dict[str, Tensor]:
    """The cache without the slots that no query after the rows of `axis` may read."""
    at = cache["at"]
    keep = (at < NEVER) & (last_reader(at) >= next_time(axis, at.shape[0], at.device)[:, None])
    return dict(cache) if bool(keep.all()) else pack(keep, cache, {"at": NEVER})


def times(axis: Axis, batch: int, device: torch.device) -> Tensor:
    """(b n) positions of the rows."""
    return axis.positions(device).expand(batch, axis.n)


def next_time(axis: Axis, batch: int, device: torch.device) -> Tensor:
    """(b) position of the row that comes after these; 0 for a sequence that none of them belongs to."""
    after = times(axis, batch, device) + 1
    if axis.valid is not None:
        after = after * axis.valid
    return after.amax(1) if axis.n else torch.zeros(batch, dtype=torch.long, device=device)


def kept(pattern: Pattern, at: Any, n: int) -> int:
    """How many slots at these positions (integer array) a query at n or later may still read."""
    # A million positions are looked at in pieces, which stay in the processor's cache.
    places = np.arange(at.start, at.stop, at.step) if isinstance(at, range) else np.asarray(at)
    pieces = (places[i : i + PIECE] for i in range(0, len(places), PIECE))
    return sum(int(np.sum(pattern.last_reader(piece) >= n)) for piece in pieces)
