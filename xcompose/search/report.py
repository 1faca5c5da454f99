"""What a search leaves behind: a table for the terminal, data, a page to look at, and a spec for each winner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.compare.report import COLOURS, inline
from xcompose.compose.build import plan_model
from xcompose.search.page import PAGE
from xcompose.search.result import SearchResult, clock, milliseconds, shown
from xcompose.search.trial import STATES, Aim, Trial
from xcompose.spec import freeze, train_settings
from xcompose.spec.formats import format_short
from xcompose.spec.model import Expectation, Spec
from xcompose.spec.values import Range
from xcompose.train.folder import RunFolder, write_atomically
from xcompose.verify import expect
from xcompose.verify.facts import Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

    from xcompose.search.ground import Ground
    from xcompose.search.store import SearchFolder

PANELS = 6
"""Pairs of objectives that are drawn."""
WIDE = 20
"""From this ratio on, an axis is logarithmic."""


def write(result: SearchResult, there: SearchFolder, ground: Ground) -> None:
    """Write the specs of the winners, the page, and last of all the result; drop weights that nobody asks for."""
    for old in there.path.glob("winner-*.xc.yaml"):
        old.unlink()
    for place, trial in enumerate(result.winners, start=1):
        write_atomically(there.winner(place), winner_spec(result, place, trial, there, ground).encode())
    write_atomically(there.page, page(result).encode())
    kept = {trial.number for trial in result.winners}
    for trial in result.trials:
        if trial.number not in kept:
            RunFolder(there.trial(trial.number) / "run").weights.unlink(missing_ok=True)
    there.write_json(there.result, result.as_json())


def winner_spec(result: SearchResult, place: int, trial: Trial, there: SearchFolder, ground: Ground) -> str:
    """A spec that stands by itself: every default written out, its figures in `about`."""
    spec = ground.resolve(trial.chosen)
    figures = [f"{aim.name} {shown(aim, trial.figures[aim.name])}" for aim in result.aims]
    figures += [f"{name} {value:.4g}" for name, value in result.more.get(trial.number, {}).items()]
    about = f"Winner {place} of {len(result.winners)} of the search of {result.name}: {', '.join(figures)}."
    whole = attrs.evolve(
        spec, name=f"{result.name.replace('@', '-')}-winner-{place}", about=f"{about} {spec.about}".strip(),
        train=train_settings(spec, ground.registry.catalogue), expect=tuple(_holding(spec, ground)),
    )  # fmt: skip
    lines = [f"# {path}={value}" for path, value in trial.chosen.items()]
    data = "; train it on the same --data" if ground.data else ""
    head = f"# Trial {trial.number} of the search of {result.name}{data}. Chosen:\n"
    return head + "".join(f"{line}\n" for line in lines) + freeze(whole, there.path)


def _holding(spec: Spec, ground: Ground) -> Iterator[Expectation]:
    """What may be expected of a candidate: its size, and the words and growths of its base that it keeps."""
    facts = Facts(plan_model(spec, registry=ground.registry), spec)
    total = format_short(facts.parameters.total)
    yield Expectation("params", f"{total} ± 1%", None)
    for e in spec.expect:
        if not isinstance(e.value, Range) and not expect.counted([e], facts):
            yield e


# The terminal ------------------------------------------------------------------------------------------------------


def headings(result: SearchResult) -> list[str]:
    """Of the table of winners."""
    return ["", "trial", *(aim.name for aim in result.aims), *result.further, "chosen"]


def rows(result: SearchResult) -> list[list[str]]:
    """The winners, cell by cell."""
    found = []
    for place, trial in enumerate(result.winners, start=1):
        more = result.more.get(trial.number, {})
        found.append([
            str(place), str(trial.number), *(shown(aim, trial.figures[aim.name]) for aim in result.aims),
            *(f"{more[name]:.4g}" if name in more else "" for name in result.further),
            "\n".join(f"{path}={value}" for path, value in trial.chosen.items()),
        ])  # fmt: skip
    return found


def table(result: SearchResult) -> Table:
    """The winners, for the terminal."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    made = Table(title="winners: nothing beats them", title_justify="left", box=SIMPLE, pad_edge=False)
    *numbers, chosen = headings(result)
    for heading in numbers:
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column(chosen, overflow="fold")
    for row in rows(result):
        made.add_row(*(Text(cell) for cell in row))
    return made


def remarks(result: SearchResult) -> list[str]:
    """What to know of the table, one sentence each."""
    found = [result.summary()]
    if result.ended:
        found.append(f"ended early: {result.ended}")
    if any(aim.objective.key == "latency" for aim in result.aims):
        found.append(f"latency: median, {result.machine['threads']} thread, {result.machine['processor']}")
        if result.jobs > 1:
            found.append(f"{result.jobs} trials ran at once while it was measured, which makes it longer")
    return [*found, *result.remarks]


# The page ----------------------------------------------------------------------------------------------------------


def page(result: SearchResult) -> str:
    """One HTML file that needs nothing beside it: no script, no font, no picture from anywhere else."""
    import jinja2

    made = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE)
    return made.render(
        result=result, headings=headings(result), rows=list(zip(_colours(result), rows(result), strict=True)),
        plot=inline(figure(result)) if len(result.aims) > 1 and _measured(result) else "", remarks=remarks(result),
        trials=[_line(result, trial) for trial in result.trials], states=STATES,
        columns=["trial", "", *(aim.name for aim in result.aims), "time", "chosen, or why not"],
    )  # fmt: skip


def _line(result: SearchResult, trial: Trial) -> list[str]:
    figures = [shown(aim, trial.figures[aim.name]) if aim.name in trial.figures else "" for aim in result.aims]
    chosen = ", ".join(f"{path}={value}" for path, value in trial.chosen.items())
    took = milliseconds(trial.seconds) if trial.seconds < 1 else clock(trial.seconds)
    return [str(trial.number), trial.state, *figures, took, f"{chosen}{': ' + trial.reason if trial.reason else ''}"]


def _colours(result: SearchResult) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(result.winners))]


def _measured(result: SearchResult) -> list[Trial]:
    return [trial for trial in result.trials if trial.state == "done"]


def figure(result: SearchResult) -> Figure:
    """Every pair of objectives: all that was measured in grey, winners in colour with their places."""
    from matplotlib.figure import Figure

    pairs = list(islice(combinations(result.aims, 2), PANELS))
    columns = min(2, len(pairs))
    lines = -(-len(pairs) // columns)
    made = Figure(figsize=(5 * columns if columns > 1 else 7, 4 * lines), layout="constrained")
    panels = made.subplots(lines, columns, squeeze=False).flatten()
    for panel, (first, second) in zip(panels, pairs, strict=False):
        _panel(panel, result, second, first)
    for panel in panels[len(pairs) :]:
        panel.set_visible(False)
    return made


def _panel(panel: Axes, result: SearchResult, across: Aim, up: Aim) -> None:
    best = {trial.number for trial in result.winners}
    others = [trial for trial in _measured(result) if trial.number not in best]
    for inside, fill in ((True, "#9aa8af"), (False, "none")):
        some = [trial for trial in others if trial.counts is inside]
        panel.scatter(_column(some, across), _column(some, up), s=26, facecolors=fill, edgecolors="#9aa8af", zorder=2)
    places = list(zip(_colours(result), result.winners, strict=True))
    if len(result.aims) == 2:
        line = sorted((trial.figures[across.name], trial.figures[up.name]) for trial in result.winners)
        panel.plot(*zip(*line, strict=True), color="#c9d2d6", linewidth=1, zorder=1)
    for place, (colour, trial) in enumerate(places, start=1):
        at = (trial.figures[across.name], trial.figures[up.name])
        panel.scatter(*at, s=52, color=colour, zorder=3)
        panel.annotate(str(place), at, xytext=(6, 4), textcoords="offset points", fontsize=9)
    for axis, aim, scale in ((panel.xaxis, across, panel.set_xscale), (panel.yaxis, up, panel.set_yscale)):
        values = _column(_measured(result), aim)
        if min(values) > 0 and max(values) / min(values) > WIDE:
            scale("log", base=2 if aim.objective.key in ("state", "memory") else 10)
        axis.set_label_text(f"{aim.name.replace('_', ' ')}{' (more is better)' if aim.larger else ''}")
        axis.set_major_formatter(_formatter(aim))
        axis.set_minor_formatter(lambda value, _: "")
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


def _formatter(aim: Aim) -> Any:
    return lambda value, _: shown(aim, value) if value >= 0 else f"{value:g}"


def _column(trials: Sequence[Trial], aim: Aim) -> list[float]:
    return [trial.figures[aim.name] for trial in trials]


def rejected(result: SearchResult) -> Mapping[str, int]:
    """Why combinations were rejected or failed, most frequent first."""
    from collections import Counter

    wanted = [trial.reason for trial in result.trials if trial.state in ("rejected", "failed")]
    return dict(Counter(wanted).most_common(5))
