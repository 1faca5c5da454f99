"""Synthesizer: logits that no query and key make together, but a row alone, or a table that knows places alone.

Maths    o_i = sum_j softmax_j(l_ij) v_j over j that i may read;  l = sum_s a_s S_s of r branches, a = softmax(alpha)
         dense              S_ij = (W_2 relu(W_1 x_i + b_1) + b_2)_j
         random, fixed      S_ij = R_ij, trained or not
         factorized-dense   S_ij = A_(j mod a) B_floor(j / a), A and B made as `dense` is, of one hidden layer; a b = N
         factorized-random  S_ij = sum_k F_ik G_jk
         content            S_ij = s q_i k_j, the ordinary products, the only ones that are scaled
Shapes   x (b n c);  W_1 (h f c);  W_2 (h f N);  A (b n h a), B (b n h b);  R (h N N);  F, G (N h k);  alpha (r)
Cost     a number for each pair, of `dense` by f products, where the pattern is local for its pairs alone;  parameters
         of a head: dense c f + f + f N + N, random N^2, factorized-dense c f + f + (f + 1) (a + b), factorized-random
         2 N k;  without `content` no keys are made or kept: a decoder keeps e numbers a token and value head
Limits   N = `length` of the model and rows before the tokens, nothing longer can be read; columns are absolute, so
         padding stands on the right; self-attention only; no summaries beside the tokens. What a position adds to
         logits is added to the mixture, its turns need `content`
Paper    Tay et al., Synthesizer: Rethinking Self-Attention for Transformer Models, ICML 2021, arXiv:2005.00743, s. 3
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from math import isqrt
from operator import add
from typing import Any, Literal, NamedTuple

import torch
from einops import einsum
from torch import Tensor, nn

from xcompose.api import (
    Axis,
    Component,
    Context,
    Count,
    PartError,
    Point,
    Real,
    Score,
    Term,
    TooLong,
    hookimpl,
    option,
    options,
    written,
)

Kind = Literal["dense", "random", "fixed", "factorized-dense", "factorized-random", "content"]

BAND = 64
"""Rows of a table that tiles share."""


@options
class SynthesizerOptions:
    """Synthesizer."""

    of: tuple[Kind, ...] = option(main=True)
    """What makes the logits: dense, random, fixed, factorized-dense or factorized-random; several are mixed, and among
    several `content` may be one."""
    hidden: Count | None = option(None, at_least=1)
    """Width f of the hidden layer of `dense` and `factorized-dense` in each head; `head_dim` if not written."""
    factors: tuple[Count, ...] = option((), at_least=1)
    """The widths a and b of `factorized-dense`, whose product is N; the two nearest each other if not written."""
    rank: Count = option(8, at_least=1)
    """Columns k of the factors of `factorized-random`."""
    std: Real = option(1.0, above=0)
    """The deviation that random logits start with."""


class Places(NamedTuple):
    """Rows and columns of logits, read from labels; t and h are 1 where all sequences or heads have the same."""

    rows: Tensor
    """(t h n)"""
    cols: Tensor
    """(t h m)"""
    near: tuple[range, range] | None = None
    """The same as ranges, where all have the same, and rows and columns are neighbours: then slices serve."""

    @property
    def alike(self) -> bool:
        """Whether all sequences and heads have the same."""
        return self.rows.shape[:2].numel() == 1


class Branch(nn.Module):
    """One way to make logits."""

    asks: int = 0
    """How many channels of a query it gets."""

    def forward(self, asked: Tensor, places: Places) -> Tensor:
        """From channels (b n h asks) to logits, broadcastable to (b h n m)."""
        raise NotImplementedError

    def ready(self) -> Callable[[Tensor, Places], Tensor]:
        """The same for many tiles of one call."""
        return self


class Columns(nn.Module):
    """The second layer: from hidden rows to a number for each column."""

    def __init__(self, heads: int, hidden: int, columns: int):
        super().__init__()
        self.weight = nn.Parameter((torch.rand(heads, hidden, columns) * 2 - 1) * hidden**-0.5)
        self.bias = nn.Parameter(torch.zeros(heads, columns))

    def forward(self, hidden: Tensor, places: Places | None = None) -> Tensor:
        """(b n h f) to (b h n m), for these columns or all."""
        hidden, weight, bias = hidden.relu(), self.weight.to(hidden.dtype), self.bias.to(hidden.dtype)
        if places is None:
            return einsum(hidden, weight, "b n h f, h f m -> b h n m") + bias[:, None]
        if places.alike:
            weight, bias = of_columns(weight, places), of_columns(bias, places)
            return einsum(hidden, weight, "b n h f, h f m -> b h n m") + bias[:, None]
        if hidden.shape[1] * weight.shape[2] <= hidden.shape[3] * places.cols.shape[2]:
            return of_columns(self(hidden), places)
        weight, bias = of_columns(weight[None], places), of_columns(bias[None, :, None], places)
        return einsum(hidden, weight, "b n h f, b h f m -> b h n m") + bias


class Dense(Branch):
    """A row writes its logits."""

    def __init__(self, heads: int, hidden: int, columns: int):
        super().__init__()
        self.asks, self.columns = hidden, Columns(heads, hidden, columns)

    def forward(self, asked: Tensor, places: Places) -> Tensor:
        return self.columns(asked, places)


class FactorizedDense(Branch):
    """A row writes two short rows; its logits are their outer product."""

    def __init__(self, heads: int, hidden: int, factors: Sequence[int]):
        super().__init__()
        self.asks, self.count = hidden, factors[0]
        self.tiled, self.repeated = (Columns(heads, hidden, count) for count in factors)

    def forward(self, asked: Tensor, places: Places) -> Tensor:
        a, b, cols = self.tiled(asked), self.repeated(asked), places.cols
        if places.near is None:
            tiled, repeated = (Places(places.rows, which) for which in (cols % self.count, cols // self.count))
            return of_columns(a, tiled) * of_columns(b, repeated)
        first, last = places.near[1][0], places.near[1][-1]
        low, high = first // self.count, last // self.count + 1
        product = b[..., low:high, None] * a[..., None, :]
        return product.flatten(-2).narrow(-1, first - low * self.count, len(places.near[1]))


class Random(Branch):
    """A number for each head, row and column, whatever stands there."""

    def __init__(self, heads: int, columns: int, std: float, trained: bool):
        super().__init__()
        table = torch.randn(heads, columns, columns) * std
        self.table = nn.Parameter(table) if trained else nn.Buffer(table)

    def forward(self, asked: Tensor, places: Places) -> Tensor:
        return entries(self.table, places).to(asked.dtype)

    def ready(self) -> Callable[[Tensor, Places], Tensor]:
        """Looks a tile up in its band of the table, whose gradient then has the size of the band, not of the table."""
        if self.table.is_meta or torch.compiler.is_compiling():
            return self
        return partial(self._of_band, self.table.split(BAND, 1))

    @staticmethod
    def _of_band(bands: tuple[Tensor, ...], asked: Tensor, places: Places) -> Tensor:
        first, last = int(places.rows.min()) // BAND, int(places.rows.max()) // BAND
        table = bands[first] if first == last else torch.cat(bands[first : last + 1], 1)
        return entries(table, places, first * BAND).to(asked.dtype)


class FactorizedRandom(Branch):
    """A vector for each head and row, another for each column."""

    def __init__(self, heads: int, columns: int, rank: int, std: float):
        super().__init__()
        size, each = (columns, heads, rank), std**0.5 * rank**-0.25
        self.rows, self.cols = (nn.Parameter(torch.randn(size) * each) for _ in range(2))

    def forward(self, asked: Tensor, places: Places) -> Tensor:
        head = torch.arange(self.rows.shape[1], device=asked.device)[:, None]
        rows, cols = self.rows.to(asked.dtype)[places.rows, head], self.cols.to(asked.dtype)[places.cols, head]
        return rows @ cols.transpose(-1, -2)


def entries(table: Tensor, places: Places, above: int = 0) -> Tensor:
    """The logits (t h n m) that stand in a table (h r c), the first row of which is number `above`."""
    if places.near is not None:
        rows, cols = places.near
        return table.narrow(1, rows[0] - above, len(rows)).narrow(2, cols[0], len(cols))[None]
    index = (places.rows - above)[..., None] * table.shape[2] + places.cols[:, :, None]
    if index.shape[1] == 1:
        index = index[:, 0]
        return table.flatten(1).index_select(1, index.flatten()).unflatten(1, index.shape).transpose(0, 1)
    index = index + torch.arange(len(table), device=index.device)[:, None, None] * table[0].numel()
    return table.flatten().index_select(0, index.flatten()).view(index.shape)


def of_columns(t: Tensor, places: Places) -> Tensor:
    """Of (... N) the columns (... m); where these differ, of (t h n N) with t or h 1 where it has no others."""
    if places.near is not None:
        return t.narrow(-1, places.near[1][0], len(places.near[1]))
    if places.alike:
        return t.index_select(-1, places.cols[0, 0])
    cols = places.cols[:, :, None]
    size = (*torch.broadcast_shapes(t.shape[:-1], cols.shape[:-1]), -1)
    return t.expand(size).gather(-1, cols.expand(size))


class Synthesizer(Score):
    """The branches, and how they are mixed."""

    def __init__(self, options: SynthesizerOptions, context: Context):
        super().__init__()
        refuse(options, context)
        assert context.length is not None, "a model without a length was refused"
        self.first, self.count = -context.prefix, context.prefix + context.length
        self.of, self.content = options.of, "content" in options.of
        made = {kind: branch(kind, options, context, self.count) for kind in options.of if kind != "content"}
        self.branches = nn.ModuleDict(made)
        self.asks = sum(part.asks for part in made.values())
        self.mixture = nn.Parameter(torch.zeros(len(options.of))) if len(options.of) > 1 else None

    def share(self, kind: str, like: Tensor) -> Tensor | float:
        """What a branch counts, alpha after the softmax."""
        return 1.0 if self.mixture is None else self.mixture.softmax(0)[self.of.index(kind)].to(like.dtype)

    def weigh(self, q: Tensor) -> Tensor:
        return q * self.share("content", q) if self.content else q

    def terms(self, heads: int, head_dim: int) -> Sequence[Term]:
        return (Synthetic(self, dict(self.branches.items())),)

    def check(self, axis: Axis) -> None:
        end, at = self.first + self.count, axis.at
        if isinstance(at, range) and at.stop <= end:
            return
        longest = at.stop if isinstance(at, range) else int(at.max()) + 1
        if axis.valid is not None:
            there = torch.arange(at.start, at.stop, device=axis.valid.device) if isinstance(at, range) else at
            longest = int(torch.where(axis.valid, there, 0).max()) + 1
        if longest > end:
            raise TooLong(
                f"a sequence of {longest} tokens is longer than the {end} columns of score 'synthesizer'", end
            )


class Synthetic(Term):
    """What the branches give for rows and columns; a label is row N + column, counted from the first row there is."""

    trainable = True

    def __init__(self, score: Synthesizer, parts: Mapping[str, Any]):
        self.score, self.parts = score, parts

    def label(self, q: Point, k: Point) -> Any:
        first, last = self.score.first, self.score.count - 1
        # Absent slots of a cache lie behind all columns; they are hidden, whatever their logit is.
        return torch.clamp(q.at - first, 0, last) * (last + 1) + torch.clamp(k.at - first, 0, last)

    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        places = places_of(labels, self.score.count)
        asked = q.split([self.score.branches[kind].asks for kind in self.parts], -1)
        each = zip(self.parts.items(), asked, strict=True)
        return reduce(add, (part(own, places) * self.score.share(kind, q) for (kind, part), own in each))

    def ready(self, apart: range | None) -> Term:
        return Synthetic(self.score, {kind: part.ready() for kind, part in self.parts.items()})


def places_of(labels: Tensor, columns: int) -> Places:
    """Rows and columns of labels (n m) or (t h n m)."""
    labels = labels[None, None] if labels.ndim == 2 else labels
    rows, cols = labels[..., 0] // columns, labels[:, :, 0] % columns
    places = Places(rows, cols)
    if not places.alike or labels.is_meta or torch.compiler.is_compiling():
        return places
    near = [neighbours(one[0, 0]) for one in (rows, cols)]
    return places if None in near else places._replace(near=(near[0], near[1]))


def neighbours(at: Tensor) -> range | None:
    """Numbers (n) as a range, where each is one more than the one before it."""
    found = range(int(at[0]), int(at[0]) + len(at))
    return found if bool((at.diff() == 1).all()) else None


def branch(kind: str, options: SynthesizerOptions, context: Context, columns: int) -> Branch:
    heads, hidden = context.heads, options.hidden or context.head_dim
    assert heads is not None, "a score is built inside an attention"
    assert hidden is not None, "a score is built inside an attention"
    if kind == "dense":
        return Dense(heads, hidden, columns)
    if kind == "factorized-dense":
        return FactorizedDense(heads, hidden, options.factors or nearest(columns))
    if kind == "factorized-random":
        return FactorizedRandom(heads, columns, options.rank, options.std)
    return Random(heads, columns, options.std, trained=kind == "random")


def nearest(columns: int) -> tuple[int, int]:
    """The two factors that lie nearest each other, the smaller first."""
    a = next(a for a in range(isqrt(columns), 0, -1) if columns % a == 0)
    return a, columns // a


def refuse(options: SynthesizerOptions, context: Context) -> None:
    """Refuse places that its columns know nothing of, and options that contradict each other."""
    if context.role == "cross":
        raise PartError(
            "cross-attention cannot use score 'synthesizer'",
            label="its logits do not look at the source; the paper, too, keeps softmax there", fixes=("score=softmax",),
        )  # fmt: skip
    if context.length is None:
        raise PartError(
            "score 'synthesizer' needs the length of the model",
            label="it has a logit for each column", fixes=("model.length: 512",),
        )  # fmt: skip
    if not options.of or len(set(options.of)) < len(options.of):
        what = "each branch once" if options.of else "at least one branch"
        raise PartError(f"score 'synthesizer' takes {what}", option="of", fixes=("synthesizer(random, dense)",))
    if set(options.of) == {"content"}:
        raise PartError("score 'synthesizer' with 'content' alone is softmax", option="of", fixes=("score=softmax",))
    needs = {
        "hidden": {"dense", "factorized-dense"}, "factors": {"factorized-dense"}, "rank": {"factorized-random"},
        "std": {"random", "fixed", "factorized-random"},
    }  # fmt: skip
    for name, kinds in needs.items():
        if written(options, name) and not kinds & set(options.of):
            missing = "which is not" if len(kinds) == 1 else "none of which is"
            *others, last = sorted(kinds)
            named = f"{', '.join(others)} and {last}" if others else last
            raise PartError(
                f"'{name}' belongs to {named}, {missing} mixed here", option=name,
                fixes=(f"leave {name} out",),
            )  # fmt: skip
    columns, factors = context.prefix + context.length, options.factors
    if factors and (len(factors) != 2 or factors[0] * factors[1] != columns):
        a, b = nearest(columns)
        raise PartError(
            f"the product of two 'factors' must be {columns}, one logit for each column", option="factors",
            fixes=(f"factors=[{a}, {b}]",),
        )  # fmt: skip


@hookimpl
def components():
    return [
        Component(
            kind="score", name="synthesizer", options=SynthesizerOptions, build=Synthesizer,
            facts={"needs": ("length",)},
        )
    ]  # fmt: skip
