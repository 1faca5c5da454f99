"""Step by step equals all at once: for several cuts of the time line, rows at different times, and left padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from xcompose.attention.reads import Axis
from xcompose.compose.parts import Mixer
from xcompose.diagnostics import Diagnostic
from xcompose.verify.measure import distance
from xcompose.verify.subject import Part, Subject, blame, rows, source_of

CODE = "XC074"
STATE_CODE = "XC078"
TOLERANCE = 1e-9
APART = 3
"""Steps that a mixer takes with rows at different times; the model takes more."""


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about mixers that decode something else than they compute in parallel, or keep another state than they
    say; about the model where no mixer does."""
    if subject.causal != "strict":
        return []
    mixers = [p for p in subject.parts() if isinstance(p.module, Mixer) and (p.causal or p.cross)]
    found = blame(mixers, lambda part: _mixer(subject, part, seed) or _state(subject, part, seed))
    return found or list(_whole(subject, seed))


def is_exact(subject: Subject, seed: int = 0) -> bool:
    """Whether decoding equals the parallel pass, whatever the spec promises."""
    return next(_whole(subject, seed), None) is None


def cuts(n: int) -> list[list[int]]:
    """Ways to cut n positions: a long start and steps; steps alone; odd pieces; a piece of one in between."""
    start = max(1, n * 5 // 8)
    return [
        _fill([start], n),
        _fill([], n),
        _fill([1, 2, 5, 3, 7, 4, 11], n, piece=3),
        _fill([start // 2, 1], n, piece=n),
    ]


def _fill(first: list[int], n: int, piece: int = 1) -> list[int]:
    sizes: list[int] = []
    for size in [*first, *[piece] * n]:
        size = min(size, n - sum(sizes))
        if size > 0:
            sizes.append(size)
    return sizes


def _mixer(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    x = rows(part, subject.n, seed, torch.float64, batch=2)
    assert isinstance(part.module, Mixer)
    source = source_of(part, 2, subject.elsewhere, x.dtype)
    with torch.no_grad():
        whole = part.module(x, Axis(at=range(subject.n)), None, source).x
        for sizes in cuts(subject.n):
            steps = torch.cat([out for _, out in _run(part, x, sizes, source)], 1)
            worst = _first_difference(steps, whole)
            if worst is not None:
                return _finding(subject, part, sizes, *worst)
        return None if part.cross else _mixer_apart(subject, part, x, whole)


def _mixer_apart(subject: Subject, part: Part, x: Tensor, whole: Tensor) -> Diagnostic | None:
    """Two sequences that stand at different times: what was read is padded, and steps are taken in unison."""
    mixer, lengths = part.module, [subject.n // 2, max(1, subject.n // 3)]
    assert isinstance(mixer, Mixer)
    longest, batch = lengths[0], torch.arange(2)
    valid = torch.arange(longest) < torch.tensor(lengths)[:, None]
    prompt = torch.where(valid[..., None], x[:, :longest], 0.0)
    state = mixer(prompt, Axis(at=range(longest), valid=valid), mixer.start(2, x)).state
    for step in range(min(subject.n - longest, APART)):
        here = torch.tensor([length + step for length in lengths])
        mixed = mixer(x[batch, here][:, None], Axis(at=here[:, None]), state)
        state = mixed.state
        change = distance(mixed.x[:, 0], whole[batch, here])
        if change > TOLERANCE:
            return _apart_finding(subject, part, f"step {step + 1} after {lengths} rows gives outputs", change)
    return None


def _run(part: Part, x: Tensor, sizes: Sequence[int], source: Any) -> Iterator[tuple[Any, Tensor]]:
    mixer = part.module
    assert isinstance(mixer, Mixer)
    state, at = mixer.start(x.shape[0], x), 0
    for size in sizes:
        mixed = mixer(x[:, at : at + size], Axis(at=range(at, at + size)), state, source)
        state, at = mixed.state, at + size
        yield state, mixed.x


def _state(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    """The state is as large as `state_shape` says; of cross-attention it does not depend on the text."""
    if part.cross:
        return None
    x = rows(part, subject.n, seed, torch.float64, batch=2)
    mixer = part.module
    assert isinstance(mixer, Mixer)
    with torch.no_grad():
        for n, (state, _) in enumerate(_run(part, x, [1] * subject.n, None), start=1):
            said = sum(_product(shape) for shape in mixer.state_shape(n).values())
            kept = sum(t.numel() for t in tensors(state)) // 2
            if kept != said:
                amount = "more" if kept > said else "less"
                return subject.finding(
                    STATE_CODE, f"{part.place.title} keeps {amount} than it says", part.place,
                    f"after {n} tokens its state holds {kept:,} numbers a sequence; `state_shape` says {said:,}",
                    hint=f"in the plugin '{part.place.name}', drop what no later query reads, and say what is kept",
                )  # fmt: skip
    return None


def tensors(state: Any) -> list[Tensor]:
    """Every tensor of a state."""
    return [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]


def _product(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


def _whole(subject: Subject, seed: int) -> Iterator[Diagnostic]:
    model, tokens = subject.model(), subject.tokens(3, seed)
    with torch.no_grad():
        whole = subject.call(model, tokens).logits
        for sizes in cuts(subject.n):
            steps = _decode(subject, tokens, sizes)
            worst = _first_difference(steps, whole)
            if worst is not None:
                yield _finding(subject, None, sizes, *worst)
                return
        yield from _apart(subject, tokens, whole)


def _decode(subject: Subject, tokens: Tensor, sizes: Sequence[int]) -> Tensor:
    model: Any = subject.model()
    state, at, found = subject.start(tokens.shape[0]), 0, []
    for size in sizes:
        out = model(tokens[:, at : at + size], state=state)
        state, at = out.state, at + size
        found.append(out.logits)
    return torch.cat(found, 1)


def _apart(subject: Subject, tokens: Tensor, whole: Tensor) -> Iterator[Diagnostic]:
    """Rows that stand at different times: prompts of several lengths, left-padded, then steps in unison."""
    model: Any = subject.model()
    n = subject.n
    lengths = [n // 2, max(1, n // 4), max(1, n // 3)]
    longest = lengths[0]
    mask = torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]
    prompt = torch.zeros_like(tokens[:, :longest])
    prompt[mask] = torch.cat([tokens[b, :length] for b, length in enumerate(lengths)])
    out = model(prompt, mask=mask, state=subject.start(len(lengths)))
    for b, length in enumerate(lengths):
        change = distance(out.logits[b, longest - length :], whole[b, :length])
        if change > TOLERANCE:
            yield _apart_finding(subject, None, f"a left-padded prompt of {length} tokens gives outputs", change)
            return
    for step in range(min(n - longest, n // 2)):
        here = torch.tensor([length + step for length in lengths])
        batch = torch.arange(len(lengths))
        out = model(tokens[batch, here][:, None], state=out.state)
        change = distance(out.logits[:, 0], whole[batch, here])
        if change > TOLERANCE:
            yield _apart_finding(
                subject, None, f"step {step + 1} after prompts of {lengths} tokens gives outputs", change
            )
            return


def _apart_finding(subject: Subject, part: Part | None, what: str, change: float) -> Diagnostic:
    title = part.place.title if part else "the model"
    return subject.finding(
        CODE, f"rows at different times do not decode what {title} computes in parallel", part.place if part else None,
        f"{what} that differ by {change:.2g}",
        hint="rows in unison are right: look for a place that takes the time of one row for that of all",
    )  # fmt: skip


def _first_difference(steps: Tensor, whole: Tensor) -> tuple[int, float] | None:
    scale = whole.abs().max().clamp_min(1e-300)
    apart = torch.nan_to_num((steps - whole).abs().flatten(2).amax((0, 2)) / scale, nan=torch.inf)
    wrong = (apart > TOLERANCE).nonzero()
    return (int(wrong[0]), float(apart[int(wrong[0])])) if len(wrong) else None


def _finding(subject: Subject, part: Part | None, sizes: list[int], at: int, change: float) -> Diagnostic:
    title = part.place.title if part else "the model"
    text = ", ".join(map(str, sizes[:6])) + (" ..." if len(sizes) > 6 else "")
    fix = (
        f"in the plugin '{part.place.name}', look for a cache that is one short, or a time that starts again at 0"
        if part
        else "no mixer does so alone: look at positions and at how the model hands on its state"
    )
    return subject.finding(
        CODE, f"{title} decodes something else than it computes in parallel", part.place if part else None,
        f"cut into {text}: output {at} is the first that differs, by {change:.2g}", hint=fix,
    )  # fmt: skip
