"""The loss of a run over its steps, as a picture."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
FRESH, QUIET = "#1f6f8b", "#b9c7cf"
POINTS = 40
"""About how many points the smooth line has."""


def loss_figure(rows: Rows, metric: str, title: str) -> Figure:
    """Training (each step and its running mean) and validation over steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    steps, values = [r["step"] for r in rows], [r[metric] for r in rows]
    axes.plot(steps, values, color=QUIET, linewidth=0.8, label="training, each step")
    axes.plot(steps, running_mean(values), color=FRESH, linewidth=1.8, label="training, running mean")
    seen = [(r["step"], r[f"valid_{metric}"]) for r in rows if r.get(f"valid_{metric}") is not None]
    if seen:
        axes.plot(*zip(*seen, strict=True), "o", color="#c8553d", markersize=5, label="held out")
    axes.set(xlabel="step", ylabel=metric.replace("_", " "), title=title)
    tidy(axes)
    axes.legend(frameon=False)
    return figure


def running_mean(values: Sequence[float]) -> list[float]:
    """Means over the last fortieth of the run."""
    width = max(1, len(values) // POINTS)
    return [statistics.fmean(values[max(0, i + 1 - width) : i + 1]) for i in range(len(values))]


def tidy(axes: Any) -> None:
    """A quiet frame and a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)


def picture(figure: Figure, form: str) -> bytes:
    """The figure as `svg` or `png`, the same bytes each time."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "xcompose"}):
        figure.savefig(buffer, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
    return buffer.getvalue()
