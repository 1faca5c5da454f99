"""A comparison as one HTML file that needs nothing beside it: no script, no font, no picture from anywhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.compare.compare import Comparison, Row
from xcompose.compare.draw import drawing
from xcompose.compare.table import headings, lines
from xcompose.compare.template import TEMPLATE
from xcompose.compare.verdict import agreement
from xcompose.train.folder import RunFolder, read_metrics
from xcompose.train.plot import picture, running_mean, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xcompose.compose.model import Model
    from xcompose.compose.summary import Repeat
    from xcompose.compose.summary import Row as Part
    from xcompose.registry import Registry

COLOURS = ("#1f6f8b", "#c8553d", "#5b8e3e", "#8b5fa8", "#b8860b", "#2d3748", "#d1699a", "#4c9f9f")
NOT_SHOWN = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>", re.DOTALL)


@attrs.frozen
class Section:
    """What the report says of one candidate."""

    label: str
    colour: str
    summary: str
    """As `xcompose build` prints it."""
    executors: tuple[tuple[str, str, str], ...]
    """Read, executor, reason; each once."""
    drawing: str
    """SVG"""


def html(found: Comparison, plans: Mapping[str, Model], registry: Registry | None = None) -> str:
    """The report.

    Args:
        found: the comparison; its runs' folders are read.
        plans: the models by label, on the meta device.
        registry: what they were planned with.
    """
    import jinja2

    colours = {row.label: COLOURS[i % len(COLOURS)] for i, row in enumerate(found.rows)}
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE)
    return page.render(
        found=found,
        agreement="" if found.warnings else agreement([row.counted for row in found.rows]),
        headings=headings(found),
        rows=[(colours[row.label], line) for row in found.rows for line in lines(row, sizes=found.changed)],
        curves=inline(curves(found, colours)),
        costs=inline(costs(found.rows, colours)),
        sections=[_section(row.label, colours[row.label], plans[row.label], registry) for row in found.rows],
    )


def inline(figure: Figure) -> str:
    """A figure as SVG that may stand inside HTML."""
    return NOT_SHOWN.sub("", picture(figure, "svg").decode()).strip()


def curves(found: Comparison, colours: Mapping[str, str]) -> Figure:
    """The training metric over tokens and over time: the first seed in full, the others faint; dots are held out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for row in found.rows:
        for number, run in enumerate(row.runs):
            _curve((left, right), read_metrics(RunFolder(run.folder).metrics), found.metric, row.label, colours, number)
    left.set(xlabel="tokens", ylabel=found.metric.replace("_", " "))
    right.set(xlabel="seconds of training")
    for axes in (left, right):
        tidy(axes)
    right.legend(frameon=False, fontsize=8)
    return figure


def _curve(
    panels: Sequence[Any],
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    label: str,
    colours: Mapping[str, str],
    seed: int,
) -> None:
    smooth = running_mean([row[metric] for row in rows])
    seen = [row for row in rows if row.get(f"valid_{metric}") is not None]
    style = {"color": colours[label], "alpha": 1.0 if seed == 0 else 0.35}
    for axes, across in zip(panels, ("tokens", "seconds"), strict=True):
        axes.plot([r[across] for r in rows], smooth, linewidth=1.5, label=label if seed == 0 else None, **style)
        axes.plot([r[across] for r in seen], [r[f"valid_{metric}"] for r in seen], "o", markersize=3.5, **style)


def costs(rows: Sequence[Row], colours: Mapping[str, str]) -> Figure:
    """Work and decode state over the length, both counted."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    from xcompose.spec.formats import format_bytes, format_flops, format_length

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for row in rows:
        counted = (row.counted.work_over_length, row.counted.state_over_length)
        for axes, values in zip(panels, counted, strict=True):
            axes.plot(
                list(values), list(values.values()), "o-", color=colours[row.label], markersize=3, label=row.label
            )
    kinds = (("work, forward", 10, format_flops), ("decode state", 16, format_bytes))
    for axes, (said, base, form) in zip(panels, kinds, strict=True):
        if not any(line.get_ydata().any() for line in axes.lines):
            axes.set_axis_off()
            continue
        axes.set(xscale="log", xlabel="length", title=said)
        axes.set_yscale("log", base=base)
        axes.xaxis.set_major_locator(FixedLocator(_marked(axes)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: format_length(int(n))))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _, form=form: form(value)))
        tidy(axes)
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def _marked(axes: Any) -> list[int]:
    """The lengths that are written below: every second power of two, or those of short models as they are."""
    lengths = sorted({int(n) for line in axes.lines for n in line.get_xdata()})
    far = [2**k for k in range(10, 19, 2)]
    return far if lengths[-1] > far[0] else lengths


def _section(label: str, colour: str, model: Model, registry: Registry | None) -> Section:
    from xcompose.compose.summary import summarise
    from xcompose.compose.summary_text import text

    summary = summarise(model, explain=True, registry=registry)
    choices = dict.fromkeys(choice for row in _parts(summary.rows) for choice in row.executors)
    return Section(
        label=label, colour=colour, summary=text(summarise(model, registry=registry)),
        executors=tuple((c.read, c.executor, c.reason) for c in choices), drawing=inline(drawing(model, title=label)),
    )  # fmt: skip


def _parts(rows: Sequence[Part | Repeat]) -> Iterator[Part]:
    """Every row, those inside repeats too."""
    from xcompose.compose.summary import Repeat

    for row in rows:
        if isinstance(row, Repeat):
            yield from _parts(row.rows)
        else:
            yield row
