"""What influences what, measured by replacing rows and by gradients.

Everything here takes a function of rows, (b n ...) to (b n e), that treats the sequences of a batch alike. Many
replaced sequences make a batch, so one call answers for many positions. Figures are relative to the largest output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

Rows = Callable[[Tensor], Tensor]

BATCH_ELEMENTS = 2**21
"""Elements of one batch of replaced sequences; more positions than fit are measured in several batches."""


def moved(f: Rows, x: Tensor, other: Tensor, *, future: bool = False) -> Tensor:
    """How far each output moves when a row is replaced.

    Args:
        f: the function under test.
        x: (1 n ...) rows or tokens.
        other: as x, different at every position: what a replaced row becomes.
        future: replace all rows from j on, instead of row j alone.

    Returns:
        (n_out n): entry [i, j] is the largest change of output i when row j (and later) is replaced. Infinite where an
        output is not a number.
    """
    positions = torch.arange(x.shape[1], device=x.device)
    base = f(x)
    scale = base.detach().abs().max().clamp_min(torch.finfo(base.dtype).tiny)
    columns = []
    for chosen in _batches(positions, width=x[0].numel()):
        replaced = chosen[:, None] <= positions if future else chosen[:, None] == positions
        replaced = replaced.reshape(*replaced.shape, *[1] * (x.dim() - 2))
        out = f(torch.where(replaced, other, x).contiguous())
        columns.append(_distance(out, base) / scale)
    return torch.nan_to_num(torch.cat(columns).T, nan=torch.inf)


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference of two results, relative to the larger of them; infinite if one is not a number."""
    if a.numel() == 0:
        return 0.0
    scale = torch.maximum(a.detach().abs().max(), b.detach().abs().max()).clamp_min(torch.finfo(a.dtype).tiny)
    return float(torch.nan_to_num((a - b).detach().abs().max() / scale, nan=torch.inf))


def gradients(f: Rows, x: Tensor, rows: Sequence[int], weights: Tensor) -> Tensor:
    """The gradient of each of some outputs with respect to each row.

    Args:
        f: the function under test.
        x: (1 n c) rows.
        rows: the outputs to ask for.
        weights: (e), the direction in which an output is read.

    Returns:
        (len(rows) n): entry [k, j] is the largest gradient of output rows[k] with respect to row j.
    """
    found = []
    for chosen in _batches(torch.as_tensor(rows, device=x.device), width=x[0].numel()):
        leaf = x.detach().expand(len(chosen), *x.shape[1:]).clone().requires_grad_()
        out = f(leaf)
        picked = out[torch.arange(len(chosen), device=x.device), chosen]
        (gradient,) = torch.autograd.grad((picked @ weights.to(picked)).sum(), leaf, allow_unused=True)
        gradient = torch.zeros_like(leaf) if gradient is None else gradient
        found.append(gradient.abs().amax(-1))
    every = torch.nan_to_num(torch.cat(found), nan=torch.inf)
    return every / every.max().clamp_min(torch.finfo(every.dtype).tiny)


def spread(n: int, most: int) -> list[int]:
    """At most `most` of n positions, evenly spread, the first and the last among them."""
    if n <= most:
        return list(range(n))
    return sorted({round(i * (n - 1) / (most - 1)) for i in range(most)})


def _distance(out: Tensor, base: Tensor) -> Tensor:
    return (out - base).detach().abs().flatten(2).amax(-1)


def _batches(positions: Tensor, *, width: int) -> Iterator[Tensor]:
    yield from positions.split(max(1, BATCH_ELEMENTS // max(1, width)))
