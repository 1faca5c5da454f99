"""What attention computes is what its parts define: executors, plans and chunks against the formula, read by read.

An executor works by tiles, sorted rows, or sums in chunks. Here each answer is computed again by the book: one dense
matrix of logits from predicates alone, or of products of features. A pair that a plan leaves out or counts twice, keys
and values in different orders, and heads that are grouped otherwise than elsewhere, all show here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xcompose.attention.attend import attend, choose
from xcompose.attention.kernel import KernelSums
from xcompose.attention.layer import SoftmaxReads
from xcompose.attention.pattern import TILE
from xcompose.attention.reference import attend_reference
from xcompose.attention.tiles import TRIANGLE, Layout, Plan
from xcompose.attention.visible import visible_matrix
from xcompose.compose.parts import Mixer
from xcompose.diagnostics import Diagnostic
from xcompose.verify.measure import distance
from xcompose.verify.subject import Part, Subject, alone, blame, rows

CODE = "XC062"
TOLERANCE = 1e-10
LONG = 3 * TILE + 5
"""Rows of the plans that are looked at without data: several tiles, the last one not full."""


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about mixers whose attention gives something else than its definition."""
    mixers = (part for part in subject.parts() if isinstance(part.module, Mixer))
    return blame(mixers, lambda part: _mixer(subject, part, seed))


def _mixer(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    x = rows(part, subject.n, seed, torch.float64)
    run = alone(part, subject.n, subject.elsewhere)
    with torch.no_grad():
        for inner in _own(part.module):
            found = _of_reads(inner, run, x) if isinstance(inner, SoftmaxReads) else _of_sums(inner, run, x)
            for what, answer, wanted in found:
                change = distance(answer, wanted)
                if change > TOLERANCE:
                    return _finding(subject, part, what, answer, wanted, change)
    return _long(subject, part)


def _long(subject: Subject, part: Part) -> Diagnostic | None:
    """Plans for more rows than were computed: tiles hold every allowed pair once, and no other, without any data."""
    n = min(subject.far, LONG)
    if n <= subject.n or part.cross:
        return None
    for inner in _own(part.module):
        for pattern in inner.limits if isinstance(inner, SoftmaxReads) else ():
            now = pattern.present()
            if now.learned or now.per_head or now.empty or now.otherwise != "nothing":
                continue
            layout = Layout(now, range(n), range(n), None, None, inner.causal, None if inner.causal else n)
            wrong = _times(layout.plan(), n) - visible_matrix(now, n, inner.causal)[0]
            if wrong.any():
                return _planned(subject, part, wrong)
    return None


def _times(plan: Plan, n: int) -> np.ndarray:
    """(n n) how often the tiles of a plan hold each pair."""
    found = np.zeros((n, n), dtype=np.int64)
    for tile in plan.tiles:
        shape = (len(tile.rows), len(tile.cols))
        mask = plan.masks[tile.kind] if tile.kind >= 0 else np.ones(shape, dtype=bool)
        mask = np.tril(mask) if tile.kind == TRIANGLE else mask
        found[np.ix_(np.asarray(tile.rows), np.asarray(tile.cols))] += mask
    return found


def _planned(subject: Subject, part: Part, wrong: np.ndarray) -> Diagnostic:
    i, j = (int(index) for index in np.argwhere(wrong)[0])
    how = "not at all" if wrong[i, j] < 0 else "too often"
    return subject.finding(
        CODE, f"{part.place.title} does not compute what its patterns and score define", part.place,
        f"the plan for {len(wrong)} rows reads row {j} for query {i} {how}",
        measured=f"{int((wrong != 0).sum())} of {wrong.size} pairs are not there once where the predicate allows them",
        hint=f"in the patterns of '{part.place.name}', look at the steps between tiles of `cover`, and at `steady`",
    )  # fmt: skip


def _own(mixer: nn.Module) -> list[SoftmaxReads | KernelSums]:
    """The insides of a mixer that do not belong to another mixer within it."""
    within = [path for path, module in mixer.named_modules() if path and isinstance(module, Mixer)]
    return [
        module
        for path, module in mixer.named_modules()
        if isinstance(module, SoftmaxReads | KernelSums) and not any(path.startswith(f"{other}.") for other in within)
    ]


def _of_reads(inner: SoftmaxReads, run: Any, x: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Who answered, the answer, and the one by the book, for each group of heads."""
    before, inner.watched = inner.watched, []
    try:
        run(x)
        groups = inner.watched
    finally:
        inner.watched = before
    for reads in groups:
        if reads:
            yield f"executor '{choose(reads, 0.0)[0]}'", attend(reads), attend_reference(reads)


def _of_sums(inner: KernelSums, run: Any, x: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    caught: list[tuple[Any, ...]] = []
    original = inner.mix

    def record(*given: Any) -> Any:
        caught.append((given, original(*given)))
        return caught[-1][1]

    inner.mix = record  # type: ignore[method-assign]
    try:
        run(x)
    finally:
        del inner.mix
    for (q, k, v, _, axis, *asking), answer in caught:
        asks = (asking[0] if asking else None) or axis
        yield "the sums of a kernel", answer.y, by_the_book(inner, q, k, v, asks, axis)


def by_the_book(inner: KernelSums, q: Tensor, k: Tensor, v: Tensor, asking: Any, axis: Any) -> Tensor:
    """The answers (b n h e) of a kernel from the matrix of all weights; arguments as for `KernelSums.mix`."""
    (asked, _), (keys, logs) = (_features(inner.score, t, side) for t, side in ((q, "query"), (k, "key")))
    repeat = q.shape[2] // k.shape[2]
    places, there = asking.positions(q.device), axis.positions(q.device)
    turned_q, turned_k = inner.position.turn(asked, places, "query"), inner.position.turn(keys, there, "key")
    turned_k, keys, v = (t.repeat_interleave(repeat, 2) for t in (turned_k, keys, v))
    seen = (there <= places[:, None]) if inner.causal else torch.ones(len(places), len(there), dtype=torch.bool)
    share = seen.to(v)[None, None]
    if logs is not None:
        logs = logs.repeat_interleave(repeat, 2).transpose(1, 2)[:, :, None].masked_fill(~seen, -torch.inf)
        share = (logs - logs.amax(-1, keepdim=True)).exp()
    above = torch.einsum("b n h r, b m h r -> b h n m", turned_q, turned_k) * share
    below = (torch.einsum("b n h r, b m h r -> b h n m", asked, keys) * share).sum(-1, keepdim=True)
    answer = torch.einsum("b h n m, b m h e -> b h n e", above, v) / torch.where(below == 0, 1.0, below)
    return answer.transpose(1, 2)


def _features(score: Any, t: Tensor, side: Any) -> tuple[Tensor, Tensor | None]:
    return (score.features_among(t, side, None), None) if score.whole else score.features(t, side)


def _finding(
    subject: Subject, part: Part, what: str, answer: Tensor, wanted: Tensor, change: float
) -> Diagnostic:  # fmt: skip
    wrong = ~torch.isclose(answer, wanted, rtol=0, atol=TOLERANCE * float(wanted.abs().max())).flatten(2).all(-1)[0]
    first = int(wrong.nonzero()[0])
    return subject.finding(
        CODE, f"{part.place.title} does not compute what its patterns and score define", part.place,
        f"{what}: output {first} is the first that differs, by up to {change:.2g}",
        measured=f"{int(wrong.sum())} of {len(wrong)} outputs differ from one dense matrix of weights",
        hint=f"in the plugins of '{part.place.name}', look for a `cover` that leaves out pairs or holds some twice, "
        "for keys and values in different orders, or for a sum over the wrong axis",
    )  # fmt: skip
