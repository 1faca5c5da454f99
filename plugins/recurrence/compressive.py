"""Compressive recurrence: rows of earlier segments, and behind them slots that older rows were squeezed into.

Maths    position i lies in segment s = floor(i / L);  it reads tokens of s, rows j with s L - M <= j < s L, and of the
         slots k with (k + 1) r <= s L - M, which the rows k r .. k r + r - 1 left behind, the newest N
         what leaves the memory when segment s ends: G_s = rows max(0, s L - M) .. (s + 1) L - M - 1;  x_j stands for
         sg(x_j);  the slots of block k
         mean, max    mean or maximum of each channel of x_{k r} .. x_{k r + r - 1}
         conv         W [x_{k r} .. x_{k r + r - 1}] + b
         dilated      the r a rows from floor(k / a) r a on give a slots, a = dilation: with t the (k mod a)-th of them,
                      W [x_t, x_{t+a} .. x_{t+(r-1)a}] + b
         most-used    of G_s the |G_s| / r rows with the highest u, in order:  u_j = sum_h sum_{i in s} p_ij, where
                      p_i = softmax(q_i k_j / sqrt(d)) over the rows s L - M <= j < s L, by content alone
         what these weights learn from, loss
         attention    mean |att(x_s, x_{G_s}) - att(x_s, slots of G_s)|^2 over segments, rows and heads, before W_o:
                      content alone, W_q, W_k, W_v as constants;  only the weights of the slots learn from it
         autoencode   mean |x_{G_s} - (V slot + a)|^2, V a layer of its own from a slot to its r rows
         bptt         the task, through the attention that reads the slots
Shapes   x (b n c);  slots (b n/r c);  W (c, r c);  V (r c, c)
Cost     n (L / 2 + M + N) pairs a head, and a second projection of keys and values;  loss=attention n L (1 + 1 / r)
         pairs more, in training;  most-used n M more, always, and a third projection of keys;  a decoder keeps at most
         L + M rows and N slots, a number more for each row with most-used, and L keys and values
Limits   decoders only;  L and M are multiples of r, with dilated of r a, and M >= L;  rows are kept as attention
         receives them, so with a norm before attention its parameters learn from a segment's own rows only;  relative
         positions count slots, rows and tokens as steps of one sequence (distance=index), or a slot stands where its
         last row stood (distance=time);  losses come from whole sequences in training, longer than M, not from calls
         with a state;  their gradients are apart from those of the task, but one norm clips both;  most-used counts
         what content receives, without positions and tokens of the segment itself
Paper    Rae et al., Compressive Transformers for Long-Range Sequence Modelling, ICLR 2020, arXiv:1911.05507, s. 3;
         the taps of `dilated` and the distances of slots are left open there
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xcompose.api import (
    NEVER,
    Axis,
    CarriedRows,
    Clock,
    Component,
    Context,
    Count,
    Memory,
    PartError,
    Pattern,
    Point,
    Slots,
    Spans,
    Steady,
    Tiles,
    View,
    drop,
    exact,
    hookimpl,
    island,
    kept,
    next_time,
    option,
    options,
    pack,
    refuse_unused,
    segment_tiles,
    take_rows,
)

By = Literal["mean", "max", "conv", "dilated", "most-used"]
LEARNED = ("conv", "dilated")
"""Ways to squeeze that have weights."""
SCORES = 2**26
"""Scores at once, over batch and heads, where rows are chosen."""


@options
class CompressiveOptions:
    """Compressive recurrence."""

    length: Count = option(main=True, at_least=1)
    """Tokens L in a segment."""
    memory: Count = option(at_least=0)
    """Rows M before the segment that its queries may read."""
    compressed: Count = option(at_least=0)
    """Slots N before these rows that they may read, too."""
    rate: Count = option(3, at_least=1)
    """Rows r that become one slot."""
    by: By = option("conv")
    """How rows become slots."""
    loss: Literal["attention", "autoencode", "bptt"] | None = option(None)
    """What conv and dilated learn from; `attention` if not written. The others have nothing to learn."""
    dilation: Count = option(2, at_least=1)
    """How far apart the rows of one slot are, with `dilated`."""
    distance: Literal["index", "time"] = option("index")
    """How far away a slot is for relative positions: one step each, or where its last row stood."""


@attrs.frozen
class OlderSlots(Pattern):
    """Slots whose rows left the memory before the query's segment, the newest `count` of them; each stands `at` its
    last row."""

    length: int
    memory: int
    count: int
    rate: int

    def allows(self, q: Point, k: Point) -> Any:
        end = q.at // self.length * self.length - self.memory
        return (k.at < end) & (k.at >= end - self.count * self.rate)

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        back = self.memory + self.count * self.rate - (self.rate - 1)
        return segment_tiles(queries, self.length, back, self.count, self.rate)

    def steady(self, length: int) -> Steady:
        return Steady(self.length)

    def last_reader(self, at: Any) -> Any:
        """The end of the last segment that reads it."""
        begin = (at + self.memory + self.count * self.rate) // self.length * self.length
        return at + (begin - self.memory > at) * (begin + self.length - 1 - at)


@attrs.frozen
class Steps(Clock):
    """Slots, rows and tokens numbered one by one: slot k stands at k, and a query where as many steps lie between."""

    length: int
    memory: int
    rate: int

    def query(self, at: Any) -> Any:
        squeezed = (at // self.length * self.length - self.memory) // self.rate
        return at - squeezed * (self.rate - 1)

    def slot(self, at: Any) -> Any:
        return at // self.rate


class Compressed(Memory):
    """Slots made of what leaves the carried rows, the memory that stands before this one."""

    level = "rows"
    looks = True
    still = True

    def __init__(self, options: CompressiveOptions, context: Context, rows: Pattern):
        super().__init__()
        assert context.scale is not None, "a recurrence is built inside an attention"
        self.dim, self.scale = context.dim, context.scale
        self.length, self.memory, self.rate = options.length, options.memory, options.rate
        self.by, self.rows = options.by, rows
        self.dilation = options.dilation if options.by == "dilated" else 1
        self.loss = (options.loss or "attention") if options.by in LEARNED else None
        self.pattern = OlderSlots(options.length, options.memory, options.compressed, options.rate)
        self.clock = Steps(options.length, options.memory, options.rate) if options.distance == "index" else None
        self.chooses = options.by == "most-used"
        self.squeeze = nn.Linear(self.rate * self.dim, self.dim) if options.by in LEARNED else None
        self.restore = nn.Linear(self.dim, self.rate * self.dim) if self.loss == "autoencode" else None

    # Which rows became which slots ---------------------------------------------------------------------------------

    def left(self, n: int) -> int:
        """How many rows have left the memory when n tokens were read."""
        return max(0, n // self.length * self.length - self.memory)

    def places(self, n: int) -> range:
        """Where the slots stand that n tokens give: each at the last row of its block."""
        return range(self.rate - 1, max(self.rate - 1, self.left(n)), self.rate)

    def group(self, at: Any) -> tuple[Any, Any]:
        """The first of the rows that leave together with rows at these places, and how many these are."""
        end = ((at + self.memory) // self.length + 1) * self.length - self.memory
        first = (end - self.length) * (end > self.length)
        return first, end - first

    def spans(self, n: int) -> Spans:
        at, (r, a) = np.asarray(self.places(n), dtype=np.int64), (self.rate, self.dilation)
        if self.by == "most-used":
            first, size = self.group(at)
            return Spans(first, first + size + self.memory - 1, at)
        first = at // (r * a) * r * a + at // r % a
        return Spans(first, first + (r - 1) * a, at)

    # Slots ---------------------------------------------------------------------------------------------------------

    def slots(self, k: Tensor, v: Tensor, axis: Axis, view: View) -> tuple[Slots, Mapping[str, Tensor]]:
        x, e = k.detach(), self.left(axis.n)
        use = self.received(view, x) if self.chooses and e else None
        slots = self.squeezed(x[:, :e], torch.arange(e, device=k.device)[None], use)
        teaches = self.training and self.loss in ("attention", "autoencode") and e > 0
        losses = self._losses(x, slots, axis, view) if teaches else {}
        return as_slots(self._let(slots), self.places(axis.n), self.rate), losses

    def squeezed(self, x: Tensor, at: Tensor, use: Tensor | None) -> Tensor:
        """The slots (b e/r c) of whole groups of rows (b e c) at (1 e) or (b e), which received `use` (b e)."""
        if use is not None:
            return take_rows(x, self._most(at, use))
        strides = x.unflatten(1, (x.shape[1] // (self.rate * self.dilation), self.rate, self.dilation))
        blocks = strides.transpose(2, 3).flatten(1, 2)
        if self.squeeze is not None:
            return self.squeeze(blocks.flatten(2))
        return blocks.amax(2) if self.by == "max" else blocks.mean(2)

    def _most(self, at: Tensor, use: Tensor) -> Tensor:
        """(b e/r) which rows of each group are kept: those that received most, the earlier of equal ones, in order."""
        at = at.expand_as(use)
        first, size = self.group(at)
        most = torch.sort(use, descending=True, stable=True).indices
        order = most.gather(1, torch.sort(first.gather(1, most), stable=True).indices)
        # In this order groups stand where they stood, so the distance to the first row of a group is a rank within it.
        wanted = (at - first < size // self.rate) & (at < NEVER)
        keep = torch.zeros_like(wanted).scatter(1, order, wanted)
        return torch.sort((~keep).to(torch.uint8), stable=True).indices[:, : use.shape[1] // self.rate]

    def _let(self, x: Tensor) -> Tensor:
        """Slots as the task sees them: their gradient passes only where it is the task that teaches."""
        return x if self.loss == "bptt" else x.detach()

    # What content receives -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def received(self, view: View, x: Tensor) -> Tensor:
        """(b e) the weights that the rows of a whole sequence (b n c) that leave get from the segments that read them
        last."""
        first, absent = divmod(self.memory, self.length)
        segments = x.shape[1] // self.length
        q = view.queries(x)[:, first * self.length : segments * self.length].unflatten(1, (-1, self.length))
        k = self._each_head(view.keys(x)[0], q.shape[3])
        windows = functional.pad(k, (0, 0, 0, 0, absent, 0)).unfold(1, self.memory, self.length)
        found, at_once = [], max(1, SCORES // (x.shape[0] * q.shape[3] * self.length * self.memory))
        for low in range(0, segments - first, at_once):
            asking = q[:, low : low + at_once].transpose(2, 3)
            with island(asking, windows) as (asks, windows):
                logits = asks @ windows[:, low : low + asking.shape[1]] * self.scale
            if low == 0:
                there = torch.arange(self.memory, device=x.device) >= absent
                logits[:, :1] = logits[:, :1].masked_fill(~there, -torch.inf)
            found.append(logits.softmax(-1).sum((2, 3))[..., : self.length])
        return torch.cat(found, 1).flatten(1)[:, absent:]

    @torch.no_grad()
    def received_now(self, view: View, rows: Tensor, at: Tensor, axis: Axis) -> Tensor:
        """(b m) what the queries of one call add to that, for carried rows (b m c) at (b m), those of the call behind.

        Where queries stand at the same places in all sequences, so do rows; those too far back are not looked at then.
        """
        q, use = view.queries(view.x), exact(rows.new_zeros(rows.shape[:2]))
        k = self._each_head(view.keys(rows)[0], q.shape[2])
        asking = axis.positions(rows.device).expand(rows.shape[0], axis.n)
        begin = axis.at.start % self.length if isinstance(axis.at, range) else 0
        for low in range(-begin, axis.n, self.length):
            some, near = slice(max(0, low), low + self.length), slice(0, rows.shape[1])
            if isinstance(axis.at, range):
                before = low - axis.n + rows.shape[1]
                near = slice(max(0, before - self.memory), max(0, before))
            if near.stop > near.start:
                shares = self._shares(q[:, some], k[:, near], asking[:, some], at[:, near])
                if axis.valid is not None:
                    shares = shares.masked_fill(~axis.valid[:, some, None], 0.0)
                use[:, near] += shares.sum(1)
        return use

    def _shares(self, q: Tensor, k: Tensor, asking: Tensor, at: Tensor) -> Tensor:
        """(b n m) what queries (b n h d) at (b n) give keys (b m h d) at (b m) that leave when their segment ends."""
        query, key = Point(at=asking[:, :, None]), Point(at=at[:, None])
        with island(q, k) as (q, k):
            logits = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) * self.scale
        weights = logits.masked_fill(~self.rows.allows(query, key)[:, None], -torch.inf).softmax(-1).sum(1)
        leaving = self.rows.last_reader(key.at) // self.length == query.at // self.length
        return torch.where(leaving, weights, 0.0)

    @staticmethod
    def _each_head(k: Tensor, heads: int) -> Tensor:
        """Keys (b m g d) as (b m h d)."""
        return k.repeat_interleave(heads // k.shape[2], 2)

    # Losses --------------------------------------------------------------------------------------------------------

    def _losses(self, x: Tensor, slots: Tensor, axis: Axis, view: View) -> dict[str, Tensor]:
        """What the weights of the slots learn from: rows (b n c) without a gradient, their slots (b m c) with one."""
        n, first = axis.n, self.memory // self.length
        found = torch.cat([self._apart(*group, view) for group in self._groups(x, slots)], 1)
        ends = (torch.arange(first, n // self.length, device=x.device) + 1) * self.length
        count = n if axis.valid is None else axis.valid.sum(1, keepdim=True)
        whole = (ends <= count).expand(found.shape)
        return {"compression": torch.where(whole, found, 0.0).sum() / whole.sum().clamp(min=1)}

    def _groups(self, x: Tensor, slots: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Segments (b s L c), what left when they ended (b s m c), and its slots (b s m/r c); the first ones alone,
        because fewer rows may leave then."""
        first, segments = self.memory // self.length, x.shape[1] // self.length
        edge = self.length - self.memory % self.length
        for low, high in ((first, first + 1), (first + 1, segments)):
            count, size = high - low, self.length if low > first else edge
            if count > 0:
                start = 0 if low == first else edge
                old = x[:, start : start + count * size]
                new = slots[:, start // self.rate : (start + count * size) // self.rate]
                asking = x[:, low * self.length : high * self.length]
                yield tuple(t.unflatten(1, (count, -1)) for t in (asking, old, new))  # type: ignore[misc]

    def _apart(self, asking: Tensor, old: Tensor, new: Tensor, view: View) -> Tensor:
        """(b s) how far slots (b s m/r c) are from the rows (b s m c) that they stand for."""
        if self.restore is not None:
            each = self.restore(new).unflatten(-1, (self.rate, -1)).unflatten(2, (-1, self.dilation))
            again = each.transpose(3, 4).reshape(old.shape)
            return (exact(again) - exact(old)).square().mean((2, 3))
        assert view.still is not None, "what a memory is given is not a still view"
        still, b = view.still(), old.shape[0]
        q = still.queries(asking.flatten(0, 1)).transpose(1, 2)
        wanted, found = (self._read(q, *still.keys(t.flatten(0, 1))) for t in (old, new))
        return (found - wanted).square().mean((1, 2, 3)).unflatten(0, (b, -1))

    def _read(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(b h n e) what queries (b h n d) read of keys (b m g d) and values (b m g e), by content alone."""
        gqa = q.shape[1] != k.shape[2]
        with island(q, k.transpose(1, 2), v.transpose(1, 2)) as (q, k, v):
            return functional.scaled_dot_product_attention(q, k, v, scale=self.scale, enable_gqa=gqa)

    # Continued -----------------------------------------------------------------------------------------------------

    def start(self, batch: int, k: Tensor, v: Tensor) -> Any:
        state = {"x": k, "at": torch.zeros(batch, 0, dtype=torch.long, device=k.device)}
        return state | ({"use": exact(k.new_zeros(batch, 0))} if self.chooses else {})

    def extend(
        self, state: Any, k: Tensor, v: Tensor, axis: Axis, view: View
    ) -> tuple[Slots, Any, Mapping[str, Tensor]]:
        """The carried rows, and their order, are those of the memory before this one."""
        carried = view.before[-1]
        rows, at = carried.k[:, :, 0], self._times(carried, axis)
        leaving = (at < NEVER) & (self.rows.last_reader(at) < next_time(axis, at.shape[0], at.device)[:, None])
        old, after = {"x": state["x"], "at": state["at"]}, {}
        moved = {"x": rows, "at": at}
        if self.chooses:
            grown = functional.pad(state["use"], (0, k.shape[1]))
            moved["use"] = grown + self.received_now(view, rows, at, axis)
            after = pack((at < NEVER) & ~leaving, {"use": moved["use"]}, {})
        group = pack(leaving, moved, {"at": NEVER})
        new = {
            "x": self._let(self.squeezed(group["x"], group["at"], group.get("use"))),
            "at": group["at"][:, self.rate - 1 :: self.rate],
        }
        slots = {name: torch.cat([t, new[name].to(t.dtype)], 1) for name, t in old.items()}
        plain = isinstance(carried.at, range) and axis.valid is None
        places = self.places(axis.n) if plain else slots["at"]
        return as_slots(slots["x"], places, self.rate), drop(slots, self.pattern.last_reader, axis) | after, {}

    def state_shape(self, n: int, groups: int, width: int, value_width: int) -> Mapping[str, tuple[int, ...]]:
        m = kept(self.pattern, self.places(n), n)
        use = {"use": (kept(self.rows, range(n), n),)} if self.chooses else {}
        return {"x": (m, self.dim), "at": (m,), **use}

    @staticmethod
    def _times(carried: Slots, axis: Axis) -> Tensor:
        """(b m) positions of the carried rows, `NEVER` where there is none."""
        if isinstance(carried.at, Tensor):
            return carried.at
        at = torch.arange(carried.at.start, carried.at.stop, device=carried.k.device).expand(carried.k.shape[:2])
        return at if axis.valid is None else torch.where(axis.valid, at, NEVER)


def as_slots(x: Tensor, at: range | Tensor, rate: int) -> Slots:
    """Rows (b m c) as slots, which the attention projects, each of them for as many places as its block has."""
    back = rate - 1
    start = range(at.start - back, at.stop - back, at.step) if isinstance(at, range) else at - back
    return Slots(x[:, :, None], x[:, :, None], at, start=start)


def build(options: CompressiveOptions, context: Context) -> Memory | tuple[Memory, ...]:
    """The carried rows, and the slots behind them."""
    rows = CarriedRows("compressive", options.length, options.memory, context)
    refuse(options)
    if not options.compressed:
        return rows
    return rows, Compressed(options, context, rows.pattern)


def refuse(options: CompressiveOptions) -> None:
    """Refuse rows that do not fill their slots, losses without anybody to learn from them, and what squeezing alone
    asks, where nothing is squeezed."""
    if not options.compressed:
        squeezing = ("rate", "by", "loss", "dilation", "distance")
        refuse_unused(
            options, squeezing, "recurrence 'compressive'", "compressed=0 leaves no slots to squeeze rows into",
            "compressed=...",
        )  # fmt: skip
        return
    if options.by != "dilated":
        refuse_unused(
            options, ("dilation",), "recurrence 'compressive'", "it takes neighbours into one slot", "by=dilated"
        )
    r = options.rate * (options.dilation if options.by == "dilated" else 1)
    for name, size in (("length", options.length), ("memory", options.memory)):
        if size % r:
            raise PartError(
                f"recurrence 'compressive' squeezes rows by {r}, and '{name}' is {size}",
                label="what leaves the memory would not fill its slots", option=name,
                fixes=tuple(f"{name}={fit}" for fit in (size // r * r, -(-size // r) * r) if fit),
            )  # fmt: skip
    if options.memory < options.length:
        raise PartError(
            f"recurrence 'compressive' needs a memory of a segment at least, found {options.memory} rows of "
            f"{options.length}",
            label="rows would be squeezed before a later segment has read them", option="memory",
            fixes=(f"memory={options.length}", "compressed=0"),
        )  # fmt: skip
    if options.loss is not None and options.by not in LEARNED:
        raise PartError(
            f"by={options.by} has no weights that could learn from loss={options.loss}", option="loss",
            fixes=("leave loss out", "by=conv"),
        )  # fmt: skip


@hookimpl
def components():
    return [Component(kind="recurrence", name="compressive", options=CompressiveOptions, build=build)]
