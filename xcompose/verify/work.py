"""The work that is counted on the meta device is the work that is done, so that costs and growths can be believed."""

from __future__ import annotations

import copy
from typing import Any

import attrs
import torch

from xcompose.compose.parts import Embedding
from xcompose.cost.count import Flops, counts
from xcompose.cost.stand_in import counted_tiles
from xcompose.diagnostics import Diagnostic
from xcompose.verify.subject import Part, Subject, alone, blame, rows

CODE = "XC078"
LEAST, MOST = 0.99, 1.25
"""Counted work may be this part of the real one: without data, a part may have to assume the most it could do."""


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """A finding where a real pass in float32 does other work than was counted without one."""
    model: Any = subject.model(torch.float32)
    flops = Flops()
    with torch.no_grad(), flops:
        subject.call(model, subject.tokens(1, seed))
    planned = copy.deepcopy(model).to("meta")
    counted = counts(planned, subject.n, source=subject.source or None, inputs=subject.inputs).forward
    if LEAST * flops.total <= counted <= MOST * flops.total:
        return []
    guilty = blame(subject.parts(torch.float32), lambda part: _part(subject, part, seed))
    if guilty:
        return guilty
    finding = subject.finding(
        CODE, "the model does other work than is counted", None,
        f"{flops.total:,} FLOPs in a real pass of {subject.n} tokens, {counted:,} counted on the meta device",
        hint="a part that asks where its tensors are, or work that no operator shows", stage="numerics",
    )  # fmt: skip
    return [finding]


def _part(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    """A finding about a part that does other work with data than without, looked for where the model does."""
    if isinstance(part.module, Embedding):
        return None
    x, real = rows(part, subject.n, seed, torch.float32), Flops()
    with torch.no_grad(), real:
        alone(part, subject.n, subject.elsewhere)(x)
    planned = attrs.evolve(part, module=copy.deepcopy(part.module).to("meta"))
    counter = Flops()
    with torch.no_grad(), counter, counted_tiles(counter.spend, lambda: counter.total), torch.device("meta"):
        alone(planned, subject.n, subject.elsewhere)(x.to("meta"))
    if LEAST * real.total <= counter.total <= MOST * real.total:
        return None
    return subject.finding(
        CODE, f"{part.place.title} does other work than is counted", part.place,
        f"{real.total:,} FLOPs in a real pass of {subject.n} rows, {counter.total:,} counted on the meta device",
        hint=f"in the plugin '{part.place.name}', look for a question where tensors are, or for work that no operator "
        "shows",
        stage="numerics",
    )  # fmt: skip
