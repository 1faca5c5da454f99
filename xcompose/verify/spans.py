"""Every slot of a memory uses rows inside its span only: causality and decoding rest on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xcompose.attention.reads import Axis
from xcompose.compose.parts import Memory, Mixer, View
from xcompose.diagnostics import Diagnostic
from xcompose.verify.measure import moved
from xcompose.verify.subject import Part, Place, Subject, alone, memory_place, outermost, rows

CODE = "XC071"
FOREIGN = 1e-10


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about memories with a slot that moves when a row outside its span is replaced."""
    found = []
    for part in outermost(subject.parts()):
        if isinstance(part.module, Mixer) and not part.cross:
            memories = [m for m in part.module.modules() if isinstance(m, Memory)]
            found += [f for k, m in enumerate(memories) if (f := _memory(subject, part, k, m, seed))]
    return found


def _memory(subject: Subject, part: Part, number: int, memory: Memory, seed: int) -> Diagnostic | None:
    caught = given_to(subject, part, memory, seed)
    if caught is None:
        return None
    k, v, axis, more = caught
    spans = memory.spans(axis.n)
    start, end = (np.asarray(side, dtype=np.int64) for side in (spans.start, spans.end))
    generator = torch.Generator().manual_seed(seed + 1)
    # All that it is given of a row stands side by side, so that replacing the row replaces all of it.
    parts = [k, v, *(view.x for view in more.values())]
    x = torch.cat([part[:1].flatten(2) for part in parts], -1)
    other = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)

    def run(whole: Tensor) -> Tensor:
        flat = whole.split([part[0, 0].numel() for part in parts], -1)
        k_new, v_new, *rows_new = (one.unflatten(-1, part.shape[2:]) for one, part in zip(flat, parts, strict=True))
        looking = {name: view.of(one) for (name, view), one in zip(more.items(), rows_new, strict=True)}
        slots, _ = memory.slots(k_new, v_new, axis, **looking)
        return torch.cat([slots.k.flatten(2), slots.v.flatten(2)], -1)

    with torch.no_grad():
        if run(x).shape[1] == 0:
            return None
        change = moved(run, x, other).numpy()
    places = np.arange(axis.n)
    inside = (places >= start[:, None]) & (places <= end[:, None])
    outside = (change[: len(inside)] > FOREIGN) & ~inside[: len(change)]
    return _finding(subject, memory_place(part.place, number), change, outside, start, end) if outside.any() else None


def given_to(
    subject: Subject, part: Part, memory: Memory, seed: int
) -> tuple[Tensor, Tensor, Axis, Mapping[str, View]] | None:
    """What the mixer gives its memory for a whole sequence; None where it gives nothing."""
    caught: list[tuple[Tensor, Tensor, Axis, Mapping[str, View]]] = []
    original = memory.slots

    def record(k: Tensor, v: Tensor, axis: Axis, **more: View) -> Any:
        caught.append((k.detach(), v.detach(), axis, more))
        return original(k, v, axis, **more)

    memory.slots = record  # type: ignore[method-assign]
    try:
        with torch.no_grad():
            alone(part, subject.n, subject.elsewhere)(rows(part, subject.n, seed, torch.float64))
    finally:
        del memory.slots
    return caught[0] if caught else None


def _finding(
    subject: Subject, place: Place, change: np.ndarray, outside: np.ndarray, start: np.ndarray, end: np.ndarray
) -> Diagnostic:  # fmt: skip
    slot, row = (int(i) for i in np.argwhere(outside)[0])
    beyond = [int(r - end[s]) for s, r in np.argwhere(outside) if r > end[s]]
    far = f"every one reads {beyond[0]} too far" if len(beyond) == int(outside.sum()) and len(set(beyond)) == 1 else ""
    count = len(set(np.argwhere(outside)[:, 0].tolist()))
    return subject.finding(
        CODE, "a slot uses a row outside its span", place,
        f"slot {slot} says positions {start[slot]}..{end[slot]}, but moved by {change[slot, row]:.2g} "
        f"when row {row} was replaced",
        measured=f"{count} of {len(outside)} slots leave their span" + (f"; {far}" if far else ""),
        hint="a pooling window wider than its stride" if far else "a summary of more than it says",
    )  # fmt: skip
