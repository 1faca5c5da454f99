"""The model compiles as one graph and exports, and both give what it gives. A stage of its own: it takes its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xcompose.diagnostics import Diagnostic
from xcompose.verify.measure import distance
from xcompose.verify.subject import Subject

CODE = "XC079"
Run = Callable[[Any, Tensor, dict[str, Tensor]], Tensor]
TOLERANCE = 1e-4


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings where `torch.compile(fullgraph=True)` or `torch.export` fails, or gives something else."""
    found = [_tried(subject, seed, "torch.compile(fullgraph=True)", _compiled)]
    return [f for f in (*found, _tried(subject, seed, "torch.export", _exported)) if f]


def _compiled(model: Any, tokens: Tensor, more: dict[str, Tensor]) -> Tensor:
    torch._dynamo.reset()
    # The back end of the compiler proper takes minutes and a C++ compiler; the graph is what the model must allow.
    return torch.compile(model, fullgraph=True, backend="aot_eager")(tokens, **more).logits


def _exported(model: Any, tokens: Tensor, more: dict[str, Tensor]) -> Tensor:
    return torch.export.export(model, (tokens,), more).module()(tokens, **more).logits


def _tried(
    subject: Subject, seed: int, name: str, run: Callable[[Any, Tensor, dict[str, Tensor]], Tensor]
) -> Diagnostic | None:
    model, tokens = subject.model(torch.float32), subject.tokens(2, seed)
    more = {"source": subject.other(2)} if subject.source else {}
    with torch.no_grad():
        plain = subject.call(model, tokens).logits
        try:
            other = run(model, tokens, more)
        except Exception as error:  # whatever a compiler raises is its verdict on the model
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            return subject.finding(
                CODE, f"{name} refuses the model", None, reason,
                hint="a part asks data or uses plain Python objects in `forward`", stage="compile",
            )  # fmt: skip
    change = distance(other, plain)
    if change <= TOLERANCE:
        return None
    return subject.finding(
        CODE, f"{name} gives something else", None, f"outputs differ by {change:.2g}", stage="compile"
    )
