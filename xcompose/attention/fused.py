"""Many tiles as one differentiable operation: every tile goes through the fused CPU kernel, and partial results merge.

Maths    tile t of a query: o_t = softmax(s_t) v, l_t = logsumexp(s_t)
         l = logsumexp_t(l_t), o = sum_t exp(l_t - l) o_t
         backwards, each tile sees the merged o and l: p_t = exp(s_t - l), ds_t = p_t (do v - <do, o>)

The kernel's log-sum-exp carries no gradient, so the merge cannot be left to autograd. Here it is part of one operation,
which the compiler and the exporter take as it is. The plans travel inside it as text: a short handle in plain runs, the
whole plan in graphs that may outlive this process.

Rows here are queries of one key/value group, all `h / g` heads of a query side by side: (b g n*h/g d).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry, register_flop_formula

from xcompose.attention.island import casting, exact_type
from xcompose.attention.tiles import EVERY, TRIANGLE, Layout, Places, Plan, Tile, read_plan

BIG = 2**18
"""Pairs of a full tile from which its backward goes through the fused kernel: the scores would take memory."""

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default
_handles: dict[Layout, str] = {}
_layouts: dict[str, Layout] = {}


def handle(layout: Layout) -> str:
    """A short name of a layout, good in this process."""
    if layout not in _handles:
        name = f"#{len(_handles)}"
        _handles[layout], _layouts[name] = name, layout
    return _handles[layout]


def plans_of(text: str) -> list[Plan]:
    """The plans that an operation carries, one for each read."""
    return [_layouts[name].plan() if name.startswith("#") else read_plan(name) for name in text.split("\n")]


def pairs_of(text: str) -> list[int]:
    """How many pairs each read computes; no plan is made for it."""
    return [_layouts[name].pairs() if name.startswith("#") else read_plan(name).pairs() for name in text.split("\n")]


@torch.library.custom_op("xcompose::attend_tiles", mutates_args=())
def attend_tiles(
    q: list[Tensor], k: list[Tensor], v: list[Tensor], weights: list[Tensor], plans: str, scales: list[float]
) -> tuple[Tensor, Tensor]:
    """One softmax over all reads.

    Args:
        q: of each read (b n h d).
        k, v: of each read (b m g d); one g for all.
        weights: log-weights of each read's slots, (b m) or (b h m), empty where there are none. Not differentiated.
        plans: of each read, one a line.

    Returns:
        (b n h d), and the log-sum-exp of each row.
    """
    b, n, h, d = q[0].shape
    groups = k[0].shape[2]
    repeat, exact = h // groups, exact_type(q[0].dtype)
    out = _rows(torch.zeros(b, n, h, d, dtype=exact), groups)
    total = torch.full(out.shape[:3], -torch.inf, dtype=exact)
    for read, plan in enumerate(plans_of(plans)):
        asked = _Asked(_rows(q[read], groups), k[read], v[read], weights[read], scales[read], repeat)
        for tile in plan.tiles:
            rows = select(tile.rows, repeat)
            part, weight = asked.part(tile, plan)
            if tile.fresh and read == 0:
                out[:, :, rows] = part.to(exact)
                total[:, :, rows] = weight.to(exact)
            else:
                _merge(out, total, rows, part, weight)
    return _unrows(out, repeat).to(q[0].dtype), total


@attend_tiles.register_fake
def _(q, k, v, weights, plans, scales):
    b, n, h, _ = q[0].shape
    groups = k[0].shape[2]
    return q[0].new_empty(q[0].shape), q[0].new_empty(b, groups, n * (h // groups), dtype=exact_type(q[0].dtype))


@torch.library.custom_op("xcompose::attend_tiles_backward", mutates_args=())
def attend_tiles_backward(
    grad: Tensor, q: list[Tensor], k: list[Tensor], v: list[Tensor], weights: list[Tensor], out: Tensor, total: Tensor,
    plans: str, scales: list[float],
) -> list[Tensor]:  # fmt: skip
    """The gradients of every q, then every k, then every v."""
    groups = k[0].shape[2]
    repeat = q[0].shape[2] // groups
    answers = _Answers(grad, out, total, groups)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for read, plan in enumerate(plans_of(plans)):
        asked = _Asked(_rows(q[read], groups), k[read], v[read], weights[read], scales[read], repeat)
        sums = _Sums(asked, answers)
        for tile in plan.tiles:
            sums.add(tile, plan)
        found.append(sums.gradients(q[read].dtype))
    return [gradients[side] for side in range(3) for gradients in found]


@attend_tiles_backward.register_fake
def _(grad, q, k, v, weights, out, total, plans, scales):
    return [t.new_empty(t.shape) for t in (*q, *k, *v)]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, weights, ctx.plans, ctx.scales = inputs
    ctx.reads = len(q)
    ctx.save_for_backward(*q, *k, *v, *weights, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
    *inputs, out, total = ctx.saved_tensors
    r = ctx.reads
    q, k, v, weights = inputs[:r], inputs[r : 2 * r], inputs[2 * r : 3 * r], inputs[3 * r :]
    with casting(grad.device, None):  # casts reach into operators
        found = attend_tiles_backward(grad, q, k, v, weights, out, total, ctx.plans, ctx.scales)
    return found[:r], found[r : 2 * r], found[2 * r :], [None] * r, None, None


attend_tiles.register_autograd(_backward, setup_context=_setup)


def register_flops() -> None:
    """Teach torch's flop counter what attention costs, ours and torch's own: two products forward, five backward."""
    forward, backward = torch.ops.xcompose.attend_tiles, torch.ops.xcompose.attend_tiles_backward
    if forward in flop_registry:
        return
    register_flop_formula(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu)(_flash_flops)
    register_flop_formula(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward)(_flash_backward_flops)

    @register_flop_formula(forward)
    def _(q, k, v, weights, plans, scales, *args, **kwargs) -> int:
        return 4 * _multiplied(q, plans)

    @register_flop_formula(backward)
    def _(grad, q, k, v, weights, out, total, plans, scales, *args, **kwargs) -> int:
        return 10 * _multiplied(q, plans)


def _flash_flops(q, k, v, dropout=0.0, causal=False, *args, **kwargs) -> int:
    b, h, n, d = q
    m = k[2]
    pairs = n * m - min(n, m) * (min(n, m) - 1) // 2 - max(0, m - n) * n if causal else n * m
    return 4 * b * h * d * pairs


def _flash_backward_flops(grad, q, k, v, out, total, dropout=0.0, causal=False, *args, **kwargs) -> int:
    return _flash_flops(q, k, v, dropout, causal) * 5 // 2


def _multiplied(q: Sequence[torch.Size], plans: str) -> int:
    return sum(shape[0] * shape[2] * shape[3] * pairs for shape, pairs in zip(q, pairs_of(plans), strict=True))


class _Asked(NamedTuple):
    """One read, in rows."""

    q: Tensor
    k: Tensor
    v: Tensor
    weight: Tensor
    scale: float
    repeat: int

    def part(self, tile: Tile, plan: Plan) -> tuple[Tensor, Tensor]:
        """What one tile answers, (b g rows d), and its log-sum-exp (b g rows)."""
        cols = select(tile.cols)
        q, k, v = self.q[:, :, select(tile.rows, self.repeat)], self.k[:, cols], self.v[:, cols]
        q, k, v = _straight(q), _straight(k.transpose(1, 2)), _straight(v.transpose(1, 2))
        mask = self.mask(tile, plan, q.dtype)
        if tile.kind == TRIANGLE and self.repeat > 1:
            out, total = _flash(apart(q, self.repeat), k, v, 0.0, True, attn_mask=mask, scale=self.scale)
            return together(out, self.repeat), together(total[..., None], self.repeat)[..., 0]
        out, total = _flash(q, k, v, 0.0, tile.kind == TRIANGLE, attn_mask=mask, scale=self.scale)
        if mask is not None and (self.weight.numel() or plan.idle[tile.kind]):
            total = total.masked_fill(mask.amax(-1) == -torch.inf, -torch.inf)
        return out, total

    def mask(self, tile: Tile, plan: Plan, dtype: torch.dtype) -> Tensor | None:
        """What is added to a tile's logits, broadcastable to (b g rows columns)."""
        mask = None if tile.kind < 0 else plan.mask(tile.kind, dtype, self.repeat)[None, None]
        if not self.weight.numel():
            return mask
        weight = self.weight[..., select(tile.cols)].to(dtype)
        if weight.ndim == 2:
            weight = weight[:, None, None]
        else:
            weight = weight.unflatten(1, (-1, 1, self.repeat)).expand(-1, -1, len(tile.rows), -1, -1).flatten(2, 3)
        return weight if mask is None else mask + weight


class _Answers:
    """What the backward of every tile looks at: gradients, answers and log-sum-exps, (b*g rows ...), exactly."""

    def __init__(self, grad: Tensor, out: Tensor, total: Tensor, groups: int):
        exact = total.dtype
        self.grad, self.out = _rows(grad, groups), _rows(out, groups)
        self.total = total.masked_fill(total == -torch.inf, 0.0)
        self.flat_grad = _flat(self.grad, exact)
        self.flat_total = self.total.flatten(0, 1)[..., None]
        self.delta = (self.flat_grad * _flat(self.out, exact)).sum(-1, keepdim=True)


class _Sums:
    """The gradients of one read, added up tile by tile; scores never outlive their tile."""

    def __init__(self, asked: _Asked, answers: _Answers):
        self.asked, self.answers = asked, answers
        exact = answers.total.dtype
        self.q = _flat(asked.q, exact) * asked.scale
        self.k, self.v = (_flat(t.transpose(1, 2), exact) for t in (asked.k, asked.v))
        self.grads = tuple(torch.zeros_like(t) for t in (self.q, self.k, self.v))
        self.scratch: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def add(self, tile: Tile, plan: Plan) -> None:
        """Add what one tile contributes."""
        if tile.kind == TRIANGLE or (tile.kind == EVERY and len(tile.rows) * len(tile.cols) > BIG):
            return self._add_fused(tile)
        rows, cols = select(tile.rows, self.asked.repeat), select(tile.cols)
        q, k, v = self.q[:, rows], self.k[:, cols], self.v[:, cols]
        grad, answers = self.answers.flat_grad[:, rows], self.answers
        p, ds = self._scratch(q.shape[1], k.shape[1])
        mask = self.asked.mask(tile, plan, q.dtype)
        if mask is None:
            torch.bmm(q, k.transpose(1, 2), out=p)
        else:
            torch.baddbmm(self._spread(mask, p), q, k.transpose(1, 2), out=p)
        p.sub_(answers.flat_total[:, rows]).exp_()
        torch.baddbmm(answers.delta[:, rows], grad, v.transpose(1, 2), beta=-1, out=ds)
        ds.mul_(p)
        for target, where, left, right in zip(
            self.grads, (rows, cols, cols), (ds, ds.transpose(1, 2), p.transpose(1, 2)), (k, q, grad), strict=True
        ):
            if isinstance(where, slice):
                target[:, where].baddbmm_(left, right)
            else:
                target.index_add_(1, where, left @ right)

    def gradients(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """For q (b n h d), k and v (b m g d). The last call: the copies of the inputs are given up first."""
        groups = self.asked.k.shape[2]
        del self.q, self.k, self.v, self.scratch
        q, k, v = (t.unflatten(0, (-1, groups)) for t in self.grads)
        q = _unrows(q * self.asked.scale, self.asked.repeat)
        return q.to(dtype), _contiguous(k.transpose(1, 2), dtype), _contiguous(v.transpose(1, 2), dtype)

    def _add_fused(self, tile: Tile) -> None:
        """The kernel's own backward, told the merged answers and log-sum-exps."""
        asked, answers, repeat = self.asked, self.answers, self.asked.repeat
        rows, cols = select(tile.rows, repeat), select(tile.cols)
        sides = [t[:, :, rows] for t in (answers.grad, asked.q, answers.out, answers.total[..., None])]
        grad, q, out, total = (apart(t, repeat) for t in sides)
        k, v = (t[:, cols].transpose(1, 2) for t in (asked.k, asked.v))
        mask = self._apart_mask(tile, q)
        found = _flash_backward(
            _straight(grad), _straight(q), _straight(k), _straight(v), _straight(out), total[..., 0].contiguous(), 0.0,
            tile.kind == TRIANGLE, attn_mask=mask, scale=asked.scale,
        )  # fmt: skip
        exact = self.q.dtype
        dq = together(found[0], repeat).to(exact) / asked.scale
        for target, where, t in zip(self.grads, (rows, cols, cols), (dq, *found[1:]), strict=True):
            t = t.to(exact).flatten(0, 1)
            if isinstance(where, slice):
                target[:, where].add_(t)
            else:
                target.index_add_(1, where, t)

    def _apart_mask(self, tile: Tile, q: Tensor) -> Tensor | None:
        """The log-weights of a full tile, for all heads one by one."""
        weight = self.asked.weight
        if not weight.numel():
            return None
        weight = weight[..., select(tile.cols)].to(q.dtype)
        return weight[:, None, None] if weight.ndim == 2 else weight[:, :, None]

    def _scratch(self, rows: int, cols: int) -> tuple[Tensor, Tensor]:
        key = (rows, cols)
        if key not in self.scratch:
            if len(self.scratch) >= 8:
                self.scratch.clear()
            self.scratch[key] = (self.q.new_empty(len(self.q), *key), self.q.new_empty(len(self.q), *key))
        return self.scratch[key]

    def _spread(self, mask: Tensor, p: Tensor) -> Tensor:
        """A mask (b|1 g|1 rows|1 columns) as baddbmm wants it."""
        if mask.shape[:2] == (1, 1):
            return mask[0]
        groups = self.asked.k.shape[2]
        return mask.expand(-1, groups, p.shape[1], -1).flatten(0, 1)


@lru_cache(maxsize=4096)
def select(places: Places, repeat: int = 1) -> slice | Tensor:
    """How tensors with `repeat` rows for each place are indexed: by a slice where that does it."""
    if isinstance(places, range) and places.step == 1:
        return slice(places.start * repeat, places.stop * repeat)
    if isinstance(places, range) and repeat == 1:
        return slice(places.start, places.stop, places.step)
    first = torch.tensor(tuple(places)) * repeat
    return (first[:, None] + torch.arange(repeat)).flatten()


def apart(t: Tensor, repeat: int) -> Tensor:
    """Rows of groups (b g n*repeat d) as rows of heads (b g*repeat n d)."""
    return t if repeat == 1 else t.unflatten(2, (-1, repeat)).transpose(2, 3).flatten(1, 2)


def together(t: Tensor, repeat: int) -> Tensor:
    """Rows of heads (b h n d) as rows of groups (b h/repeat n*repeat d)."""
    return t if repeat == 1 else t.unflatten(1, (-1, repeat)).transpose(2, 3).flatten(2, 3)


def _merge(out: Tensor, total: Tensor, rows: slice | Tensor, part: Tensor, weight: Tensor) -> None:
    """Take one more partial result into the answers of its rows."""
    before = total[:, :, rows]
    after = torch.logaddexp(before, weight.to(total.dtype))
    base = after.masked_fill(after == -torch.inf, 0.0)
    kept, added = (torch.exp(t - base)[..., None] for t in (before, weight))
    merged = out[:, :, rows]
    merged.mul_(kept).addcmul_(part.to(out.dtype), added)
    if not isinstance(rows, slice):
        out[:, :, rows] = merged
    total[:, :, rows] = after


def _rows(t: Tensor, groups: int) -> Tensor:
    """(b n h d) to (b g n*h/g d); a view where h = g."""
    if t.shape[2] == groups:
        return t.transpose(1, 2)
    return t.unflatten(2, (groups, -1)).transpose(1, 2).flatten(2, 3)


def _unrows(t: Tensor, repeat: int) -> Tensor:
    """(b g n*repeat d) to (b n h d)."""
    if repeat == 1:
        return t.transpose(1, 2).contiguous()
    return t.unflatten(2, (-1, repeat)).transpose(1, 2).flatten(2, 3)


def _flat(t: Tensor, dtype: torch.dtype) -> Tensor:
    """(b g n d) to (b*g n d), one block of memory."""
    return t.to(dtype).contiguous().flatten(0, 1)


def _contiguous(t: Tensor, dtype: torch.dtype) -> Tensor:
    return t.to(dtype).contiguous()


def _straight(t: Tensor) -> Tensor:
    """The kernel wants neighbouring features side by side."""
    return t if t.stride(-1) == 1 else t.contiguous()
