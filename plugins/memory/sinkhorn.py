"""Sinkhorn: blocks of keys and values, sorted by a learned matrix, stand beside each query's own block.

Maths    X_i = sum_{t in block i} x_t;  R = relu(relu(X W_1 + b_1) W_2 + b_2);  S = exp(balanced((R + g) / tau)), with
         g = -noise log(-log u) while training, else 0;  balanced takes from every row its log-sum-exp, then from every
         column its own, `iterations` times;  row i is a place, column j the block that comes to stand there
         K'_i = sum_j S_ij K_j, V'_i = sum_j S_ij V_j, read by block i;  with `cut` K'_0 .. K'_{cut-1}, read by all
         in a decoder X_i = sum_{t <= i b} x_t, S_ij = 0 for j >= i, and row i takes from column j the log-sum-exp of
         the rows up to i alone: with that of all rows the past would change with the future
         a slot of which some tokens are missing is the mean of the others, and weighs what they have of its row of S
Shapes   x (b n c);  k (b n g d);  v (b n g e);  block b, N = n / b;  W_1 (c c);  W_2 (c L/b), L the longest n;
         S (s N N), s = 1, or g with per_head
Cost     c (c + L/b) s parameters;  time c (c + L/b) s N + n N g (d + e) to sort, then n b pairs a head, with `cut`
         n cut b;  S takes s N^2;  a decoder keeps n keys and values, a sorted block, c sums and `iterations` s L/b
Limits   the model states its `length`;  beside pattern=blocks(b), the first block of a decoder reads itself alone;
         as cross-attention and in place of tokens (pattern=none) with `cut`, which no decoder can use;
         in a decoder the column of block j begins with row j + 1, so that the last step makes S_{j+1,j} = 1: few
         iterations, or columns=false;  relative positions see a sorted block where it stands, not where it came from
Paper    Tay et al., Sparse Sinkhorn Attention, ICML 2020, arXiv:2002.11296; there a mask alone makes S causal;
         balancing with noise: Mena et al., Gumbel-Sinkhorn, ICLR 2018, arXiv:1802.08665
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from xcompose.api import (
    NEVER,
    Axis,
    Component,
    Context,
    Count,
    Everything,
    Memory,
    OwnSegment,
    PartError,
    Real,
    Slots,
    Spans,
    Stairs,
    TooLong,
    View,
    append,
    exact,
    fill_rows,
    hookimpl,
    in_blocks,
    island,
    option,
    options,
    pack,
    refuse_unused,
    take_rows,
)

NOTHING = -1e30
"""The logarithm of nothing, finite so that gradients stay so."""


@options
class SinkhornOptions:
    """Sinkhorn."""

    block: Count = option(main=True, at_least=1)
    """Tokens b in a block."""
    cut: Count | None = option(None, at_least=1)
    """How many sorted blocks, the first ones, every query reads; if not written, each block reads its own."""
    iterations: Count = option(5, at_least=1)
    """How often rows and columns are balanced."""
    temperature: Real = option(0.75, above=0)
    """What scores are divided by, tau."""
    noise: Real = option(1.0, at_least=0)
    """What the Gumbel noise is multiplied by that is added to the scores while training."""
    columns: bool = option(True)
    """Whether columns are balanced, too; else each row is a softmax over blocks."""
    per_head: bool = option(False)
    """Whether every key/value head sorts by a network of its own."""


class Sorter(nn.Module):
    """Scores of blocks from the sum of their rows: two layers, each with a relu."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.hidden, self.scores = nn.Linear(width, width), nn.Linear(width, blocks)

    def forward(self, sums: Tensor) -> Tensor:
        """(b i c) to (b i j)."""
        return self.scores(self.hidden(sums).relu()).relu()


class Sorted(Memory):
    """What both forms have in common: the networks, and how blocks are mixed."""

    looks = True

    def __init__(self, options: SinkhornOptions, context: Context):
        super().__init__()
        assert context.kv_heads is not None, "a memory is built inside an attention"
        assert context.length is not None, "a model without a length was refused"
        self.block, self.columns = options.block, options.columns
        self.rounds = options.iterations if options.columns else 1
        self.temperature, self.noise = options.temperature, options.noise
        self.length, self.dim = context.length, context.dim
        self.blocks = -(-context.length // options.block)
        self.heads, self.kv_heads = context.heads or context.kv_heads, context.kv_heads
        networks = self.kv_heads if options.per_head else 1
        self.sorters = nn.ModuleList(Sorter(context.dim, self.blocks) for _ in range(networks))
        self.pattern = OwnSegment(options.block)

    def scores(self, sums: Tensor, columns: int, like: Tensor) -> Tensor:
        """(b s i j) in single precision at least, from sums (b i c), for the first `columns` blocks j."""
        found = torch.stack([sorter(sums.to(like.dtype))[..., :columns] for sorter in self.sorters], 1)
        found = found.to(sums.dtype)
        if self.noise and self.training:
            drawn = torch.rand_like(found).clamp(min=torch.finfo(found.dtype).tiny)
            found = found - self.noise * torch.log(-torch.log(drawn))
        return found / self.temperature

    def mixed(self, weights: Tensor, blocks: Tensor) -> Tensor:
        """Sorted blocks (b i t g d) from weights (b s i j) and blocks (b j t g d)."""
        weights = weights.to(blocks.dtype)
        if len(self.sorters) == 1:
            return einsum(weights[:, 0], blocks, "b i j, b j t g d -> b i t g d")
        return einsum(weights, blocks, "b g i j, b j t g d -> b i t g d")

    def fits(self, n: int) -> None:
        if n > self.length:
            raise TooLong(
                f"a sequence of {n} tokens is longer than the {self.length} of memory 'sinkhorn'", self.length
            )


class Sinkhorn(Sorted):
    """Blocks of a whole sequence."""

    def __init__(self, options: SinkhornOptions, context: Context):
        super().__init__(options, context)
        self.cut = options.cut
        if options.cut is not None:
            self.pattern = Everything()

    def spans(self, n: int) -> Spans:
        m = self._count(n) * self.block
        return Spans([0] * m, [n - 1] * m, range(m))

    def slots(self, k: Tensor, v: Tensor, axis: Axis, view: View) -> tuple[Slots, Mapping[str, Tensor]]:
        n = k.shape[1]
        self.fits(n)
        x, k, v = (t if axis.valid is None else fill_rows(t, axis.valid) for t in (view.x, k, v))
        there = self._there(n, axis.valid, k.device)
        sums = in_blocks(exact(x), self.block).sum(2)
        scores = self.scores(sums, sums.shape[1], x)
        weights = balanced(scores, self.rounds, self.columns, None if there is None else there.any(2))
        weights = weights[:, :, : self._count(n)]
        k, v = (self.mixed(weights, in_blocks(t, self.block)) for t in (k, v))
        weight = None
        if there is not None:
            with island(weights):
                share = einsum(weights, there.to(weights).expand(len(k), -1, -1), "b s i j, b j t -> b s i t")
            share = share / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
            parts = rearrange(torch.where(share > 0, share, 1.0), "b s i t -> b i t s 1")
            k, v = (t / parts.to(t) for t in (k, v))
            weight = self._log(share).to(k)
        k, v = k.flatten(1, 2), v.flatten(1, 2)
        return Slots(k, v, range(k.shape[1]), log_weight=weight), {}

    def _count(self, n: int) -> int:
        """How many sorted blocks are read."""
        blocks = -(-n // self.block)
        return blocks if self.cut is None else min(self.cut, blocks)

    def _there(self, n: int, valid: Tensor | None, device: torch.device) -> Tensor | None:
        """(b|1 j t) bool: which tokens of the blocks there are; None: all."""
        if valid is None and n % self.block == 0:
            return None
        valid = torch.ones(1, n, dtype=torch.bool, device=device) if valid is None else valid
        return in_blocks(valid, self.block)

    def _log(self, share: Tensor) -> Tensor:
        """Log-weights (b m) or (b h m) of slots that are there by shares (b s i t)."""
        found = torch.where(share > 0, share, 1.0).log().masked_fill(share <= 0, -torch.inf).flatten(2)
        if len(self.sorters) == 1:
            return found[:, 0]
        return found.repeat_interleave(self.heads // self.kv_heads, 1)


class CausalSinkhorn(Sorted):
    """Blocks of what came before each block."""

    def spans(self, n: int) -> Spans:
        m, b = max(0, -(-n // self.block) - 1), self.block
        # The weights of block i look at its first token, but the first block that has another before it has no choice.
        ends = [i * b - (i == 1) for i in range(1, m + 1) for _ in range(b)]
        return Spans([0] * m * b, ends, range(b, b + m * b))

    def slots(self, k: Tensor, v: Tensor, axis: Axis, view: View) -> tuple[Slots, Mapping[str, Tensor]]:
        b, n = self.block, k.shape[1]
        self.fits(n)
        m = max(0, -(-n // b) - 1)
        if not m:
            return self._slots(k[:, :0], v[:, :0], 0), {}
        before, first = in_blocks(exact(view.x[:, : m * b]), b).sum(2).cumsum(1), exact(view.x[:, b::b])
        number = torch.arange(1, m + 1, device=k.device)
        weights, _ = self._weights(before + first, number, m, None, view.x)
        k, v = (self.mixed(weights, in_blocks(t[:, : m * b], b)).flatten(1, 2) for t in (k, v))
        return self._slots(k, v, m), {}

    def start(self, batch: int, k: Tensor, v: Tensor) -> Any:
        places = torch.zeros(batch, 0, dtype=torch.long, device=k.device)
        shapes = {name: t.shape[2:] for name, t in (("k", k), ("v", v))}
        sums = exact(k.new_zeros(batch, self.dim))
        state = {
            "k": k, "v": v, "at": places, "sums": sums,
            "sorted": {
                **{name: k.new_zeros(batch, self.block, *shape) for name, shape in shapes.items()},
                "at": torch.full((batch, self.block), NEVER, device=k.device),
            },
        }  # fmt: skip
        if self.columns:
            state["columns"] = sums.new_full((batch, self.rounds, len(self.sorters), self.blocks), NOTHING)
        return state

    def extend(
        self, state: Any, k: Tensor, v: Tensor, axis: Axis, view: View
    ) -> tuple[Slots, Any, Mapping[str, Tensor]]:
        """Whenever a block begins, the blocks before it are sorted for it."""
        anew = state["at"].shape[1] == 0 and isinstance(axis.at, range)
        at = axis.positions(k.device).expand(k.shape[:2])
        x, begins = exact(view.x), (at % self.block == 0) & (at > 0)
        if axis.valid is not None:
            x, begins = fill_rows(x, axis.valid), begins & axis.valid
        tokens = append({name: state[name] for name in ("k", "v", "at")}, {"k": k, "v": v}, axis)
        tokens = pack(tokens["at"] < NEVER, tokens, {"at": NEVER})
        self.fits(tokens["at"].shape[1])
        sums = state["sums"][:, None] + x.cumsum(1)
        opened = pack(begins, {"sums": sums, "number": at // self.block}, {})
        after = {**state, **tokens, "sums": sums[:, -1] if sums.shape[1] else state["sums"]}
        fresh = {name: t[:, :0] for name, t in state["sorted"].items()}
        if opened["number"].shape[1]:
            fresh, columns = self._opened(opened, tokens, state.get("columns"), view.x)
            after |= {"sorted": self._current(state["sorted"], fresh)} | ({"columns": columns} if self.columns else {})
        if anew:
            return self._slots(fresh["k"], fresh["v"], opened["number"].shape[1]), after, {}
        found = {name: torch.cat([t, fresh[name].to(t.dtype)], 1) for name, t in state["sorted"].items()}
        ends = found["at"] // self.block * self.block
        return Slots(found["k"], found["v"], found["at"], start=0, end=ends), after, {}

    def state_shape(self, n: int, groups: int, width: int, value_width: int) -> Mapping[str, tuple[int, ...]]:
        k, v = (groups, width), (groups, value_width)
        shapes = {"k": (n, *k), "v": (n, *v), "at": (n,), "sums": (self.dim,)}
        shapes |= {"sorted.k": (self.block, *k), "sorted.v": (self.block, *v), "sorted.at": (self.block,)}
        return shapes | ({"columns": (self.rounds, len(self.sorters), self.blocks)} if self.columns else {})

    def _slots(self, k: Tensor, v: Tensor, m: int) -> Slots:
        """The sorted blocks of block 1 to m; they may be read from its first token on."""
        b = self.block
        return Slots(k, v, range(b, b + m * b), start=0, end=Stairs(b, b, b, m * b))

    def _weights(
        self, sums: Tensor, number: Tensor, blocks: int, columns: Tensor | None, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What blocks with these numbers, (i) or (b i), have of each of the first `blocks`: (b s i j).

        Args:
            sums: (b i c) of all rows up to the first of a block.
            columns: (b rounds s j) log-sum-exps of columns over earlier rows; also given back, later.
        """
        scores = self.scores(sums, blocks, like)
        opens = torch.arange(blocks, device=sums.device) < number[..., None]
        opens = opens if opens.ndim == 2 else opens[:, None]
        if columns is None:
            columns = scores.new_full((len(scores), self.rounds, scores.shape[1], blocks), NOTHING)
        return balanced_so_far(scores, columns, self.columns, opens)

    def _opened(
        self, opened: Mapping[str, Tensor], tokens: Mapping[str, Tensor], columns: Tensor | None, like: Tensor
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """The sorted blocks of blocks that begin now, and the columns after them."""
        number, b = opened["number"], self.block
        blocks = tokens["at"].shape[1] // b
        now = None if columns is None else columns[..., :blocks]
        weights, now = self._weights(opened["sums"], number, blocks, now, like)
        fresh = {name: self.mixed(weights, in_blocks(tokens[name][:, : blocks * b], b)).flatten(1, 2) for name in "kv"}
        at = number[..., None] * b + torch.arange(b, device=number.device)
        fresh["at"] = at.masked_fill(number[..., None] == 0, NEVER).flatten(1)
        return fresh, None if columns is None else torch.cat([now, columns[..., blocks:]], -1)

    def _current(self, before: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sorted block of the last block that has begun in each sequence."""
        b = self.block
        count = (fresh["at"][:, ::b] < NEVER).sum(1, keepdim=True)
        places = count * b + torch.arange(b, device=count.device)
        return {name: take_rows(torch.cat([t, fresh[name].to(t.dtype)], 1), places) for name, t in before.items()}


def balanced(scores: Tensor, rounds: int, columns: bool, there: Tensor | None) -> Tensor:
    """Nearly doubly stochastic weights (b s i j) from scores.

    Args:
        there: (b|1 j) bool: which blocks there are; rows and columns of others are 0. None: all.
    """
    none = None if there is None else ~(there[:, None, :, None] & there[:, None, None])
    for _ in range(rounds):
        scores = masked(scores, none)
        scores = scores - scores.logsumexp(-1, keepdim=True)
        if columns:
            scores = masked(scores, none)
            scores = scores - scores.logsumexp(-2, keepdim=True)
    return masked(scores, none).exp()


def balanced_so_far(scores: Tensor, columns: Tensor, balance: bool, opens: Tensor) -> tuple[Tensor, Tensor]:
    """As `balanced`, with columns that end with each row, so that no row depends on later ones.

    Args:
        scores: (b s i j)
        columns: (b rounds s j) log-sum-exps of the columns over rows before these, in each round.
        balance: whether columns are balanced, too.
        opens: broadcastable to (b s i j) bool: which blocks a row may have.

    Returns:
        The weights, and `columns` after these rows.
    """
    none, after = ~opens, []
    for before in columns.unbind(1):
        scores = masked(scores, none)
        scores = scores - scores.logsumexp(-1, keepdim=True)
        if balance:
            so_far = torch.cat([before[:, :, None], masked(scores, none)], 2).logcumsumexp(2)
            scores = scores - so_far[:, :, 1:]
            after.append(so_far[:, :, -1])
    return masked(scores, none).exp(), torch.stack(after, 1) if balance else columns


def masked(scores: Tensor, none: Tensor | None) -> Tensor:
    return scores if none is None else scores.masked_fill(none, NOTHING)


def build(options: SinkhornOptions, context: Context) -> Memory:
    """The form that the model needs, after what cannot be was refused."""
    cross = context.role == "cross"
    if not options.columns:
        refuse_unused(
            options, ("iterations",), "memory 'sinkhorn'", "rows alone are balanced after one step", "columns=true"
        )
    if context.length is None:
        raise PartError(
            f"memory 'sinkhorn' needs the length of the {'source' if cross else 'model'}",
            label="its network gives one score for each block",
            fixes=("encoder.length: 1Ki" if cross else "model.length: 1Ki",),
        )  # fmt: skip
    if cross and options.cut is None:
        raise PartError(
            "cross-attention cannot use memory 'sinkhorn' without 'cut'",
            label="the source has blocks of its own, and none of them stands beside a block of queries",
            fixes=("cut=2, the first sorted blocks for every query",),
        )  # fmt: skip
    if context.causal == "none":
        if options.cut is None and context.prefix % options.block:
            raise PartError(
                f"the {context.prefix} rows before the tokens fill no blocks of {options.block}", option="block",
                fixes=("a block that divides them",),
            )  # fmt: skip
        return Sinkhorn(options, context)
    if options.cut is not None:
        raise PartError(
            "a decoder cannot use memory 'sinkhorn' with 'cut'", option="cut",
            label="the sorted blocks that every query reads are mixtures of the whole sequence",
            fixes=("leave cut out: each block then has a sorted block of what came before", "use it in an encoder"),
        )  # fmt: skip
    return CausalSinkhorn(options, context)


@hookimpl
def components():
    return [
        Component(
            kind="memory", name="sinkhorn", options=SinkhornOptions, build=build, also=("sortcut", "sorted"),
            facts={"needs": ("length",)},
        )
    ]  # fmt: skip
