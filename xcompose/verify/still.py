"""What a memory declares still lets no gradient through: rows that were read in an earlier segment are not trained
again, and the graph of a text does not grow without end."""

from __future__ import annotations

import torch
from torch import Tensor

from xcompose.compose.parts import Memory, Mixer
from xcompose.diagnostics import Diagnostic
from xcompose.verify.spans import given_to
from xcompose.verify.subject import Part, Place, Subject, memory_place, outermost

CODE = "XC063"


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about memories that say they are still (`Memory.still`), and whose slots or state have a gradient."""
    found = []
    for part in outermost(subject.parts()):
        if isinstance(part.module, Mixer) and not part.cross:
            memories = [m for m in part.module.modules() if isinstance(m, Memory)]
            found += [f for k, m in enumerate(memories) if m.still and (f := _memory(subject, part, k, m, seed))]
    return found


def _memory(subject: Subject, part: Part, number: int, memory: Memory, seed: int) -> Diagnostic | None:
    caught = given_to(subject, part, memory, seed)
    if caught is None:
        return None
    k, v, axis, more = caught
    k, v = k.clone().requires_grad_(), v.clone().requires_grad_()
    looking = {name: view.of(k) if view.x.shape == k.shape else view for name, view in more.items()}
    place = memory_place(part.place, number)
    slots, _ = memory.slots(k, v, axis, **looking)
    if _follows([slots.k, slots.v], [k, v]):
        return _finding(subject, place, "slots")
    return None


def _follows(outputs: list[Tensor], inputs: list[Tensor]) -> bool:
    """Whether a gradient flows from some output to some input."""
    asked = [t for t in outputs if t.requires_grad]
    if not asked:
        return False
    found = torch.autograd.grad([t.sum() for t in asked], inputs, allow_unused=True)
    return any(g is not None and bool((g != 0).any()) for g in found)


def _finding(subject: Subject, place: Place, what: str) -> Diagnostic:
    return subject.finding(
        CODE, f"a gradient flows through the memory '{place.name}', which says it is still", place,
        f"its {what} have a gradient with respect to the rows that they were made of",
        hint=f"in the plugin '{place.name}', detach the rows before they are kept",
    )  # fmt: skip
