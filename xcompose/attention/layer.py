"""Softmax attention inside a layer: its reads, whole or continued from a state, and who may read whom.

The mixer projects; here the slots of memories are made, positions turn queries and keys, every group of heads gets its
reads, and a state keeps what later queries may still read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xcompose.attention.algebra import Intersection
from xcompose.attention.attend import attend
from xcompose.attention.groups import Group, OfSingle, has_terms, narrowed, on_clock, restricted
from xcompose.attention.learned import PrefixPattern, Told
from xcompose.attention.lengths import each_length
from xcompose.attention.pattern import Pattern
from xcompose.attention.places import every
from xcompose.attention.reads import Axis, Clock, Read, Score, Slots
from xcompose.attention.summarised import beside, given, made_of_all, spans_of
from xcompose.attention.visible import Places, of_any_head, visible_matrix, visible_positions
from xcompose.compose.parts import Memory, Position, View, Visible
from xcompose.decode import cache
from xcompose.decode.cache import times

TOKENS = "tokens"
"""The name of the read of the rows themselves."""


class Answer(NamedTuple):
    """What the inside of an attention gives back."""

    y: Tensor
    """(b n h e)"""
    state: Any = None
    losses: Mapping[str, Tensor] = {}
    stats: Mapping[str, Tensor] = {}

    def after(self, state: Any, losses: Iterable[Mapping[str, Tensor]]) -> Answer:
        """With a state, and with what the memories add to the losses."""
        return self._replace(state=state, losses=merged([*losses, self.losses]))


Remembered = tuple[Any, Mapping[str, Tensor]]
"""A state made of a whole sequence, to be recalled, and losses by name."""


class Own(NamedTuple):
    """The tokens as a group of heads reads them."""

    slots: Slots
    told: Told | None = None
    """The pattern, where contents have chosen already."""


class SoftmaxReads(nn.Module):
    """The reads of one layer's softmax: the tokens, then each memory.

    Args:
        groups: the heads and what their token reads allow.
        memories: extra slots; a recurrence is one of them. By the names that explanations use.
        position: turns queries and keys; its terms are in the groups.
        shape: key/value heads g, key width d, value width e.
        rows: which queries have to be answered, where not all have; no key is kept for others.
        prefix: how many rows stand before the tokens.
        score: weighs products; its terms are in the groups. None: as they are.
    """

    def __init__(
        self, groups: Sequence[Group], memories: Mapping[str, Memory], position: Position, shape: tuple[int, int, int],
        *, scale: float, causal: bool, dropout: float = 0.0, rows: Pattern | None = None, prefix: int = 0,
        score: Score | None = None,
    ):  # fmt: skip
        super().__init__()
        self.names = tuple(memories)
        self.memory = nn.ModuleList(memories.values())
        self.position, self.shape, self.score = position, shape, Score() if score is None else score
        self.scale, self.causal, self.dropout, self.prefix = scale, causal, dropout, prefix
        self.groups = [
            group._replace(pattern=restricted(group.pattern, [m.tokens for m in memories.values()])) for group in groups
        ]
        self.limits = [restricted(group.pattern, [None if group.pattern.learned else rows]) for group in self.groups]
        """What is left of the patterns of the groups for the rows that have to be answered."""
        read = [*self.limits, *(m.pattern for m in memories.values())]
        self.asks_for_length = any(pattern.needs_length for pattern in read)
        self.chooses = any(pattern.learned for pattern in read)
        """Whether contents choose in some read."""
        self.learned = any(pattern.selects == "sequence" for pattern in read)
        """Whether they choose by the whole sequence: then there is no better state than all rows so far."""
        self.traced = {
            whole: [pattern.present(traced=True) for pattern in self._patterns(whole)] for whole in (True, False)
        }
        """What a graph sees of them that is being traced."""
        self.patterns = nn.ModuleList(group.pattern for group in groups if isinstance(group.pattern, nn.Module))
        self.observing = [group.pattern for group in groups]
        """The patterns of the groups as they were built, which may learn from what they see."""
        self.weighing = [group.pattern if has_terms(group.pattern) else None for group in groups]
        """Patterns of the groups with terms, which the rows of a recurrence get, too."""
        self.watched: list[Sequence[Read]] | None = None
        """Gets the reads of each group of heads while somebody looks."""

    @property
    def memories(self) -> tuple[Memory, ...]:
        return tuple(self.memory)  # type: ignore[arg-type]

    def mix(self, q: Tensor, k: Tensor, v: Tensor, view: View, axis: Axis, asking: Axis | None = None) -> Answer:
        """A whole sequence: queries (b n h d), keys (b n g d), values (b n g e), the layer's rows (b n c) in `view`.

        Args:
            asking: of the queries, where they belong to some of the rows only.
        """
        found = [made_of_all(m, k, v, view, axis) for m in self.memories]
        own = Slots(self._turned(k, axis.at), v, axis.at, log_weight=self._absent(k, axis), tags=axis.tags)
        tokens = [Own(narrowed(own, group)) for group in self.groups]
        asks, slots = self._asks(q, asking or axis), self._ready([slots for slots, _ in found], view)
        answer = self._answer(q, asks, axis, tokens, slots, asking)
        return answer.after(None, [losses for _, losses in found])

    @property
    def reads_keys(self) -> bool:
        """Whether anybody reads keys and values of the rows: queries, or a memory that summarises them."""
        return any(not group.pattern.empty for group in self.groups) or any(m.level == "keys" for m in self.memories)

    @property
    def serves_some(self) -> bool:
        """Whether queries may be those of some rows only; where contents choose, they choose among all."""
        return not self.chooses

    def start(self, batch: int, like: Tensor) -> Any:
        g, d, e = self.shape
        k, v = like.new_zeros(batch, 0, g, d), like.new_zeros(batch, 0, g, e)
        x = like.new_zeros(batch, 0, like.shape[-1])
        return {
            "tokens": [self._blank(group, batch, like) for group in self.groups],
            "memory": [m.start(batch, *given(m, k, v, x)) for m in self.memories],
        }

    def extend(
        self, q: Tensor, k: Tensor, v: Tensor, view: View, axis: Axis, state: Any, asking: Axis | None = None
    ) -> Answer:
        """Rows that continue a state; arguments as for `mix`."""
        found: list[tuple[Slots, Any, Mapping[str, Tensor]]] = []
        for m, old in zip(self.memories, state["memory"], strict=True):
            own = view._replace(before=tuple(slots for slots, _, _ in found))
            found.append(m.extend(old, *given(m, k, v, view.x), axis, **beside(m, own)))
        turned = self._turned(k, axis.at)
        asks = self._asks(q, asking or axis)
        tokens, caches = [], []
        for group, limit, old in zip(self.groups, self.limits, state["tokens"], strict=True):
            slots, new = self._grown(group, limit, old, asks[None], turned, v, axis)
            tokens.append(slots)
            caches.append(new)
        answer = self._answer(q, asks, axis, tokens, self._ready([slots for slots, _, _ in found], view), asking)
        state = {"tokens": caches, "memory": [s for _, s, _ in found]}
        return answer.after(state, [losses for _, _, losses in found])

    def state_shape(self, n: int) -> dict[str, tuple[int, ...]]:
        g, d, e = self.shape
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (group, limit) in enumerate(zip(self.groups, self.limits, strict=True)):
            if group.pattern.empty:
                continue
            if isinstance(group.pattern, PrefixPattern):
                sizes = group.pattern.state_shape(n, (group.count, d, e))
            else:
                m = cache.kept(limit, range(n), n)
                sizes = {"k": (m, group.kv_heads, d), "v": (m, group.kv_heads, e), "at": (m,)}
            shapes |= {f"tokens.{i}.{name}": size for name, size in sizes.items()}
        for i, memory in enumerate(self.memories):
            shapes |= {f"memory.{i}.{name}": size for name, size in memory.state_shape(n, g, d, e).items()}
        return shapes

    def visible(self, n: int) -> tuple[Visible, ...]:
        groups = zip(self.groups, self.limits, self.weighing, strict=True)
        found = tuple(
            declared(limit, self._declared_slots(weighing, n), n, self.causal, group.heads, self.prefix)
            for group, limit, weighing in groups
        )
        return tuple(one._replace(exact=False) for one in found) if any(m.chooses for m in self.memories) else found

    def _declared_slots(self, weighing: Pattern | None, n: int) -> list[tuple[Pattern, Places]]:
        """Which slots of the memories may be read: of single rows none that the terms of the pattern hide."""
        found = []
        for m in self.memories:
            own = m.pattern if weighing is None else Intersection((m.pattern, OfSingle(weighing, m.clock)))
            found.append((own, spans_of(m, n, self.prefix)))
        return found

    def remember(self, k: Tensor, v: Tensor, view: View, axis: Axis) -> Remembered:
        """The slots of another sequence, as a state that queries of this one may `recall` again and again."""
        found = [m.slots(*given(m, k, v, view.x), axis, **beside(m, view)) for m in self.memories]
        if all(group.pattern.empty for group in self.groups):
            k, v, axis = k[:, :0], v[:, :0], Axis(range(0))
        own = Slots(k, v, axis.at, log_weight=self._absent(k, axis))
        kept = [own, *self._ready([slots for slots, _ in found], view)]
        memo = [{"k": s.k, "v": s.v} | ({} if s.log_weight is None else {"log_weight": s.log_weight}) for s in kept]
        return memo, merged(losses for _, losses in found)

    def recall(self, q: Tensor, axis: Axis, memo: Any) -> Answer:
        """Answer queries from the slots that were remembered; their places on the other clock have no meaning here."""
        own, *others = [Slots(m["k"], m["v"], range(m["k"].shape[1]), log_weight=m.get("log_weight")) for m in memo]
        tokens = [Own(narrowed(own, group)) for group in self.groups]
        return self._answer(q, self._asks(q, axis), axis, tokens, others)

    def _blank(self, group: Group, batch: int, like: Tensor) -> Any:
        """What is kept of a group's tokens before the first one."""
        _, d, e = self.shape
        if group.pattern.empty:
            return {}
        if isinstance(group.pattern, PrefixPattern):
            return group.pattern.start(batch, (group.count, d, e), like)
        return cache.empty_cache(batch, group.kv_heads, d, e, like)

    def _grown(
        self, group: Group, limit: Pattern, old: Any, asks: Tensor, k: Tensor, v: Tensor, axis: Axis
    ) -> tuple[Own, Any]:
        """What a group's tokens are now, and its cache afterwards.

        Args:
            asks: turned queries (b n h d), as keys and values of all heads.
        """
        k, v = group.of(k), group.of(v)
        if group.pattern.empty:
            return Own(Slots(k, v, axis.at)), {}
        from_nothing = old["at"].shape[1] == 0 and isinstance(axis.at, range)
        if isinstance(group.pattern, PrefixPattern):
            grown = group.pattern.extend(asks[:, :, group.heads], k, v, axis, old)
            told = Told(group.pattern, grown.asking, grown.slots.tags)
            return Own(Slots(k, v, axis.at) if from_nothing else grown.slots, told), grown.state
        grown = cache.append(old, {"k": k, "v": v}, axis)
        at = axis.at if from_nothing else grown["at"]
        return Own(Slots(grown["k"], grown["v"], at)), cache.drop(grown, limit.last_reader, axis)

    def _answer(
        self, q: Tensor, turned: Mapping[Clock | None, Tensor], axis: Axis, tokens: Sequence[Own],
        memories: Sequence[Slots], asking: Axis | None = None,
    ) -> Answer:  # fmt: skip
        """One softmax for each group of heads, over its own tokens and every memory."""
        self.score.check(axis)
        # Where only the rows that count are asked for, patterns need not leave the others out.
        patterns = self._present(whole=asking is not None)
        axis = self._with_lengths(asking or axis, axis, q.shape[0])
        found, seen = [], []
        for group, pattern, observing, own in zip(self.groups, patterns, self.observing, tokens, strict=True):
            sources: list[tuple[str, Slots, Pattern, Clock | None]] = []
            sources += [] if group.pattern.empty else [(TOKENS, own.slots, own.told or pattern, None)]
            for name, memory, slots in zip(self.names, self.memories, memories, strict=True):
                sources.append((name, narrowed(slots, group), memory.pattern, memory.clock))
            reads = [
                Read(
                    turned[clock][:, :, group.heads], axis, slots, pattern, self.causal, self.scale,
                    on_clock(group.terms, clock), q[:, :, group.heads], name,
                )
                for name, slots, pattern, clock in sources
                if slots.k.shape[1]
            ]  # fmt: skip
            if self.watched is not None:
                self.watched.append(reads)
            nothing = own.slots.v.new_zeros(*q[:, :, group.heads].shape[:3], own.slots.v.shape[3])
            found.append(self._attended(reads) if reads else nothing)
            seen += [observing.observe(read) for read in reads if read.name == TOKENS]
        y = torch.cat(found, 2) if len(found) > 1 else found[0]
        return Answer(y, None, merged(one.losses for one in seen), merged(one.stats for one in seen))

    def _attended(self, reads: Sequence[Read]) -> Tensor:
        total = reads[0].queries.total
        answer = partial(attend, dropout=self.dropout, training=self.training)
        if isinstance(total, Tensor) and isinstance(reads[0].queries.at, range):
            return each_length(reads, total.flatten(), answer)
        return answer(reads)

    def _present(self, whole: bool) -> Sequence[Pattern]:
        """What executors see of the groups' patterns, or of what is left of them for the rows that count."""
        if torch.compiler.is_compiling():
            return self.traced[whole]
        return [pattern.present() for pattern in self._patterns(whole)]

    def _patterns(self, whole: bool) -> Sequence[Pattern]:
        return [group.pattern for group in self.groups] if whole else self.limits

    def _with_lengths(self, axis: Axis, whole: Axis, batch: int) -> Axis:
        """The axis with the length of each sequence, where padding makes them differ and a pattern asks for it.

        A plan is made for one length: tokens are answered length by length. Where lengths cannot be looked at, or slots
        stand for the padded sequence, positions become those of each sequence, and no plan is made.
        """
        if self.causal or whole.valid is None or not self.asks_for_length:
            return axis
        total = whole.lengths()[:, None, None, None]
        unseen = torch.compiler.is_compiling() or whole.valid.is_meta
        if unseen or self.memory or not isinstance(axis.at, range):
            return replace(axis, at=times(axis, batch, whole.valid.device), total=total)
        return replace(axis, total=total)

    def _ready(self, found: Sequence[Slots], view: View) -> list[Slots]:
        """Slots of memories with keys projected, where they are rows, and turned."""
        ready = []
        for memory, slots in zip(self.memories, found, strict=True):
            rows = memory.level == "rows" and not memory.projects
            k, v = view.keys(slots.k[:, :, 0]) if rows else (slots.k, slots.v)
            ready.append(replace(slots, k=self._turned(k, slots.at, memory.clock), v=v))
        return ready

    def _turned(self, k: Tensor, at: range | Tensor, clock: Clock | None = None) -> Tensor:
        if isinstance(at, range):
            at = every(at, k.device)
        return self.position.turn(k, at if clock is None else clock.slot(at), "key")

    def _asks(self, q: Tensor, axis: Axis) -> dict[Clock | None, Tensor]:
        """Turned queries (b n h d), without channels that only the score asks for, by the clock of what they read."""
        at = axis.positions(q.device)
        clocks = [None, *(m.clock for m in self.memories if m.clock is not None)]
        q = q[..., : self.shape[1]]
        turned = {one: self.position.turn(q, at if one is None else one.query(at), "query") for one in clocks}
        return {one: self.score.weigh(t) for one, t in turned.items()}

    def _absent(self, k: Tensor, axis: Axis) -> Tensor | None:
        """(b n) log-weights that hide padding; a causal read needs none, because padding stands behind all rows."""
        if axis.valid is None or self.causal:
            return None
        return torch.zeros_like(axis.valid, dtype=k.dtype).masked_fill(~axis.valid, -torch.inf)


def declared(
    pattern: Pattern, memories: Sequence[tuple[Pattern, Places]], n: int, causal: bool, heads: slice, prefix: int = 0
) -> Visible:
    """What a group of heads may read in a sequence of n rows: directly, or through slots that stand for positions.

    Where heads differ, what any of them may read. A slot that belongs to no position makes nothing visible.
    """
    count = heads.stop - heads.start
    found = of_any_head(visible_matrix(pattern, n, causal, count, prefix=prefix))
    for own, spans in memories:
        found = found | of_any_head(visible_positions(own, n, causal, spans, count, prefix))
    label = f"heads {heads.start}-{heads.stop - 1}" if count > 1 else f"head {heads.start}"
    return Visible(label, count, found, not any(one.learned for one in (pattern, *(own for own, _ in memories))))


def merged(losses: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Losses or statistics of several parts by name, added where names agree."""
    total: dict[str, Tensor] = {}
    for one in losses:
        for name, loss in one.items():
            total[name] = total[name] + loss if name in total else loss
    return total
