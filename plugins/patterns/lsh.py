"""Locality-sensitive hashing: a query reads keys of its hash bucket, near it in the order of buckets.

Maths    bucket(x) = argmax([x R; -x R]), R Gaussian (d, buckets / 2), one R for each round and head; rows sorted by
         (bucket, position) get ranks s and chunks floor(s / chunk);  P_i = {j != i : same bucket,
         chunk_i - back <= chunk_j <= chunk_i};  S_i = union of P_i over rounds, {i} when that is empty
Shapes   q (b n h d), k (b n g d), tags (b h n) for each round;  one sequence
Cost     n chunk (1 + back) rounds pairs computed per head, plus sorting; the hash costs n d buckets / 2 per round
Limits   published form: ranks depend on the whole sequence, so a strict decoder refuses it. A key counts once however
         many rounds find it (the paper's N_ij). The first chunk looks back at nothing: public implementations let it
         look at the last chunk, and also at other buckets. Keys should be normalised queries: shared_qk=true
Paper    Kitaev, Kaiser, Levskaya, Reformer, 2020, arXiv:2001.04451, s. 2
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xcompose.api import (
    Axis,
    Component,
    Context,
    Count,
    LearnedPattern,
    PartError,
    Point,
    SortedTiles,
    Tags,
    hookimpl,
    option,
    options,
)


@options
class LshOptions:
    buckets: Count = option(at_least=2)
    """Hash buckets; an even number."""
    rounds: Count = option(1, at_least=1)
    """Independent hashes; more find more of the keys that are alike."""
    chunk: Count = option(at_least=1)
    """Rows of a chunk of the sorted sequence."""
    back: Count = option(1)
    """Earlier chunks that a query reads too."""
    seed: Count = option(0)
    """Another number gives other hashes."""
    form: Literal["published", "strict"] = option("published")
    """published: sorts the whole sequence. strict: never looks at the future."""


class Lsh(LearnedPattern, nn.Module):
    otherwise = "self"
    rotations: Tensor
    """(rounds, c, buckets / 2); head h uses rows h d to (h + 1) d, so that heads hash independently."""

    def __init__(self, options: LshOptions, context: Context):
        super().__init__()
        if options.buckets % 2:
            raise PartError(
                f"lsh needs an even number of buckets, found {options.buckets}",
                label="buckets come in pairs: a direction and its opposite",
                fixes=(f"buckets={options.buckets - 1}", f"buckets={options.buckets + 1}"),
                option="buckets",
            )
        if options.form == "strict":
            raise PartError(
                "the strict form of lsh comes later",
                label="it would read the latest rows of a bucket instead of sorting the whole sequence",
                fixes=("form=published in an encoder", "form=published in a decoder with `causal: value`"),
                option="form",
            )
        self.buckets, self.rounds, self.chunk, self.back = options.buckets, options.rounds, options.chunk, options.back
        draws = torch.Generator().manual_seed(options.seed)
        shape = (options.rounds, context.dim, options.buckets // 2)
        rotations = torch.randn(shape, generator=draws, dtype=torch.float32, device="cpu")
        self.register_buffer("rotations", rotations.to(torch.empty(0)))

    def tags(self, q: Tensor, k: Tensor, queries: Axis) -> tuple[Tags, Tags]:
        k = k.repeat_interleave(q.shape[2] // k.shape[2], dim=2)
        return self._tags(q, queries.valid, -1), self._tags(k, queries.valid, -2)

    def allows(self, q: Point, k: Point) -> Any:
        found = self.allows_in(0, q, k)
        for number in range(1, self.rounds):
            found = found | self.allows_in(number, q, k)
        return found

    def allows_in(self, number: int, q: Point, k: Point) -> Any:
        """Whether one round of hashing lets the query read the slot."""
        bucket, rank = f"bucket.{number}", f"rank.{number}"
        apart = q.tags[rank] // self.chunk - k.tags[rank] // self.chunk
        alike = q.tags[bucket] == k.tags[bucket]
        return alike & (apart >= 0) & (apart <= self.back) & (q.at != k.at)

    def allows_first_in(self, number: int, q: Point, k: Point) -> Any:
        """Whether this round allows it and no earlier one did."""
        found = self.allows_in(number, q, k)
        for earlier in range(number):
            found = found & ~self.allows_in(earlier, q, k)
        return found

    def sorted_cover(self, q_tags: Tags, k_tags: Tags) -> tuple[SortedTiles, ...]:
        found = []
        for number in range(self.rounds):
            rows = self._chunks(q_tags[f"rank.{number}"])
            cols = self._chunks(k_tags[f"rank.{number}"])
            none = cols.new_full((*cols.shape[:2], self.back, self.chunk), -1)
            padded, count = torch.cat([none, cols], dim=2), cols.shape[2]
            near = [padded[:, :, self.back - lag : self.back - lag + count] for lag in range(self.back + 1)]
            found.append(SortedTiles(rows, torch.cat(near, dim=3), partial(self.allows_first_in, number)))
        return tuple(found)

    def _tags(self, x: Tensor, valid: Tensor | None, nowhere: int) -> dict[str, Tensor]:
        """Bucket and rank (b h n) of each round; rows that are not valid get the bucket `nowhere` and the last ranks.

        A group of heads wider than the model starts again with the first rotation.
        """
        _, n, heads, width = x.shape
        use = torch.arange(heads * width, device=x.device) % self.rotations.shape[1]
        turns = self.rotations[:, use].unflatten(1, (heads, width)).to(x.dtype)
        turned = torch.einsum("b n h d, r h d f -> r b h n f", x.detach(), turns)
        found: dict[str, Tensor] = {}
        for number, bucket in enumerate(torch.cat([turned, -turned], dim=-1).argmax(dim=-1)):
            if valid is not None:
                bucket = bucket.masked_fill(~valid[:, None], self.buckets)
            order = bucket.argsort(dim=-1, stable=True)
            ranks = torch.arange(n, device=x.device).expand_as(order)
            found[f"rank.{number}"] = torch.empty_like(order).scatter_(-1, order, ranks)
            found[f"bucket.{number}"] = bucket.masked_fill(bucket == self.buckets, nowhere)
        return found

    def _chunks(self, rank: Tensor) -> Tensor:
        """Row numbers in the order of their ranks, cut into chunks: (b h n) to (b h t chunk), -1 at the end."""
        n = rank.shape[-1]
        order = torch.empty_like(rank).scatter_(-1, rank, torch.arange(n, device=rank.device).expand_as(rank))
        count = -(-n // self.chunk)
        return nn.functional.pad(order, (0, count * self.chunk - n), value=-1).unflatten(-1, (count, self.chunk))


@hookimpl
def components():
    return [Component(kind="pattern", name="lsh", options=LshOptions, build=Lsh, also=("reformer",))]
