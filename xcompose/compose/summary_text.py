"""The summary of a model as the terminal shows it."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from xcompose.compose.room import readable
from xcompose.compose.summary import Repeat, Row, Summary


def text(summary: Summary) -> str:
    """The summary as the terminal shows it."""
    lines = list(_lines(summary.rows, 2, max(14, _widest(summary.rows, 2))))
    middle = max((len(line.left) for line in lines if line.number), default=0) + 2
    notes = max((len(line.note) for line in lines), default=0)
    numbers = max(len(line.number) for line in lines)
    body = [line.shown(max(middle, 44), max(notes, 20), numbers) for line in lines]
    names = ", ".join(summary.written)
    where = f": `xcompose freeze {summary.file}` prints them" if summary.file else ""
    addons = [f"  add-ons: {', then '.join(summary.addons)}", *[f"    {one}" for one in summary.remarks], ""]
    body += ["", *(addons if summary.addons else [])]
    return "\n".join([_head(summary), "", *body, f"You wrote {names}. The rest are defaults{where}."])


def _head(summary: Summary) -> str:
    count = f"{summary.parameters:,} parameters"
    if summary.trainable != summary.parameters:
        count += f" ({summary.trainable:,} trainable)"
    lengths = [f"{f'{name} ' if name else ''}length {binary(n)}" for name, n in summary.lengths.items()]
    facts = [summary.type, count, *(lengths or ["any length"])]
    if summary.growth:
        facts.append(f"state {summary.growth}: {readable(summary.state_bytes)} at {binary(summary.shown_at)}")
    return f"{summary.name}   {', '.join(facts)}"


def binary(count: int) -> str:
    """A length for people: 16Ki, 1000."""
    for unit, size in (("Mi", 2**20), ("Ki", 2**10)):
        if count >= size and count % size == 0:
            return f"{count // size}{unit}"
    return str(count)


@attrs.frozen
class _Line:
    left: str
    note: str = ""
    number: str = ""

    def shown(self, middle: int, notes: int, numbers: int) -> str:
        if not self.number:
            return self.left
        return f"{self.left:<{middle}}{self.note:<{notes}}{self.number:>{numbers + 2}}"


def _lines(rows: Iterable[Row | Repeat], indent: int, column: int) -> Iterable[_Line]:
    for row in rows:
        if isinstance(row, Repeat):
            times = f"{row.times} ×" if row.times > 1 or not row.title else ""
            words = [times, ", ".join(t for t in (row.title, row.residual) if t)]
            words.append(f"({row.weights})" if row.weights else "")
            yield _Line(" " * indent + " ".join(word for word in words if word))
            yield from _lines(row.rows, indent + 2, column)
        else:
            name = f"{' ' * indent}{row.name}"
            yield _Line(f"{name:<{column}}{row.detail}", row.note, f"{row.parameters:,}")
            for choice in row.executors:
                yield _Line(f"{' ' * column}{choice.read}: {choice.executor}, {choice.reason}")


def _widest(rows: Iterable[Row | Repeat], indent: int) -> int:
    """Where details begin, so that every name has a blank behind it."""
    return max(_widest(row.rows, indent + 2) if isinstance(row, Repeat) else indent + len(row.name) + 1 for row in rows)
