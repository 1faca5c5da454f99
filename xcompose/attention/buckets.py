"""The latest rows of a bucket: contents choose, and the past alone decides.

Every row falls into one bucket a round, by its own vector alone. A query reads the last `size` keys of its bucket in
any round. So a longer text changes nothing about earlier rows: decoders take such patterns, and decode them exactly.

Maths    rank_r(j) = keys before j in its bucket;  count_r(i) = keys of the bucket of i at or before it, itself left out
         where a query does not read itself;  j is read by i if in some round r: same bucket and
         count_r(i) - size <= rank_r(j) < count_r(i)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xcompose.attention.learned import Grown, PrefixPattern, SortedTiles, Tags
from xcompose.attention.pattern import NEVER, Point
from xcompose.attention.reads import Axis, Slots
from xcompose.decode.cache import times
from xcompose.diagnostics import PartError

NOBODY, NOWHERE = -1, -2
"""Buckets of queries and of keys that hold no token: no two rows share them."""


def form_of(written: str | None, causal: str) -> str:
    """Which form of a pattern a spec means that exists as `published` and as `strict`.

    Args:
        written: what the spec says; None: the strict form where a decoder promises strictness, else the published one.
        causal: of the layer.

    Raises:
        PartError: the strict form in an encoder.
    """
    if written is None:
        return "strict" if causal == "strict" else "published"
    if written == "strict" and causal == "none":
        raise PartError(
            "the strict form is for decoders",
            label="it reads the past alone, and in an encoder every query may read what follows, too",
            fixes=("form=published",), option="form",
        )  # fmt: skip
    return written


class LatestOfBucket(PrefixPattern):
    """A query reads the last `size` keys of its bucket, in any of `rounds` rounds."""

    size: int
    rounds: int
    buckets: int
    """How many there are in each round."""
    own: bool
    """Whether a query's own key is among those it reads."""
    shared: bool
    """Whether queries and keys of a row always fall into the same buckets."""

    @abstractmethod
    def choose(self, x: Tensor, side: Literal["query", "key"]) -> Tensor:
        """Buckets (rounds b h n) of queries or keys (b n h d), each by its own vector alone; without gradient."""

    def allows(self, q: Point, k: Point) -> Any:
        found = self.allows_in(0, q, k)
        for number in range(1, self.rounds):
            found = found | self.allows_in(number, q, k)
        return found

    def allows_in(self, number: int, q: Point, k: Point) -> Any:
        """Whether the buckets of one round let the query read the slot."""
        behind = q.tags[f"count.{number}"] - k.tags[f"rank.{number}"]
        return (q.tags[f"bucket.{number}"] == k.tags[f"bucket.{number}"]) & (behind > 0) & (behind <= self.size)

    def allows_first_in(self, number: int, q: Point, k: Point) -> Any:
        """Whether this round allows it and no earlier one did."""
        found = self.allows_in(number, q, k)
        for earlier in range(number):
            found = found & ~self.allows_in(earlier, q, k)
        return found

    def tags(self, q: Tensor, k: Tensor, queries: Axis) -> tuple[Tags, Tags]:
        return self._tags(q, k, queries.valid, None)

    def sorted_cover(self, q_tags: Tags, k_tags: Tags) -> tuple[SortedTiles, ...]:
        made = _in_order if self.shared else _by_stretch
        return tuple(
            SortedTiles(*made(self, number, q_tags, k_tags), partial(self.allows_first_in, number))
            for number in range(self.rounds)
        )

    def start(self, batch: int, shape: tuple[int, int, int], like: Tensor) -> dict[str, Tensor]:
        heads, *widths = shape
        whole = partial(torch.zeros, dtype=torch.long, device=like.device)
        found = {name: like.new_zeros(batch, 0, heads, width) for name, width in zip("kv", widths, strict=True)}
        return {
            **found, "at": whole(batch, 0, heads), "tags": whole(batch, 0, heads, 2 * self.rounds),
            "counts": whole(batch, heads, self.rounds, self.buckets),
        }  # fmt: skip

    def state_shape(self, n: int, shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
        heads, width, value_width = shape
        m = min(n, self.most)
        return {
            "k": (m, heads, width), "v": (m, heads, value_width), "at": (m, heads), "tags": (m, heads, 2 * self.rounds),
            "counts": (heads, self.rounds, self.buckets),
        }  # fmt: skip

    @property
    def most(self) -> int:
        """How many rows of a head can still be read, however long the text was."""
        return self.rounds * self.buckets * self.size

    def extend(self, q: Tensor, k: Tensor, v: Tensor, axis: Axis, state: Mapping[str, Tensor]) -> Grown:
        b, n, h, _ = q.shape
        k, v = (t.repeat_interleave(h // t.shape[2], dim=2) for t in (k, v))
        asking, asked = self._tags(q, k, axis.valid, state["counts"])
        at = times(axis, b, q.device)
        if axis.valid is not None:
            at = at.masked_fill(~axis.valid, NEVER)
        fresh = {
            "k": k, "v": v, "at": at[..., None].expand(b, n, h),
            "tags": torch.stack([tag.transpose(1, 2) for tag in asked.values()], -1),
        }  # fmt: skip
        rows = {name: torch.cat([state[name], t.to(state[name].dtype)], 1) for name, t in fresh.items()}
        counts = self._counted(state["counts"], asked)
        kept = self._kept(rows, counts, axis)
        if n == 1:
            rows = self._near(rows, asking)
        return Grown(self._slots(rows), asking, {**kept, "counts": counts})

    def _slots(self, rows: Mapping[str, Tensor]) -> Slots:
        names = [f"{name}.{number}" for number in range(self.rounds) for name in ("bucket", "rank")]
        tags = {name: tag.transpose(1, 2) for name, tag in zip(names, rows["tags"].unbind(-1), strict=True)}
        return Slots(rows["k"], rows["v"], rows["at"].transpose(1, 2), tags=tags)

    def _tags(self, q: Tensor, k: Tensor, valid: Tensor | None, before: Tensor | None) -> tuple[Tags, Tags]:
        """Tags of rows, after those that were counted `before` (b h rounds buckets)."""
        n, h = q.shape[1], q.shape[2]
        asking = self.choose(q.detach(), "query")
        asked = asking if self.shared else self.choose(k.detach().repeat_interleave(h // k.shape[2], dim=2), "key")
        row = torch.arange(n, device=q.device)
        q_tags, k_tags = {}, {}
        for number, (mine, theirs) in enumerate(zip(asking, asked, strict=True)):
            if valid is not None:
                theirs = theirs.masked_fill(~valid[:, None], self.buckets)
            codes = theirs * n + row
            order = codes.sort(-1).values
            first, place, behind = (torch.searchsorted(order, code) for code in (theirs * n, codes, mine * n))
            count = torch.searchsorted(order, mine * n + row + int(self.own)) - behind
            rank = place - first
            if before is not None:
                count = count + before[:, :, number].gather(-1, mine)
                rank = rank + before[:, :, number].gather(-1, theirs.clamp(max=self.buckets - 1))
            if valid is not None:
                mine, theirs = mine.masked_fill(~valid[:, None], NOBODY), theirs.masked_fill(~valid[:, None], NOWHERE)
            q_tags |= {f"bucket.{number}": mine, f"count.{number}": count}
            k_tags |= {f"bucket.{number}": theirs, f"rank.{number}": rank}
        return q_tags, k_tags

    def _counted(self, counts: Tensor, asked: Tags) -> Tensor:
        """The keys of each bucket (b h rounds buckets), with the new ones."""
        buckets = torch.stack([asked[f"bucket.{number}"] for number in range(self.rounds)], 2)
        return counts.scatter_add(-1, buckets.clamp(min=0), (buckets >= 0).long())

    def _kept(self, rows: Mapping[str, Tensor], counts: Tensor, axis: Axis) -> Mapping[str, Tensor]:
        """The rows without those that no later query may read, where there are more than there can be such."""
        m = rows["at"].shape[1]
        unison = axis.valid is None and isinstance(axis.at, range)
        longest = axis.at.stop if unison else int(counts[:, 0, 0].sum(-1).amax())  # type: ignore[union-attr]
        width = min(longest, self.most)
        if m == width:
            return rows
        keep = rows["at"] < NEVER
        if longest > self.most:
            bucket, rank = rows["tags"].unflatten(-1, (self.rounds, 2)).unbind(-1)
            now = counts.gather(-1, bucket.clamp(min=0).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            keep = keep & (rank >= now - self.size).any(-1)
        return _first(keep, rows, width)

    def _near(self, rows: Mapping[str, Tensor], asking: Tags) -> Mapping[str, Tensor]:
        """Of all rows those that one query may read, and its own, which stands last."""
        width = self.rounds * self.size + 1
        if rows["at"].shape[1] <= width:
            return rows
        slots = self._slots(rows)
        keep = self.allows(Point(at=0, tags=asking), Point(at=slots.at, tags=slots.tags)).transpose(1, 2)
        keep[:, -1] = True
        return _first(keep, rows, width)


def _first(keep: Tensor, rows: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """The first `width` rows (b m h ...) to keep, each head's own, in order; absent ones behind where there are fewer.

    Args:
        keep: (b m h) bool.
    """
    order = (~keep).to(torch.uint8).sort(dim=1, stable=True).indices[:, :width]
    there = keep.gather(1, order)
    found = {}
    for name, t in rows.items():
        beyond = (1,) * (t.ndim - 3)
        taken = t.gather(1, order.reshape(*order.shape, *beyond).expand(*order.shape, *t.shape[3:]))
        nothing = {"at": NEVER, "tags": NOWHERE}.get(name, 0)
        found[name] = torch.where(there.reshape(*there.shape, *beyond), taken, nothing)
    return found


def _in_order(pattern: LatestOfBucket, number: int, q_tags: Tags, k_tags: Tags) -> tuple[Tensor, Tensor]:
    """Rows in the order of (bucket, position), in pieces of `size`, which read their own piece and the one before."""
    bucket = k_tags[f"bucket.{number}"]
    n = bucket.shape[-1]
    order = bucket.masked_fill(bucket < 0, pattern.buckets).argsort(dim=-1, stable=True)
    size = min(pattern.size, n)
    rows = functional.pad(order, (0, -n % size), value=-1).unflatten(-1, (-1, size))
    if n == size:
        return rows, rows
    return rows, torch.cat([functional.pad(rows, (0, 0, 1, -1), value=-1), rows], -1)


def _by_stretch(pattern: LatestOfBucket, number: int, q_tags: Tags, k_tags: Tags) -> tuple[Tensor, Tensor]:
    """Keys of a bucket in stretches of `size`: queries whose last key lies in one read it and the one before.

    Many queries may stand behind one key, so that queries of a stretch are cut into tiles, too. There are at most
    n / size tiles that are full, and one more for each stretch.
    """
    mine, count = q_tags[f"bucket.{number}"], q_tags[f"count.{number}"]
    theirs = k_tags[f"bucket.{number}"]
    n, device = theirs.shape[-1], theirs.device
    size = min(pattern.size, n)
    stretches = -(-n // size) + 1
    sorted_keys, order = theirs.masked_fill(theirs < 0, pattern.buckets).sort(dim=-1, stable=True)
    asks = (mine >= 0) & (count > 0)
    stretch = mine * stretches + (count - 1).div(size, rounding_mode="floor")
    stretch, rows = stretch.masked_fill(~asks, pattern.buckets * stretches).sort(dim=-1, stable=True)
    inside = torch.arange(n, device=device) - torch.searchsorted(stretch, stretch)
    real = stretch < pattern.buckets * stretches
    tile = ((inside % size == 0) & real).cumsum(-1) - 1
    tiles = n // size + min(n, n // size + pattern.buckets)
    where = torch.where(real, tile * size + inside % size, tiles * size)
    blank = rows.new_full((*rows.shape[:2], tiles * size + 1), -1)
    queries = blank.scatter(-1, where, rows)[..., :-1].unflatten(-1, (tiles, size))
    some = blank.scatter(-1, where, stretch)[..., :-1].unflatten(-1, (tiles, size))[..., 0]
    bucket = some.div(stretches, rounding_mode="floor")
    first, last = (torch.searchsorted(sorted_keys, bucket.clamp(min=0) + above) for above in (0, 1))
    begin = first + (some % stretches - 1) * size
    places = begin[..., None] + torch.arange(2 * size, device=device)
    there = (some >= 0)[..., None] & (places >= first[..., None]) & (places < last[..., None])
    picked = order.gather(-1, places.clamp(0, n - 1).flatten(2)).view(places.shape)
    return queries, torch.where(there, picked, -1)
