"""The work that is counted on the meta device is the work that is done, so that costs and growths can be believed."""

from __future__ import annotations

import copy
from typing import Any

import torch

from xcompose.cost.count import Flops, counts
from xcompose.diagnostics import Diagnostic
from xcompose.verify.subject import Subject

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
    finding = subject.finding(
        CODE, "the model does other work than is counted", None,
        f"{flops.total:,} FLOPs in a real pass of {subject.n} tokens, {counted:,} counted on the meta device",
        hint="a part that asks where its tensors are, or work that no operator shows", stage="numerics",
    )  # fmt: skip
    return [finding]
