"""Like for like: several specs, one recipe, some seeds; and what may be concluded from it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.compare.candidates import Candidate, Recipe
from xcompose.spec.formats import format_length
from xcompose.train.folder import write_atomically
from xcompose.train.run import NEEDED, RunResult, require_extra, train

if TYPE_CHECKING:
    from rich.console import Console

    from xcompose.compose.addons import Given
    from xcompose.compose.model import Model
    from xcompose.registry import Registry
    from xcompose.train.before import Standing

WORK_AT, STATE_AT = 16 * 2**10, 64 * 2**10
LENGTHS = tuple(2**k for k in range(10, 19))
"""Where the report's curves are counted."""
AGREE = 0.01
"""Parameters that differ by more are not compared without a word."""
FEW_STEPS = 200
"""Below, a ranking says more about the first steps than about the models."""


@attrs.frozen(kw_only=True)
class Counted:
    """What a model costs, counted without running it; None where it does not take the length."""

    parameters: int
    work: int | None
    """FLOPs of a forward pass at `WORK_AT` tokens."""
    state: int | None
    """Bytes of the decode state at `STATE_AT` tokens."""
    activations: int | None
    """Bytes kept for the backward pass of one step of the recipe."""
    work_over_length: Mapping[int, int]
    state_over_length: Mapping[int, int]


@attrs.frozen(kw_only=True)
class Row:
    """One candidate: what it costs and how its runs went."""

    label: str
    counted: Counted
    runs: tuple[RunResult, ...]

    @property
    def quality(self) -> float:
        """The mean over the seeds of the metric on held-out data."""
        return statistics.fmean(self._values)

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds; None with one seed."""
        return statistics.stdev(self._values) if len(self.runs) > 1 else None

    @property
    def _values(self) -> list[float]:
        return [run.valid[run.metric] for run in self.runs]

    @property
    def speed(self) -> float:
        """Tokens a second in training: the middle one of the runs."""
        return statistics.median(run.tokens_per_second for run in self.runs)

    @property
    def after(self) -> Standing | None:
        """What the trained model is worth: that of the middle run by speed; None where no run was measured."""
        return _middle([run.after for run in self.runs])

    @property
    def before(self) -> Standing | None:
        """The same in the form that was trained, where add-ons gave it another one at the end."""
        return _middle([run.before for run in self.runs])

    @property
    def steps(self) -> int:
        """Steps of the shortest run."""
        return min(run.steps for run in self.runs)


def _middle(standings: Sequence[Standing | None]) -> Standing | None:
    measured = sorted((one for one in standings if one is not None), key=lambda one: one.tokens_per_second)
    if not measured:
        return None
    metrics = {name: statistics.fmean(one.metrics[name] for one in measured) for name in measured[0].metrics}
    return attrs.evolve(measured[len(measured) // 2], metrics=metrics)


@attrs.frozen(kw_only=True)
class Comparison:
    """The outcome, best candidate first."""

    recipe: str
    recipe_line: str
    metric: str
    higher_is_better: bool
    seeds: int
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    """What makes the candidates less alike than they should be."""
    remarks: tuple[str, ...]
    """What must not be concluded."""
    folder: Path
    changed: bool = False
    """Whether add-ons change some of the models: then size and speed of what was made of them are shown, too."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "recipe": self.recipe, "trained": self.recipe_line, "metric": self.metric, "seeds": self.seeds,
            "higher_is_better": self.higher_is_better, "warnings": list(self.warnings), "remarks": list(self.remarks),
            "folder": str(self.folder),
            "specs": [
                {
                    "name": row.label, "parameters": row.counted.parameters, "quality": row.quality,
                    "spread": row.spread, "tokens_per_second": row.speed, "steps": row.steps,
                    f"work_at_{format_length(WORK_AT)}": row.counted.work,
                    f"state_at_{format_length(STATE_AT)}": row.counted.state,
                    "activations": row.counted.activations,
                    "before": None if row.before is None else attrs.asdict(row.before),
                    "after": None if row.after is None else attrs.asdict(row.after),
                    "runs": [run.as_json() for run in row.runs],
                }
                for row in self.rows
            ],
        }  # fmt: skip


def compare(
    candidates: Sequence[Candidate],
    recipe: Recipe,
    folder: Path,
    *,
    seeds: int = 1,
    data: Path | None = None,
    registry: Registry | None = None,
    console: Console | None = None,
    accelerator: str = "auto",
    given: Given | None = None,
    base: Path | None = None,
) -> Comparison:
    """Train every candidate by the recipe, once for each seed, count what it costs, and rank.

    Everything is counted, and refused if need be, before the first run begins.

    Args:
        candidates: at least two.
        recipe: for all of them; their own `task` and `train` are not used, but for add-ons of training.
        folder: gets a run's folder for each candidate and seed, `compare.json` and `report.html`.
        seeds: how many; the seeds are 0, 1, 2 ...
        data: a file or folder of the user's.
        registry: where components are looked up; None is everything installed.
        console: where to show progress; None shows nothing.
        accelerator: as Lightning calls it.
        given: to the add-ons of training.
        base: weights that every candidate begins with.

    Raises:
        SpecError: a candidate cannot be built or trained by the recipe; a folder holds a run already.
        KeyboardInterrupt: Ctrl-C was pressed; the run in hand was saved.
    """
    require_extra((*NEEDED, "jinja2"))
    from xcompose.compare.verdict import remarks, unlike
    from xcompose.compose.build import plan_model
    from xcompose.train.prepare import task_of

    plans = [plan_model(c.spec, registry=registry) for c in candidates]
    tasks = [task_of(recipe.task, plan, registry) for plan in plans]
    counted = [count(plan, recipe) for plan in plans]
    warnings = unlike(candidates, counted, registry)
    rows = []
    for candidate, costs in zip(candidates, counted, strict=True):
        runs = _runs(
            candidate, recipe, folder, seeds, data, console, given, registry=registry, accelerator=accelerator,
            announce=not rows, base=base,
        )  # fmt: skip
        rows.append(Row(label=candidate.label, counted=costs, runs=tuple(runs)))
    better = tasks[0].higher_is_better
    ranked = tuple(sorted(rows, key=lambda row: -row.quality if better else row.quality))
    found = Comparison(
        recipe=recipe.name, recipe_line=recipe.describe(), metric=rows[0].runs[0].metric, higher_is_better=better,
        seeds=seeds, rows=ranked, warnings=warnings, remarks=remarks(ranked), folder=folder,
        changed=any(candidate.spec.addons for candidate in candidates),
    )  # fmt: skip
    _write(found, {c.label: plan for c, plan in zip(candidates, plans, strict=True)}, registry)
    return found


def _runs(
    candidate: Candidate,
    recipe: Recipe,
    folder: Path,
    seeds: int,
    data: Path | None,
    console: Console | None,
    given: Given | None,
    **how: Any,
) -> Iterator[RunResult]:
    """Train a candidate once for each seed."""
    for seed in range(seeds):
        if console is not None:
            console.print(f"{candidate.label}, seed {seed}", highlight=False, markup=False)
        place = folder / f"{file_name(candidate.label)}-seed{seed}"
        spec = recipe.applied_to(candidate.spec, seed)
        # A candidate without add-ons of training has nobody who would learn from a teacher.
        to_it = given if spec.train["addons"] else None
        run = train(spec, place, data=data, console=console, given=to_it, **how)
        if run.interrupted:
            raise KeyboardInterrupt
        yield run
        how["announce"] = False


def file_name(label: str) -> str:
    """A label as the name of a folder."""
    return "".join(c if c.isalnum() or c in "-_.=@+" else "-" for c in label)


def lengths_of(model: Model) -> tuple[int, ...]:
    """Where work and state are counted: at far lengths, or up to the longest where the model takes none of them."""
    longest = model.options.length
    if longest is None or longest >= LENGTHS[0]:
        return LENGTHS
    return tuple(n for halvings in (3, 2, 1, 0) if (n := longest >> halvings))


def count(model: Model, recipe: Recipe) -> Counted:
    """What a model on the meta device costs."""
    from xcompose.cost.count import counts

    def counted(n: int, activations: bool = False) -> Any:
        try:
            return counts(model, n, activations=activations)
        except ValueError:  # the model says that it does not take this length; the table shows a dash
            return None

    over = {n: cost for n in lengths_of(model) if (cost := counted(n)) is not None}
    at_work = over.get(WORK_AT)
    step = counted(recipe.train["length"], activations=True)
    return Counted(
        parameters=sum(p.numel() for p in model.parameters()), work=at_work.forward if at_work else None,
        state=over[STATE_AT].state if STATE_AT in over and model.decodes else None,
        activations=step.activations * recipe.train["batch"] if step else None,
        work_over_length={n: cost.forward for n, cost in over.items()},
        state_over_length={n: cost.state for n, cost in over.items()} if model.decodes else {},
    )  # fmt: skip


def _write(found: Comparison, plans: Mapping[str, Model], registry: Registry | None) -> None:
    import json

    from xcompose.compare.report import html

    text = json.dumps(found.as_json(), indent=2, ensure_ascii=False) + "\n"
    write_atomically(found.folder / "compare.json", text.encode())
    write_atomically(found.folder / "report.html", html(found, plans, registry).encode())
