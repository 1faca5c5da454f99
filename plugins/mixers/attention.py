"""Attention: every row asks, and is answered by a weighted mean of values of the rows that its pattern lets it read.

Maths    q = x W_q, k = x W_k, v = x W_v;  y = concat_h(o_h) W_o
         o_i = sum_j w_ij v_j over tokens that the pattern allows, slots of the memory, and of the recurrence, in one
Shapes   x, y (b n c);  q (b n h d);  k, v (b n g d), g divides h;  slots (b m g d)
Cost     4 c h d for each row, and what pattern and score cost; a decoder keeps what later queries may read
Limits   a kernel score reads all tokens alike: no pattern, no memory, no additive position, no dropout of weights
Paper    Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv:1706.03762, s. 3.2;
         key/value groups: Ainslie et al., GQA, EMNLP 2023, arXiv:2305.13245
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from xcompose.api import (
    Asked,
    Axis,
    Component,
    Context,
    Count,
    Everything,
    KernelSums,
    Memory,
    Mixed,
    Mixer,
    Part,
    PartError,
    Position,
    Real,
    Score,
    SoftmaxReads,
    Source,
    ToStream,
    View,
    Visible,
    head_groups,
    hidden,
    hookimpl,
    only_rows,
    option,
    options,
    refuse_beside_means,
    refuse_idle,
    refuse_memories,
    refuse_pattern,
    refuse_silence,
    refuse_summaries,
    refuse_with_kernel,
    refuse_without_content,
    shown,
    stopped,
    uses_keys,
    with_score,
)


@options
class AttentionOptions:
    """Attention."""

    pattern: Part.pattern | None = option(None)
    """Which tokens a query may read; all if not written, but with a memory it must be written."""
    score: Part.score = option("softmax")
    """How a query weighs what it may read."""
    memory: Part.memory | None = option(None)
    """Extra or summarised slots, read in the same softmax as the tokens."""
    recurrence: Part.recurrence | None = option(None, inherited=True)
    """What is carried from one segment to the next."""
    position: Part.position | None = option(None, inherited=True)
    """How a query knows where a key is."""
    heads: Count | None = option(None, inherited=True, at_least=1)
    """Number of heads h; `dim`/64 if not written."""
    kv_heads: Count | None = option(None, inherited=True, at_least=1)
    """Key/value heads g; `heads` if not written."""
    head_dim: Count | None = option(None, inherited=True, at_least=1)
    """Width of a head d; `dim`/`heads` if not written."""
    value_dim: Count | None = option(None, at_least=1)
    """Width of a head's values e; `head_dim` if not written."""
    bias: bool = option(True, inherited=True)
    """Whether the projections have biases."""
    dropout: Real = option(0.0, at_least=0, at_most=1)
    """How many weights are dropped while training."""
    shared_qk: bool = option(False)
    """Whether queries, brought to length one, are the keys."""
    scale: Literal["head", "dim", "none"] = option("head")
    """What products are divided by: the root of d, the root of c, or nothing."""
    add_query: bool = option(False)
    """Whether each head adds its query to what it has read."""
    out: bool = option(True)
    """Whether the heads are mixed by an output projection."""
    silence: Literal["refuse", "zero"] = option("refuse")
    """A query that may read nothing at all: refused when the model is composed, or answered by zero."""


class Attention(Mixer):
    """Projects, and leaves the reading to the engine."""

    remembers_source = True

    def __init__(self, options: AttentionOptions, context: Context):
        super().__init__()
        self.dim, self.cross, self.shared_qk = context.dim, context.role == "cross", options.shared_qk
        self.heads, self.kv_heads, self.head_dim = sizes(options, context)
        self.add_query, value_dim = options.add_query, options.value_dim or self.head_dim
        if options.add_query and value_dim != self.head_dim:
            raise PartError(
                f"a query of {self.head_dim} cannot be added to values of {value_dim}", option="value_dim",
                fixes=("add_query=false",),
            )  # fmt: skip
        width = self.heads * value_dim
        keys, values, bias = self.kv_heads * self.head_dim, self.kv_heads * value_dim, options.bias
        linear, own = partial(nn.Linear, self.dim, bias=bias), context.projection
        inside = surroundings(options, context, (self.heads, self.kv_heads, self.head_dim, value_dim))
        score = context.build(options.score, **inside)
        asked = self.heads * ((self.head_dim if score.content else 0) + score.asks)
        self.q = own("q", lambda: linear(asked)) if asked else None
        self.k = own("k", lambda: linear(keys)) if score.content and not options.shared_qk else None
        self.v: nn.Linear | None = own("v", lambda: linear(values))
        written = partial(ToStream, width, self.dim, bias=bias and context.out_bias)
        self.out = own("out", written) if options.out else None
        if self.out is None and (width != self.dim or context.heads):
            raise PartError(
                f"without an output projection the heads must fill 'dim' {self.dim}, found {self.heads} heads of "
                f"{value_dim}",
                option="out", fixes=("out=true",),
            )  # fmt: skip
        self.inner = inner(options, context, inside, score)
        if not self.inner.reads_keys and not any(isinstance(m, Memory) and uses_keys(m) for m in self.inner.modules()):
            self.k = self.v = None
        widths = {"q": asked // self.heads, "k": self.head_dim, "v": value_dim}
        self.by_head = {name: width for name, width in widths.items() if getattr(self, name) is not None}
        self.prefix = context.prefix
        self.rows = context.rows if self.inner.serves_some and not self.cross else None

    def mix(self, x: Tensor, axis: Axis, source: Source | None = None) -> Mixed:
        if self.cross:
            memo, losses = self._remember(source)
            return self._recalled(x, axis, memo, losses)._replace(state=None)
        asked = Asked(self.rows, axis)
        q, k, v = self._projected(x, asked)
        answer = self.inner.mix(q, k, v, self._view(x), axis, asked.axis)
        mixed = Mixed(asked.put(self._written(answer.y, q)), None, answer.losses, answer.stats)
        if not self.wanted:
            return mixed
        return mixed._replace(inside=shown(self.wanted, q[..., : self.head_dim], k, v, self.inner))

    def hides(self, what: str) -> str:
        if self.cross:
            return "it reads another sequence"
        return hidden(what, self.inner, some_rows=self.rows is not None)

    def look_for(self, what: frozenset[str]) -> None:
        super().look_for(what)
        if isinstance(self.inner, SoftmaxReads):
            self.inner.watched = [] if "map" in what else None

    @property
    def continues(self) -> bool:
        """Whether there is a better state than all rows so far; a pattern may sort whole sequences."""
        return self.cross or not self.inner.learned

    def start(self, batch: int, like: Tensor) -> Any:
        if not self.continues:
            return super().start(batch, like)
        return {} if self.cross else self.inner.start(batch, like)

    def extend(self, x: Tensor, axis: Axis, state: Any, source: Source | None = None) -> Mixed:
        """Continue; of cross-attention the first call reads the source, and later ones need it no more."""
        if not self.continues:
            return super().extend(x, axis, state, source)
        if self.cross:
            memo, losses = (state["source"], {}) if state else self._remember(source)
            return self._recalled(x, axis, memo, losses)
        asked = Asked(self.rows, axis)
        q, k, v = self._projected(x, asked)
        answer = self.inner.extend(q, k, v, self._view(x), axis, state, asked.axis)
        return Mixed(asked.put(self._written(answer.y, q)), answer.state, answer.losses, answer.stats)

    def state_shape(self, n: int) -> Mapping[str, tuple[int, ...]]:
        """As the contract says; what cross-attention keeps of its source does not depend on n and is not in it."""
        if not self.continues:
            return super().state_shape(n)
        return {} if self.cross else self.inner.state_shape(n)

    def visible(self, n: int) -> tuple[Visible, ...]:
        found = () if self.cross else self.inner.visible(n)
        return found if self.rows is None else only_rows(found, self.rows, self.inner.causal, self.prefix)

    def _remember(self, source: Source | None) -> tuple[Any, Mapping[str, Tensor]]:
        assert source is not None, "cross-attention needs a source until its state holds one"
        return self.inner.remember(*self._own_keys(source.x), self._view(source.x), source.axis)

    def _view(self, x: Tensor) -> View:
        still = partial(View, x, partial(self._asked, still=True), partial(self._keys, still=True))
        return View(x, self._asked, self._keys, still)

    def _recalled(self, x: Tensor, axis: Axis, memo: Any, losses: Mapping[str, Tensor]) -> Mixed:
        """The answer from a source that was read, with the losses of reading it."""
        q = self._asked(x)
        answer = self.inner.recall(q, axis, memo)
        return Mixed(self._written(answer.y, q), {"source": memo}, {**losses, **answer.losses}, answer.stats)

    def _asked(self, x: Tensor, still: bool = False) -> Tensor:
        """Queries (b n h d), and behind their channels those that the score asks for."""
        if self.q is None:
            return x.new_zeros(*x.shape[:2], self.heads, 0)
        return rearrange((stopped(self.q) if still else self.q)(x), "b n (h d) -> b n h d", h=self.heads)

    def _projected(self, x: Tensor, asked: Asked) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the rows that have to be answered; keys and values of all."""
        q = self._asked(asked.of(x))
        return q, *self._own_keys(x, q if asked.axis is None else None)

    def _own_keys(self, x: Tensor, q: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values of the rows themselves; nothing is computed where nobody reads them."""
        if self.inner.reads_keys:
            return self._keys(x, q)
        g, d, e = self.inner.shape
        blank = x.new_zeros(()).expand(*x.shape[:2], g, max(d, e))
        return blank[..., :d], blank[..., :e]

    def _keys(self, x: Tensor, q: Tensor | None = None, still: bool = False) -> tuple[Tensor, Tensor]:
        """Keys and values of rows (b n c), each (b n g d); their queries are only needed where these are the keys."""
        assert self.v is not None, "nobody asks for keys and values where nobody reads them"
        v = rearrange((stopped(self.v) if still else self.v)(x), "b n (g d) -> b n g d", g=self.kv_heads)
        width = self.inner.shape[1]
        if not width:
            return v[..., :0], v
        if self.k is None:
            return F.normalize((self._asked(x, still) if q is None else q)[..., :width], dim=-1), v
        return rearrange((stopped(self.k) if still else self.k)(x), "b n (g d) -> b n g d", g=self.kv_heads), v

    def _written(self, y: Tensor, q: Tensor) -> Tensor:
        y = rearrange(y + q[..., : self.head_dim] if self.add_query else y, "b n h d -> b n (h d)")
        return y if self.out is None else self.out(y)


def sizes(options: AttentionOptions, context: Context) -> tuple[int, int, int]:
    """Heads, key/value heads and width of a head; inside `heads(...)` a share of what the layer has."""
    layer = options.heads or heads_of(context.dim)
    g, d = options.kv_heads or layer, options.head_dim
    if d is None:
        if context.dim % layer:
            raise PartError(
                f"{layer} heads do not divide 'dim' {context.dim}", option="heads",
                fixes=("a number that divides it", "head_dim=... beside heads"),
            )  # fmt: skip
        d = context.dim // layer
    if layer % g:
        raise PartError(
            f"{g} key/value heads do not divide {layer} heads", label="each of them serves equally many heads",
            fixes=(f"a number that divides {layer}",), option="kv_heads",
        )  # fmt: skip
    h = context.heads or layer
    if g * h % layer:
        raise PartError(
            f"a group of {h} of {layer} heads cannot have a whole share of {g} key/value heads", option="kv_heads",
            fixes=(f"kv_heads={layer}",),
        )  # fmt: skip
    if options.shared_qk and g != layer:
        raise PartError(
            "shared queries and keys need as many key/value heads as heads", option="kv_heads",
            label="a head's queries are its keys", fixes=(f"kv_heads={layer}", "shared_qk=false"),
        )  # fmt: skip
    return h, g * h // layer, d


def heads_of(dim: int) -> int:
    """Heads of 64."""
    if dim % 64:
        raise PartError(f"'dim' {dim} does not divide into heads of 64", fixes=("heads=...",))
    return dim // 64


def surroundings(options: AttentionOptions, context: Context, shape: tuple[int, int, int, int]) -> dict[str, Any]:
    """What the context says to the parts inside.

    Args:
        shape: heads h, key/value heads g, width of a head d, width of its values e.
    """
    h, g, d, e = shape
    scale = {"head": d**-0.5, "dim": context.dim**-0.5, "none": 1.0}[options.scale]
    return dict(
        heads=h, kv_heads=g, head_dim=d, value_dim=e, scale=scale, rows=None, projections=None,
        causal="none" if context.role == "cross" else context.causal, shared_qk=options.shared_qk,
    )  # fmt: skip


def inner(
    options: AttentionOptions, context: Context, inside: dict[str, Any], score: Score
) -> SoftmaxReads | KernelSums:
    """What answers the queries, after everything that cannot be composed was refused."""
    if not score.content:
        inside = {**inside, "head_dim": 0}
    h, g, d, e = (inside[name] for name in ("heads", "kv_heads", "head_dim", "value_dim"))
    cross, causal = context.role == "cross", context.role == "self" and context.causal != "none"
    pattern = Everything() if options.pattern is None else context.build(options.pattern, **inside)
    refuse_pattern(options, context, pattern, h)
    position = None if cross or options.position is None else context.build(options.position, **inside)
    position = position if position is not None and position.acts_inside else Position()
    terms = position.terms(h, d)
    memories = gathered(options, context, inside, cross)
    refuse_memories(options, context, memories, causal, h)
    refuse_beside_means(options, context, pattern, memories, h)
    if any(part.learned for _, part in pattern.groups(h)) and any(m.tokens for m in memories.values()):
        name = context.name(options.pattern)
        raise PartError(
            f"recurrence '{context.name(options.recurrence)}' cannot be used with pattern '{name}'",
            label="a pattern that chooses by contents knows nothing of segments", option="recurrence",
            fixes=("recurrence: none in this layer",),
        )  # fmt: skip
    if score.kernel:
        refuse_with_kernel(options, context, score, pattern, memories, bool(terms))
        return KernelSums(score, position, (g, d, e), h, causal=causal)
    if not score.content:
        refuse_without_content(options, context, pattern, position, h)
    groups = with_score(head_groups(pattern, h, g, terms), score, h, d)
    if any(group.pattern.learned and not all(term.anywhere for term in group.terms) for group in groups):
        raise PartError(
            f"pattern '{context.name(options.pattern)}' cannot be used with what position or score add to its logits",
            label="contents choose pairs at any distance, and these terms cost as much as there are distances",
            fixes=("a position with a limit: transformer-xl(clamp=...), relative(...)", "position=rotary"),
            option="pattern",
        )  # fmt: skip
    if score.terms(h, d):
        refuse_summaries(options, context, memories)
    if not memories and any(group.pattern.empty for group in groups):
        raise PartError(
            "nothing is left to read: the pattern reads no token, and there is no memory",
            option="pattern", fixes=("memory=conv(3)", "pattern=dense"),
        )  # fmt: skip
    refuse_idle(options, context, pattern, memories, h)
    if options.silence == "refuse":
        refuse_silence(options, context, [(pattern, None), *((m.pattern, m) for m in memories.values())], h)
    return SoftmaxReads(
        groups, memories, position, (g, d, e), scale=inside["scale"], causal=causal, dropout=options.dropout,
        rows=None if cross else context.rows, prefix=context.prefix, score=score,
    )  # fmt: skip


def gathered(options: AttentionOptions, context: Context, inside: Mapping[str, Any], cross: bool) -> dict[str, Memory]:
    """The recurrence and the memory, by the names that explanations use."""
    parts = {"recurrence": None if cross else options.recurrence, "memory": options.memory}
    if context.length is not None and not cross:
        # A memory counts the rows before the tokens, too.
        inside = {**inside, "length": context.length + context.prefix}
    found: dict[str, Memory] = {}
    for kind, part in parts.items():
        made = None if part is None else context.build(part, **inside)
        if made is not None:
            many = made if isinstance(made, tuple) else (made,)
            name = f"{kind} {context.name(part)}"
            found |= {name if i == 0 else f"{name} {i + 1}": memory for i, memory in enumerate(many)}
    return found


@hookimpl
def components():
    return [Component(kind="mixer", name="attention", options=AttentionOptions, build=Attention, also=("mha", "gqa"))]
