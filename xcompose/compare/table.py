"""A comparison as the terminal shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xcompose.compare.compare import STATE_AT, WORK_AT, Comparison, Row
from xcompose.compare.verdict import agreement
from xcompose.spec.formats import format_bytes, format_flops, format_length

if TYPE_CHECKING:
    from xcompose.train.before import Standing

NONE = "–"
"""Stands where a model does not take the length, or has no state."""


def text(found: Comparison) -> str:
    """The recipe, the sizes, the table, and what must not be concluded."""
    head = [
        f"recipe {found.recipe} for all (their own `train` sections are not used): {found.recipe_line}",
        *(f"warning: {warning}" for warning in found.warnings),
        *([] if found.warnings else [agreement([row.counted for row in found.rows])]),
    ]
    report = found.folder / "report.html"
    foot = [*found.remarks, f"report: {report} (curves, cost over length, pattern pictures)"]
    return "\n".join([*head, "", *aligned(headings(found), cells(found)), "", *foot])


def headings(found: Comparison) -> tuple[tuple[str, str], ...]:
    """Two lines for each column: what it is, and how it is counted."""
    arrow = "↑" if found.higher_is_better else "↓"
    seeds = f"mean ± sd of {found.seeds}" if found.seeds > 1 else "one seed"
    return (
        ("spec", ""),
        (f"{found.metric.replace('_', ' ')} {arrow}", seeds),
        ("train", "tokens/s ↑"),
        ("steps", ""),
        (f"work at {format_length(WORK_AT)}", "↓"),
        ("memory", "activations ↓"),
        (f"state at {format_length(STATE_AT)}", "↓"),
        ("parameters", ""),
        *((("weights", "↓"), ("forward pass", "tokens/s ↑")) if found.changed else ()),
    )


def cells(found: Comparison) -> list[tuple[str, ...]]:
    """The table's body, best first."""
    return [line for row in found.rows for line in lines(row, sizes=found.changed)]


def lines(row: Row, *, sizes: bool) -> list[tuple[str, ...]]:
    """One candidate, and behind it what it was in the form that was trained, where that was another one.

    Args:
        row: the candidate.
        sizes: whether its weights and the speed of a forward pass are shown.
    """
    c, before = row.counted, row.before
    first = (
        row.label,
        f"{row.quality:.3f}" + ("" if row.spread is None else f" ± {row.spread:.3f}"),
        f"{row.speed:,.0f}",
        f"{row.steps:,}",
        NONE if c.work is None else format_flops(c.work),
        NONE if c.activations is None else format_bytes(c.activations),
        NONE if c.state is None else format_bytes(c.state),
        f"{c.parameters:,}",
        *(_sizes(row.after) if sizes else ()),
    )
    if before is None:
        return [first]
    quality = f"{before.metrics[row.runs[0].metric]:.3f}"
    return [first, ("  as it was trained", quality, "", "", "", "", "", "", *(_sizes(before) if sizes else ()))]


def _sizes(standing: Standing | None) -> tuple[str, str]:
    if standing is None:
        return NONE, NONE
    return format_bytes(standing.bytes), f"{standing.tokens_per_second:,.0f}"


def aligned(headings: Sequence[Sequence[str]], body: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, columns under their headings."""
    rows = [*zip(*headings, strict=True), *body]
    widths = [max(len(row[i]) for row in rows) for i in range(len(headings))]
    return [
        (" " + "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip() for row in rows
    ]
