"""Every slot of a memory uses rows inside its span only: causality and decoding rest on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xcompose.attention.reads import Axis
from xcompose.compose.parts import Memory, Mixer
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
    caught = _inputs(subject, part, memory, seed)
    if caught is None:
        return None
    k, v, axis = caught
    spans = memory.spans(axis.n)
    start, end = (np.asarray(side, dtype=np.int64) for side in (spans.start, spans.end))
    generator = torch.Generator().manual_seed(seed + 1)
    # k and v stand side by side as one row, so that replacing a row replaces both.
    x = torch.cat([k[:1].flatten(2), v[:1].flatten(2)], -1)
    other = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)

    def run(both: Tensor) -> Tensor:
        k_flat, v_flat = both.split([k[0, 0].numel(), v[0, 0].numel()], -1)
        slots, _ = memory.slots(k_flat.unflatten(-1, k.shape[2:]), v_flat.unflatten(-1, v.shape[2:]), axis)
        return torch.cat([slots.k.flatten(2), slots.v.flatten(2)], -1)

    with torch.no_grad():
        if run(x).shape[1] == 0:
            return None
        change = moved(run, x, other).numpy()
    places = np.arange(axis.n)
    inside = (places >= start[:, None]) & (places <= end[:, None])
    outside = (change[: len(inside)] > FOREIGN) & ~inside[: len(change)]
    return _finding(subject, memory_place(part.place, number), change, outside, start, end) if outside.any() else None


def _inputs(subject: Subject, part: Part, memory: Memory, seed: int) -> tuple[Tensor, Tensor, Axis] | None:
    """What the mixer gives its memory for a whole sequence; None where it gives nothing."""
    caught: list[tuple[Tensor, Tensor, Axis]] = []
    original = memory.slots

    def record(k: Tensor, v: Tensor, axis: Axis) -> Any:
        caught.append((k.detach(), v.detach(), axis))
        return original(k, v, axis)

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
