"""A bench as the terminal shows it: the cases below each other, a line for each length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcompose.spec.formats import format_bytes, format_length

if TYPE_CHECKING:
    from xcompose.compare.bench import BenchResult, Measured

HEADINGS = ("tokens", "time", "quartiles", "memory", "pairs/s", "ratio", "efficiency")
MEANING = (
    "ratio       how many times faster than the {yardstick} at that length",
    "efficiency  attended (query, key) pairs a second, divided by those of the {yardstick}",
    "growth      exponents x of time and of peak memory in n^x, over these lengths",
)


def text(result: BenchResult, yardstick: str = "dense layer") -> str:
    """The head, then for each case its lines, then what the columns mean, beside which yardstick."""
    body = {case: [_cells(m) for m in result.of(case)] for case in result.cases}
    rows = [HEADINGS, *(row for rows in body.values() for row in rows)]
    shown = [i for i in range(len(HEADINGS)) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) + 3 for i in shown}

    def line(row: tuple[str, ...]) -> str:
        return "".join(row[i].rjust(widths[i]) for i in shown)

    lines = [_head(result), line(HEADINGS)]
    for case, cells in body.items():
        growth = result.growth(case)
        grown = "" if growth is None else f"   growth: time {growth[0]:.2f}, memory {growth[1]:.2f}"
        lines += ["", f"{case}{grown}", *map(line, cells)]
    means = [said for said in MEANING if said.split("  ")[0] in HEADINGS[:5] + tuple(HEADINGS[i] for i in shown)]
    growing = [MEANING[-1]] if any(result.growth(case) for case in result.cases) else []
    return "\n".join([*lines, "", *means, *growing]).replace("{yardstick}", yardstick)


def _head(result: BenchResult) -> str:
    what = "forward and backward" if result.backward else "forward"
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    return f"{what}, {result.device}, {threads}, median of {result.repeats}, cases in turns"


def _cells(m: Measured) -> tuple[str, ...]:
    unit, size = ("s", 1.0) if m.seconds >= 1 else ("ms", 1e-3)
    digits = 2 if m.seconds >= 1 else 1
    speed = m.pairs_per_second
    return (
        format_length(m.length),
        f"{m.seconds / size:.{digits}f} {unit}",
        f"{m.low / size:.{digits}f} to {m.high / size:.{digits}f}",
        format_bytes(m.peak_bytes),
        "" if speed is None else f"{speed:.2e}",
        "" if m.ratio is None else f"{m.ratio:.2f}",
        "" if m.efficiency is None else f"{m.efficiency:.2f}",
    )
