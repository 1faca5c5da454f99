"""Every trainable parameter gets a gradient: one that never does is dead weight, or was cut off by mistake."""

from __future__ import annotations

from collections import defaultdict

import attrs
import torch
from torch import Tensor, nn

from xcompose.diagnostics import Diagnostic
from xcompose.verify.rows import last_axis
from xcompose.verify.subject import Part, Place, Subject, parts_of

CODE = "XC075"


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about parameters without a gradient, one for each part of the spec.

    Weights are random, so a gradient that is zero throughout means that nothing depends on the parameter. A parameter
    whose gradient cancels but for rounding (the bias of a key below a softmax) counts as alive.
    """
    dead = dead_parameters(subject, seed)
    parts = list(parts_of(subject.model(), subject))
    by_place: dict[str, list[str]] = defaultdict(list)
    places: dict[str, Place | None] = {}
    for name in dead:
        part = _part(parts, name)
        key = part.place.path or part.at if part else ""
        places.setdefault(key, part.place if part else None)
        inner = name.removeprefix(f"{part.at}.") if part else name
        if inner not in by_place[key]:
            by_place[key].append(inner)
    return [_finding(subject, places[key], names) for key, names in by_place.items()]


def dead_parameters(subject: Subject, seed: int = 0) -> list[str]:
    """Names of the trainable parameters on which neither an output nor a loss depends while the model trains."""
    model = subject.learning()
    if not any(p.requires_grad for p in model.parameters()):
        return []
    out = subject.call(model, subject.tokens(2, seed))
    loss = (last_axis(out.logits) * _directions(out.logits, seed)).sum() + sum(out.losses.values())
    if out.prefix is not None:
        loss = loss + (out.prefix * _directions(out.prefix, seed)).sum()
    loss.backward()
    return [n for n, p in model.named_parameters() if p.requires_grad and not _alive(p)]


def _directions(logits: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(last_axis(logits).shape, generator=generator, dtype=logits.dtype)


def _alive(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool((parameter.grad != 0).any())


def _part(parts: list[Part], name: str) -> Part | None:
    found = [part for part in parts if name.startswith(f"{part.at}.")]
    return max(found, key=lambda part: len(part.at), default=None)


def _finding(subject: Subject, place: Place | None, names: list[str]) -> Diagnostic:
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    title = place.title if place else "the model"
    found = subject.finding(
        CODE, f"{title} has parameters that nothing depends on", place, f"no gradient reaches {shown}",
        measured=f"{subject.n} positions, random weights, every output asked",
        hint="a part that is built but not used, or a gradient that is stopped on the way", stage="numerics",
    )  # fmt: skip
    return attrs.evolve(found, fixes=("leave that part out, or give it something to choose from: more positions",))
