"""What may be said about a comparison, and what may not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xcompose.compare.candidates import Candidate
from xcompose.compare.compare import AGREE, FEW_STEPS, Counted, Row
from xcompose.diagnostics import SpecError

if TYPE_CHECKING:
    from xcompose.registry import Registry
    from xcompose.spec.model import Spec

NEAR = 6
"""So many steps of the width are tried around the one that should fit."""


def remarks(rows: Sequence[Row]) -> tuple[str, ...]:
    """What must not be concluded from these rows, which are ranked."""
    found = []
    if len(rows[0].runs) == 1:
        found.append("One seed: how far chance alone would spread the results is not known (--seeds 3).")
    for group in alike(rows):
        names = [row.label for row in group]
        found.append(f"{', '.join(names[:-1])} and {names[-1]} do not differ by more than their spread.")
    fewest = min(row.steps for row in rows)
    if fewest < FEW_STEPS:
        steps = "1 step is" if fewest == 1 else f"{fewest} steps are"
        found.append(f"{steps} too few to rank by quality: a longer --budget, or smaller models (@tiny).")
    return tuple(found)


def alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Neighbours in the ranking of whom each is within the spread of the group's best; groups of two or more."""
    groups: list[list[Row]] = []
    for row in rows:
        if groups and within_spread(groups[-1][0], row):
            groups[-1].append(row)
        else:
            groups.append([row])
    return [group for group in groups if len(group) > 1]


def within_spread(a: Row, b: Row) -> bool:
    """Whether two candidates differ by no more than their standard deviations together; never with one seed."""
    if a.spread is None or b.spread is None:
        return False
    return abs(a.quality - b.quality) <= a.spread + b.spread


def agreement(counted: Sequence[Counted]) -> str:
    """One line on the sizes, where they are alike."""
    sizes = [c.parameters for c in counted]
    if len(set(sizes)) == 1:
        return f"parameters agree: {sizes[0]:,} in all {len(sizes)}"
    if max(sizes) / min(sizes) - 1 > AGREE:
        return f"parameters: {min(sizes):,} to {max(sizes):,}"
    return f"parameters agree within {(max(sizes) / min(sizes) - 1) * 100:.2g} %: {min(sizes):,} to {max(sizes):,}"


def unlike(candidates: Sequence[Candidate], counted: Sequence[Counted], registry: Registry | None) -> tuple[str, ...]:
    """A warning for each candidate whose size is not that of the first, with the width that would make it so."""
    wanted = counted[0].parameters
    found = []
    for candidate, costs in zip(candidates[1:], counted[1:], strict=True):
        if candidate.step or abs(costs.parameters / wanted - 1) <= AGREE:
            continue
        more = (costs.parameters / wanted - 1) * 100
        text = (
            f"{candidate.label} has {costs.parameters:,} parameters, {candidates[0].label} {wanted:,} ({more:+.0f} %)"
        )
        width = equal_width(candidate, costs.parameters, wanted, registry)
        found.append(text + (f": dim={width[0]} would give {width[1]:,}" if width else ""))
    return tuple(found)


def equal_width(candidate: Candidate, size: int, wanted: int, registry: Registry | None) -> tuple[int, int] | None:
    """The width nearest to the wanted number of parameters, with that number; None where no width comes nearer."""
    if candidate.again is None or candidate.spec.model is None:
        return None
    dim = candidate.spec.model.options["dim"]
    heads = candidate.spec.model.options.get("heads") or 1
    guess = round(dim * (wanted / size) ** 0.5 / heads) * heads
    best, best_size = dim, size
    for width in range(max(heads, guess - NEAR * heads), guess + NEAR * heads + 1, heads):
        try:
            here = _size(candidate.again((f"dim={width}",)), registry)
        except SpecError:  # this width does not divide as the spec wants it
            continue
        if abs(here - wanted) < abs(best_size - wanted):
            best, best_size = width, here
    return (best, best_size) if best != dim else None


def _size(spec: Spec, registry: Registry | None) -> int:
    from xcompose.compose.build import plan_model

    return sum(p.numel() for p in plan_model(spec, registry=registry).parameters())
