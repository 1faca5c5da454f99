"""Layers join as their residual says: beside sub-layers that answer nothing the stream flows on, row by row, and what
a sub-layer answers enters it.

What mixers do to the stream hides a stream that is dropped, so sub-layers are replaced here by ones that do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xcompose.compose.parts import Branch
from xcompose.compose.stack import Block
from xcompose.diagnostics import Diagnostic
from xcompose.verify.alive import BROKEN, DEAD, FOREIGN
from xcompose.verify.measure import distance, moved
from xcompose.verify.subject import Place, Subject, place_of

CODE = "XC064"


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about residuals, one for each in the spec."""
    found = (_residual(subject, block, place, seed) for block, place in _blocks(subject))
    return [finding for finding in found if finding]


def _blocks(subject: Subject) -> Iterator[tuple[Block, Place]]:
    """Every layer that joins its sub-layers in a way of its own."""
    seen: list[Any] = []
    for path, module in subject.model().named_modules():
        if isinstance(module, Block):
            place = place_of(path, "residual", module.residual, subject.node)
            key = (place.key, module.roles)
            if key not in seen:
                seen.append(key)
                yield module, place


def _residual(subject: Subject, block: Block, place: Place, seed: int) -> Diagnostic | None:
    n = min(subject.n, 33)
    x, other = (_rows(subject, n, seed + more) for more in (0, 1))
    silent = [Branch(lambda rows: (torch.zeros_like(rows), None)) for _ in block.roles]
    with torch.no_grad():
        change = moved(partial(_through, block, silent), x, other).numpy()
        mixed = (change > FOREIGN) & ~np.eye(n, dtype=bool)
        if mixed.any():
            i, j = (int(index) for index in np.argwhere(mixed)[0])
            return _finding(
                subject, place, BROKEN, "mixes rows, which only a mixer may do",
                f"with sub-layers that answer nothing, row {i} moved by {change[i, j]:.2g} when row {j} was replaced",
            )  # fmt: skip
        if block.residual.keeps and (np.diag(change) <= DEAD).any():
            return _finding(
                subject, place, CODE, "does not let the stream flow on",
                "with sub-layers that answer nothing, a row behind the layer does not depend on that before it",
            )  # fmt: skip
        for number, role in enumerate(block.roles):
            answers = (_saying(t, number, len(block.roles)) for t in (x, other))
            first, second = (_through(block, branches, x) for branches in answers)
            if distance(first, second) <= DEAD:
                label = f"another answer of its sub-layer '{role}' changes nothing"
                return _finding(subject, place, CODE, f"drops what '{role}' answers", label)
    return None


def _through(block: Block, branches: Sequence[Branch], x: Tensor) -> Tensor:
    carry, _ = block.residual(block.residual.enter(x), branches)
    return block.residual.leave(carry)


def _saying(answer: Tensor, number: int, count: int) -> list[Branch]:
    """Sub-layers that answer nothing, but for one that answers always the same."""
    return [
        Branch(lambda rows, own=k == number: (answer.expand_as(rows) if own else torch.zeros_like(rows), None))  # type: ignore[misc]
        for k in range(count)
    ]


def _rows(subject: Subject, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, n, subject.dim, generator=generator, dtype=torch.float64)


def _finding(subject: Subject, place: Place, code: str, what: str, label: str) -> Diagnostic:
    return subject.finding(
        code, f"{place.title} {what}", place, label, hint=f"in the plugin '{place.name}', look at how the sum is made",
    )  # fmt: skip
