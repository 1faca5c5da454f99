"""Sequences know nothing of each other: not in a batch, not where two requests take turns, not where a state is
reordered, as a beam search does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from xcompose.attention.reads import Axis
from xcompose.compose.parts import Embedding, Mixer
from xcompose.diagnostics import Diagnostic
from xcompose.verify.measure import distance
from xcompose.verify.subject import Part, Subject, alone, blame, rows

CODE = "XC065"
TOLERANCE = 1e-10


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about parts whose answer to a sequence depends on another one."""
    return blame(subject.parts(), lambda part: next(_part(subject, part, seed), None))


def _part(subject: Subject, part: Part, seed: int) -> Iterator[Diagnostic]:
    run = alone(part, subject.n, subject.elsewhere)
    if isinstance(part.module, Embedding):
        x = subject.tokens(3, seed)
    else:
        x = rows(part, subject.n, seed, torch.float64, batch=3)
    with torch.no_grad():
        whole = run(x)
        for row in range(len(x)):
            change = distance(whole[row : row + 1], run(x[row : row + 1]))
            if change > TOLERANCE:
                measured = f"sequence {row} of {len(x)} differs by {change:.2g} from itself alone"
                yield _finding(subject, part, "mixes the sequences of a batch", measured, "the first axis is no row's")
                return
        if isinstance(part.module, Mixer) and part.causal and not part.cross and subject.causal == "strict":
            yield from _states(subject, part, part.module, x)


def _states(subject: Subject, part: Part, mixer: Mixer, x: Tensor) -> Iterator[Diagnostic]:
    """Two requests by turns; then two sequences of one state that change places."""
    cut, n = max(1, subject.n * 5 // 8), subject.n
    first, second = ((mixer.start(1, x[:1]), x[row : row + 1]) for row in (0, 1))
    state, answer = _step(mixer, first[1], first[0], 0, cut)
    _step(mixer, second[1], second[0], 0, n)
    answers = [answer, _step(mixer, first[1], state, cut, n)[1]]
    change = distance(torch.cat(answers, 1), _undisturbed(mixer, x[:1], cut))
    if change > TOLERANCE:
        measured = f"a text that was interrupted by another goes on with outputs that differ by {change:.2g}"
        hint = "keep what is remembered in the state that is handed on, never in the module or in a default argument"
        yield _finding(subject, part, "shares what it remembers between two requests", measured, hint)
        return
    swapped = torch.tensor([1, 0])
    state, _ = _step(mixer, x[:2], mixer.start(2, x[:2]), 0, cut)
    wanted = _step(mixer, x[:2], _copied(state), cut, n)[1][swapped]
    moved = pytree.tree_map_only(Tensor, lambda t: t[swapped], state)
    change = distance(_step(mixer, x[:2][swapped], moved, cut, n)[1], wanted)
    if change > TOLERANCE:
        measured = f"two sequences that change places in the state give outputs that differ by {change:.2g}"
        hint = "every tensor of a state is batch first, and nothing of it is kept elsewhere"
        yield _finding(subject, part, "keeps a state that cannot be reordered", measured, hint)


def _step(mixer: Mixer, x: Tensor, state: Any, low: int, high: int) -> tuple[Any, Tensor]:
    mixed = mixer(x[:, low:high], Axis(at=range(low, high)), state)
    return mixed.state, mixed.x


def _undisturbed(mixer: Mixer, x: Tensor, cut: int) -> Tensor:
    state, before = _step(mixer, x, mixer.start(1, x), 0, cut)
    return torch.cat([before, _step(mixer, x, state, cut, x.shape[1])[1]], 1)


def _copied(state: Any) -> Any:
    """A state is used up by a call."""
    return pytree.tree_map_only(Tensor, torch.clone, state)


def _finding(subject: Subject, part: Part, what: str, measured: str, hint: str) -> Diagnostic:
    return subject.finding(
        CODE, f"{part.place.title} {what}", part.place, measured, hint=f"in the plugin '{part.place.name}', {hint}"
    )
