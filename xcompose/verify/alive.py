"""Every position declared visible really influences the output, and none that is not: the dual of causality.

A mask that hides too much is as wrong as one that leaks, and no causality test sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xcompose.attention.reads import Axis
from xcompose.compose.parts import Embedding, Mixer, Source
from xcompose.compose.tuned import Tuned
from xcompose.diagnostics import Diagnostic
from xcompose.verify.causal import two_texts
from xcompose.verify.measure import moved
from xcompose.verify.rows import last_axis, slopes
from xcompose.verify.subject import Part, Subject, alone, axis_of, blame, rows

CODE = "XC072"
BROKEN = "XC053"
"""A part that does what its kind may not."""
DEAD = 1e-12
"""Largest change of an output, relative to all outputs, that counts as none: rounding is near 1e-16."""
DRAWS = 5
"""How often a pair is tried that does not move: what is cut off at zero may say nothing of one draw, but not of all."""
NO_GRADIENT = 1e-25
FOREIGN = 1e-10
"""Smallest change of an output that counts as influence where none is declared."""


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about mixers whose measured influence is not the declared one; about the whole model only where every
    mixer keeps its word."""
    return blame(subject.parts(), lambda part: _part(subject, part, seed)) or _whole(subject, seed)


def _part(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    if isinstance(part.module, Mixer):
        return _cross(subject, part, seed) if part.cross else _mixer(subject, part, seed)
    return None if part.place.kind == "output" else _row_by_row(subject, part, seed)


def declared(part: Part, n: int) -> tuple[np.ndarray, np.ndarray]:
    """What the mixer of a part says, as `said`."""
    assert isinstance(part.module, Mixer)
    return said(part.module, n)


def said(mixer: Mixer, n: int) -> tuple[np.ndarray, np.ndarray]:
    """What a mixer says: the pairs (n n) that are visible for sure, and those that may be at most."""
    sure = np.zeros((n, n), dtype=bool)
    most = np.zeros((n, n), dtype=bool)
    for group in mixer.visible(n):
        matrix = np.asarray(group.matrix, dtype=bool)
        most |= matrix
        if group.exact:
            sure |= matrix
    return sure, most


def _mixer(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    n = part.prefix + subject.n
    sure, most = declared(part, n)
    changed = partial(_changed, alone(part, subject.n), part, subject.n)
    change = changed(seed)
    dead = _never(sure & (change <= DEAD), changed, seed)
    foreign = ~most & (change > FOREIGN) & ~np.eye(n, dtype=bool)
    if part.causal and subject.causal == "value":
        foreign = np.tril(foreign)  # the future may choose there; that it is not read, the causal certificate says
    if dead.any():
        return _dead(subject, part, sure, dead)
    return _foreign(subject, part, foreign, change) if foreign.any() else _groups(subject, part, seed)


def _changed(run: Callable[[Tensor], Tensor], part: Part, n: int, seed: int) -> np.ndarray:
    """(queries n) how far outputs move when each of n rows is replaced."""
    x, other = (rows(part, n, seed + more, torch.float64) for more in (0, 1))
    with torch.no_grad():
        return moved(run, x, other).numpy()


def _never(dead: np.ndarray, changed: Callable[[int], np.ndarray], seed: int) -> np.ndarray:
    """Which of the pairs that did not move do not move in other draws either."""
    for draw in range(1, DRAWS):
        if dead.any():
            dead = dead & (changed(seed + 2 * draw) <= DEAD)
    return dead


def _groups(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    """Groups of heads, each by itself, so that none can hide behind another."""
    mixer, x = part.module, rows(part, subject.n, seed, torch.float64)
    assert isinstance(mixer, Mixer)
    groups = mixer.visible(part.prefix + subject.n)
    first, heads = 0, sum(group.heads for group in groups)
    for group in groups:
        own = slice(first, first + group.heads)
        first += group.heads
        if len(groups) == 1 or not group.exact or _of_heads(part, x, own, heads) is None:
            continue
        changed = partial(_changed, lambda t, own=own: _of_heads(part, t, own, heads), part, subject.n)  # type: ignore[misc]
        matrix = np.asarray(group.matrix, dtype=bool)
        dead = _never(matrix & (changed(seed) <= DEAD), changed, seed)
        if dead.any():
            return _dead(subject, part, matrix, dead, f" in {group.label}")
    return None


def _of_heads(part: Part, x: Tensor, own: slice, heads: int) -> Tensor | None:
    """What some heads of a mixer answer, (b n width): their part of what its last linear layer gets.

    Zeros in rows that the mixer leaves to others. None where it does not end with a linear layer over its heads.
    """
    ran: list[tuple[Tensor, Tensor]] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        ran.append((inputs[0], out))

    linear = [module for module in part.module.children() if isinstance(module, nn.Linear | Tuned)]
    handles = [module.register_forward_hook(note) for module in linear]
    try:
        with torch.no_grad():
            answer = alone(part, x.shape[1] - part.prefix)(x)
    finally:
        for handle in handles:
            handle.remove()
    found = [(given, rows) for given, out in ran if (rows := _written(out, answer)) is not None]
    if not found or found[0][0].shape[-1] % heads:
        return None
    mine = found[0][0].unflatten(-1, (heads, -1))[:, :, own].flatten(2)
    whole = mine.new_zeros(*answer.shape[:2], mine.shape[-1])
    whole[:, found[0][1]] = mine
    return whole


def _written(out: Tensor, answer: Tensor) -> Tensor | None:
    """(n) bool: the rows of an answer (b n c) that a layer wrote, if it wrote all that are not zero."""
    if out is answer:
        return answer.new_ones(answer.shape[1], dtype=torch.bool)
    rows = answer[0].abs().amax(-1) > 0
    same = out.shape[1] == int(rows.sum()) and torch.equal(answer[:, rows], out)
    return rows if same else None


def _dead(subject: Subject, part: Part, sure: np.ndarray, dead: np.ndarray, where: str = "") -> Diagnostic:
    i, j = _first(dead)
    share = f"{int(dead.sum())} of {int(sure.sum())} declared pairs"
    # Nearest missing neighbours: a constant distance tells an edge that is one short from a part that is off.
    return subject.finding(
        CODE, f"{part.place.title} hides what it declares visible{where}", part.place,
        f"output {i} may read row {j}, but did not move when that row was replaced",
        measured=f"{share} have no influence, of {subject.n} positions",
        hint=f"in the plugin '{part.place.name}', look for {_suspect(sure, dead)}",
    )  # fmt: skip


def _suspect(sure: np.ndarray, dead: np.ndarray) -> str:
    queries, keys = np.nonzero(dead)
    if len(set(queries - keys)) == 1:
        return f"a mask that is one short: every dead pair is {queries[0] - keys[0]} apart"
    off_diagonal = sure & ~np.eye(len(sure), dtype=bool)
    if off_diagonal.any() and (dead & off_diagonal).sum() == off_diagonal.sum():
        return "a sum over the wrong axis: no position hears of any other"
    if len(set(keys.tolist())) <= max(1, len(sure) // 4):
        return f"rows that nobody reads: {', '.join(map(str, sorted(set(keys.tolist()))[:6]))}"
    return "a mask that hides too much"


def _foreign(subject: Subject, part: Part, foreign: np.ndarray, change: np.ndarray) -> Diagnostic:
    i, j = _first(foreign)
    return subject.finding(
        BROKEN, f"{part.place.title} reads what it does not declare visible", part.place,
        f"output {i} moved by {change[i, j]:.2g} when row {j} was replaced",
        measured=f"{int(foreign.sum())} pairs beyond the declared ones, of {subject.n} positions",
        hint=f"in the plugin '{part.place.name}', let `visible` say all that is read, or read less",
    )  # fmt: skip


def _row_by_row(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    """A part that is no mixer owes that each row stays by itself."""
    n = subject.n
    if isinstance(part.module, Embedding):
        x, other = two_texts(subject, seed)
    else:
        x, other = rows(part, n, seed, torch.float64), rows(part, n, seed + 1, torch.float64)
    with torch.no_grad():
        change = moved(alone(part, n), x, other).numpy()
    mixed = (change > FOREIGN) & ~np.eye(n, dtype=bool)
    if not mixed.any():
        return None
    i, j = _first(mixed)
    return subject.finding(
        BROKEN, f"{part.place.title} mixes rows, which only a mixer may do", part.place,
        f"output {i} moved by {change[i, j]:.2g} when row {j} was replaced",
        hint=f"in the plugin '{part.place.name}', take sums and statistics over the last axis only",
    )  # fmt: skip


def _cross(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    """Every row of the other sequence influences every output."""
    m, n = subject.elsewhere, subject.n
    own = rows(part, n, seed, torch.float64)
    assert isinstance(part.module, Mixer)
    mixer = part.module

    def run(source: Tensor) -> Tensor:
        batch = source.shape[0]
        there = Source(source, Axis(at=range(m), total=m, clock="source"))
        return mixer(own.expand(batch, -1, -1).contiguous(), axis_of(part, n), None, there).x

    changed = partial(_changed, run, part, m)
    dead = _never(changed(seed + 2) <= DEAD, changed, seed + 2)
    if not dead.any():
        return None
    i, j = _first(dead)
    return subject.finding(
        CODE, f"{part.place.title} does not read all of the other sequence", part.place,
        f"output {i} did not move when row {j} of the other sequence was replaced",
        measured=f"{int(dead.sum())} of {dead.size} pairs have no influence",
        hint=f"in the plugin '{part.place.name}', look for a rule about positions: the two clocks do not compare",
    )  # fmt: skip


def reach(subject: Subject, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Which positions (n n) reach which output through all layers, as declared: for sure, and at most."""
    model: Any = subject.model()
    wanted = np.eye(n or subject.n, dtype=bool)
    known: dict[Any, tuple[np.ndarray, np.ndarray]] = {}

    def read(block: Any, n: int, which: int) -> np.ndarray:
        key = (id(block.mixer), n)
        known[key] = known.get(key) or said(block.mixer, n)
        return known[key][which]

    return model.trace(wanted, partial(read, which=0)), model.trace(wanted, partial(read, which=1))


def _whole(subject: Subject, seed: int) -> list[Diagnostic]:
    """Paths through all layers, by gradients; where there is none, tokens are replaced, for rows may be detached."""
    sure, most = reach(subject)
    gradient, asked = slopes(subject, seed)
    slope = gradient.numpy()
    if len(asked) == 1 < subject.n:
        # One answer for the whole sequence: which rows it pools is the output's own affair.
        sure, most = np.zeros((1, subject.n), dtype=bool), np.any(most, axis=0, keepdims=True)
    dead: np.ndarray = np.logical_and(sure[asked], slope <= NO_GRADIENT)
    foreign = ~most[asked] & (slope > FOREIGN)
    if dead.any():
        dead = np.logical_and(dead, _whole_change(subject, seed)[asked] <= DEAD)
        dead = _never(dead, lambda seed: _whole_change(subject, seed)[asked], seed)
    if not dead.any() and not foreign.any():
        return []
    k, j = _first(dead) if dead.any() else _first(foreign)
    what = "does not reach" if dead.any() else "reaches"
    why = "a path through the layers is declared" if dead.any() else "no path through the layers is declared"
    return [
        subject.finding(
            CODE if dead.any() else BROKEN, f"token {j} {what} output {asked[k]} of the model, though {why}", None,
            f"output {asked[k]} has a gradient of {slope[k, j]:.2g} with respect to token {j}",
            hint="no part does so alone: look at how the layers are joined, and at the output",
        )
    ]  # fmt: skip


def _whole_change(subject: Subject, seed: int) -> np.ndarray:
    x, other = two_texts(subject, seed)
    model = subject.model()
    with torch.no_grad():
        return moved(lambda tokens: last_axis(subject.call(model, tokens).logits), x, other).numpy()


def _first(matrix: np.ndarray) -> tuple[int, int]:
    i, j = np.argwhere(matrix)[-1]
    return int(i), int(j)
