"""Locality-sensitive hashing: a query reads keys of its hash bucket, near it in the order of buckets.

Maths    bucket(x) = argmax([x R; -x R]), R Gaussian (d, buckets / 2), one R for each round and head
         published: rows sorted by (bucket, position) get ranks s and chunks floor(s / chunk);  P_i = {j != i : same
         bucket, chunk_i - back <= chunk_j <= chunk_i + ahead};  S_i = union of P_i over rounds, {i} when that is empty
         strict: P_i = the last back * chunk keys before i in its bucket
         factors: bucket = h_1 + f_1 h_2 + f_1 f_2 h_3 .., each h hashed by itself into f buckets
Shapes   q (b n h d), k (b n g d), tags (b h n) for each round;  one sequence
Cost     published: n chunk (1 + back + ahead) rounds pairs per head, strict: n 2 back chunk rounds, plus sorting; the
         hash costs n d buckets / 2 per round, with factors n d (f_1 + f_2 ..) / 2. Decoding, the strict form keeps at
         most rounds buckets back chunk rows a head; the published one keeps all inputs, and sorts again at each step
Limits   published: ranks depend on the whole sequence, so it is refused where a decoder promises strictness. A key
         counts once however many rounds find it (the paper's N_ij), and keys of other buckets are masked: public
         implementations do neither, and their first chunk of a round looks back at the last one of the round before
         (`dedupe`, `other_buckets`, `wrap`). strict: decoders only. Keys should be normalised queries (shared_qk=true);
         the authors' implementation has no further scale (attention's scale=none)
Paper    Kitaev, Kaiser, Levskaya, Reformer, 2020, arXiv:2001.04451, s. 2
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from xcompose.api import (
    Axis,
    Component,
    Context,
    Count,
    LatestOfBucket,
    LearnedPattern,
    PartError,
    Pattern,
    Point,
    SortedTiles,
    Tags,
    form_of,
    hookimpl,
    island,
    option,
    options,
)

MANY = 2**20
"""More layers than any model has, so that each layer of each seed has hashes of its own."""


@options
class LshOptions:
    buckets: Count = option(at_least=2)
    """Hash buckets; an even number."""
    factors: tuple[Count, ...] | None = option(None, at_least=2)
    """Even numbers whose product are the buckets, hashed one by one: for many buckets."""
    rounds: Count = option(1, at_least=1)
    """Independent hashes; more find more of the keys that are alike."""
    chunk: Count = option(at_least=1)
    """Rows of a chunk of the sorted sequence."""
    back: Count = option(1)
    """Earlier chunks that a query reads too; the strict form reads as many rows as these hold."""
    ahead: Count = option(0)
    """Later chunks that a query reads too."""
    dedupe: bool = option(True)
    """Whether a key that several rounds find counts once."""
    other_buckets: bool = option(False)
    """Whether all keys of the chunks are read, whatever their bucket."""
    wrap: bool = option(False)
    """Whether the chunks of all rounds form a ring, in which the first chunk of a round follows the last of another."""
    seed: Count = option(0)
    """Another number gives other hashes."""
    form: Literal["published", "strict"] | None = option(None)
    """published: sorts the whole sequence. strict: looks at the past alone. Strict in a decoder, unless its spec says
    `causal: value`, if not written."""


class Hashes(nn.Module):
    """The random directions, a set of them for each round, head and factor."""

    rotations: Tensor
    """(rounds, c, directions); head h uses rows h d to (h + 1) d, so that heads hash independently."""

    def __init__(self, options: LshOptions, context: Context):
        super().__init__()
        self.factors = options.factors or (options.buckets,)
        refuse_factors(options, self.factors)
        draws = torch.Generator().manual_seed(options.seed * MANY + context.layer)
        shape = (options.rounds, context.dim, sum(self.factors) // 2)
        rotations = torch.randn(shape, generator=draws, dtype=torch.float32, device="cpu")
        self.register_buffer("rotations", rotations.to(torch.empty(0)))

    def buckets_of(self, x: Tensor) -> Tensor:
        """Buckets (rounds b h n) of rows (b n h d). A group of heads wider than the model starts again with the first
        directions."""
        heads, width = x.shape[2:]
        use = torch.arange(heads * width, device=x.device) % self.rotations.shape[1]
        with island(x.detach()) as (x,):
            turns = self.rotations[:, use].unflatten(1, (heads, width)).to(x.dtype)
            return torch.stack([self._bucket(torch.einsum("b n h d, h d f -> b h n f", x, t)) for t in turns])

    def _bucket(self, turned: Tensor) -> Tensor:
        """argmax([x; -x]) of each factor's directions (b h n f), as one number (b h n)."""
        found, before = 0, 1
        for factor, x in zip(self.factors, turned.split([factor // 2 for factor in self.factors], -1), strict=True):
            (most, high), (least, low) = x.max(-1), x.min(-1)
            found = found + before * torch.where(most >= -least, high, low + factor // 2)
            before *= factor
        return found  # type: ignore[return-value]


def mends(factors: Sequence[int]) -> tuple[str, ...]:
    """The nearest even factors, and how many buckets they make."""
    even = [factor + factor % 2 for factor in factors]
    return (f"factors={even}, buckets={math.prod(even)}",)


def refuse_factors(options: LshOptions, factors: tuple[int, ...]) -> None:
    """Refuse what does not make up the buckets."""
    for factor in factors:
        if factor % 2:
            named = "factors" if options.factors else "buckets"
            raise PartError(
                f"lsh needs an even number of buckets, found {factor}",
                label="buckets come in pairs: a direction and its opposite",
                fixes=mends(factors) if options.factors else (f"buckets={factor - 1}", f"buckets={factor + 1}"),
                option=named,
            )  # fmt: skip
    if math.prod(factors) != options.buckets:
        said = " x ".join(map(str, factors))
        raise PartError(
            f"{said} = {math.prod(factors)} buckets, but 'buckets' says {options.buckets}", option="factors",
            fixes=(f"buckets={math.prod(factors)}",),
        )  # fmt: skip


class Look(NamedTuple):
    """Which chunks a query looks at."""

    round: int
    lags: range
    """How many chunks before its own; below 0 after it."""


class Lsh(LearnedPattern, Hashes):
    """The published form."""

    otherwise = "self"
    strict_form = "form=strict"

    def __init__(self, options: LshOptions, context: Context):
        super().__init__(options, context)
        self.rounds, self.chunk, self.back, self.ahead = options.rounds, options.chunk, options.back, options.ahead
        self.other_buckets, self.wrap = options.other_buckets, options.wrap
        self.merge = "set" if options.dedupe else "multiset"
        lags = range(-self.ahead, self.back + 1)
        apart = [range(lag, lag + 1) for lag in lags] if self.wrap else [lags]
        self.looks = [Look(number, some) for number in range(self.rounds) for some in apart]
        """In the order in which they own a pair. On a ring a key may be met twice, so each lag looks by itself."""

    def tags(self, q: Tensor, k: Tensor, queries: Axis) -> tuple[Tags, Tags]:
        k = k.repeat_interleave(q.shape[2] // k.shape[2], dim=2)
        return self._tags(q, queries.valid, -1), self._tags(k, queries.valid, -2)

    def allows(self, q: Point, k: Point) -> Any:
        return any_of([self.finds(look, q, k) for look in self.looks])

    def times(self, q: Point, k: Point) -> Any:
        return sum(self.finds(look, q, k) * 1 for look in self.looks)

    def finds(self, look: Look, q: Point, k: Point) -> Any:
        """Whether one look of the query finds the slot."""
        number, (low, high) = look.round, (look.lags.start, look.lags[-1])
        if not self.wrap:
            apart = self._chunk(number, q) - self._chunk(number, k)
            return (apart >= low) & (apart <= high) & self._readable(number, number, q, k)
        chunks = q.tags["chunks"]
        seen = (number * chunks + self._chunk(number, q) - low) % (self.rounds * chunks)
        others = range(self.rounds) if self.other_buckets else (number,)
        return any_of(
            [(seen == other * chunks + self._chunk(other, k)) & self._readable(number, other, q, k) for other in others]
        )

    def finds_first(self, index: int, q: Point, k: Point) -> Any:
        """Whether this look finds it and no earlier one did."""
        found = self.finds(self.looks[index], q, k)
        for earlier in self.looks[:index]:
            found = found & ~self.finds(earlier, q, k)
        return found

    def sorted_cover(self, q_tags: Tags, k_tags: Tags) -> tuple[SortedTiles, ...]:
        rows = [self._chunks(q_tags[f"rank.{number}"]) for number in range(self.rounds)]
        keys = torch.stack([self._chunks(k_tags[f"rank.{number}"]) for number in range(self.rounds)], 2)
        found = []
        for index, look in enumerate(self.looks):
            cols = self._ring(look, keys, q_tags["chunks"]) if self.wrap else self._near(look, keys[:, :, look.round])
            once = partial(self.finds_first, index) if self.merge == "set" else partial(self.finds, look)
            found.append(SortedTiles(rows[look.round], cols, once))
        return tuple(found)

    def _near(self, look: Look, keys: Tensor) -> Tensor:
        """For each chunk of queries the chunks of keys (b h t chunk) it looks at, side by side."""
        count = keys.shape[2]
        padded = nn.functional.pad(keys, (0, 0, self.back, self.ahead), value=-1)
        return torch.cat([padded[:, :, self.back - lag : self.back - lag + count] for lag in look.lags], dim=3)

    def _ring(self, look: Look, keys: Tensor, chunks: Tensor) -> Tensor:
        """The same where the chunks of all rounds (b h rounds t chunk) form a ring."""
        count, chunks = keys.shape[3], chunks[..., :1]
        seen = look.round * chunks + torch.arange(count, device=keys.device) - look.lags.start
        seen = seen % (self.rounds * chunks)
        where = seen.div(chunks, rounding_mode="floor") * count + seen % chunks
        return keys.flatten(2, 3).gather(2, where[..., None].expand(*where.shape, self.chunk))

    def _chunk(self, number: int, point: Point) -> Any:
        return point.tags[f"rank.{number}"] // self.chunk

    def _readable(self, mine: int, other: int, q: Point, k: Point) -> Any:
        """Whether buckets let a query read a slot, of chunks that it looks at; in another round none are alike."""
        asking, asked = q.tags[f"bucket.{mine}"], k.tags[f"bucket.{other}"]
        alike = (asking >= 0) & (asked >= 0) if self.other_buckets else asking == asked
        return alike & (q.at != k.at)

    def _tags(self, x: Tensor, valid: Tensor | None, nowhere: int) -> dict[str, Tensor]:
        """Bucket and rank (b h n) of each round; rows not valid get the bucket `nowhere` and the last ranks."""
        b, n, heads, _ = x.shape
        ranks = torch.arange(n, device=x.device).expand(b, heads, n)
        buckets = self.buckets_of(x)
        last = math.prod(self.factors)
        found: dict[str, Tensor] = {}
        for number, bucket in enumerate(buckets):
            if valid is not None:
                bucket = bucket.masked_fill(~valid[:, None], last)
            order = bucket.argsort(dim=-1, stable=True)
            found[f"rank.{number}"] = torch.empty_like(order).scatter_(-1, order, ranks)
            found[f"bucket.{number}"] = bucket.masked_fill(bucket == last, nowhere)
        if self.wrap:
            rows = ranks.new_tensor(n).expand(b) if valid is None else valid.sum(1).clamp(min=1)
            found["chunks"] = (-(-rows // self.chunk))[:, None, None].expand(b, heads, n)
        return found

    def _chunks(self, rank: Tensor) -> Tensor:
        """Row numbers in the order of their ranks, cut into chunks: (b h n) to (b h t chunk), -1 at the end."""
        n = rank.shape[-1]
        order = torch.empty_like(rank).scatter_(-1, rank, torch.arange(n, device=rank.device).expand_as(rank))
        return nn.functional.pad(order, (0, -n % self.chunk), value=-1).unflatten(-1, (-1, self.chunk))


class StrictLsh(LatestOfBucket, Hashes):
    """The strict form."""

    otherwise = "self"
    own = False

    def __init__(self, options: LshOptions, context: Context):
        super().__init__(options, context)
        refuse_published(options)
        self.rounds, self.buckets, self.size = options.rounds, options.buckets, options.back * options.chunk
        self.shared = context.shared_qk

    def choose(self, x: Tensor, side: Literal["query", "key"]) -> Tensor:
        return self.buckets_of(x)


def refuse_published(options: LshOptions) -> None:
    """Refuse what means nothing without chunks of a sorted sequence."""
    written: Mapping[str, Any] = {
        "ahead": options.ahead > 0, "dedupe": not options.dedupe, "other_buckets": options.other_buckets,
        "wrap": options.wrap, "back": options.back == 0,
    }  # fmt: skip
    for name, wrong in written.items():
        if wrong:
            value = str(getattr(options, name)).lower()
            raise PartError(
                f"the strict form of lsh cannot have {name}={value}",
                label="it reads the latest rows of a bucket, and sorts nothing", option=name,
                fixes=("back=1",) if name == "back" else (f"leave {name} out", "form=published under `causal: value`"),
            )  # fmt: skip


def any_of(found: list[Any]) -> Any:
    """Whether one of them holds."""
    first, *others = found
    for other in others:
        first = first | other
    return first


def build(options: LshOptions, context: Context) -> Pattern:
    return StrictLsh(options, context) if form_of(options.form, context.causal) == "strict" else Lsh(options, context)


@hookimpl
def components():
    return [Component(kind="pattern", name="lsh", options=LshOptions, build=build, also=("reformer",))]
