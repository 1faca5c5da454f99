"""An add-on that says how a model's numbers are kept, put behind a run that was trained without it: a run of its own,
with what that cost and brought."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from xcompose.compose.addons import Listed
from xcompose.compose.build import extend_model, plan_model
from xcompose.compose.model import Model
from xcompose.compose.weights import save_weights
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.registry import Registry, load
from xcompose.spec import load as load_spec
from xcompose.spec import train_settings
from xcompose.spec.model import Spec
from xcompose.train.before import Standing, standing
from xcompose.train.folder import RunFolder, write_atomically
from xcompose.train.kept import kept
from xcompose.train.learner import Learner
from xcompose.train.prepare import prepare
from xcompose.train.run import load_run, missed_goals, versions

UNTRAINED = ("numbers", "storage")
"""Rungs whose add-ons need no training."""


class Changed(NamedTuple):
    """What became of a run."""

    folder: Path
    before: Standing
    after: Standing
    metric: str
    """The one that ranks models of this task."""
    unit: str
    """What tokens are."""
    remarks: tuple[str, ...]
    """What people should know of the model, one sentence each."""
    missed: tuple[Diagnostic, ...] = ()
    """Goals of the run that the changed model does not reach."""


def change_run(
    source: Path, addons: Sequence[str], folder: Path, *, data: Path | None = None, overwrite: bool = False,
    registry: Registry | None = None,
) -> Changed:  # fmt: skip
    """Let more add-ons change the model of a finished run, and write the result as a run of its own.

    Args:
        source: the folder of the run; it stays as it is.
        addons: as a spec writes them.
        folder: of the new run.
        data: what to measure on, in place of the data that the run was trained on.
        overwrite: write over a run that is there.
        registry: where components are looked up; None is everything installed.

    Raises:
        SpecError: there is no finished run, an add-on does not fit behind it or has to be trained, or the folder cannot
            be used.
    """
    known, run = registry or load(), RunFolder(folder)
    model, spec = load_run(source, registry=known)
    if folder.resolve() == source.resolve():
        refused = Diagnostic("XC087", f"'{folder}' is the run that is to be changed", fixes=("another --run",))
        raise SpecError(attrs.evolve(refused, stage="train"))
    wider = _wider(spec, source, addons, known)
    _refuse_what_trains(plan_model(wider, registry=known).addons[len(spec.addons) :])
    began = json.loads(RunFolder(source).facts.read_text())
    learner = _learner(spec, model, data or (Path(began["data"]) if began["data"] else None), known)
    before = standing(learner, learner.evaluate())
    extend_model(model, wider.addons[len(spec.addons) :], registry=known)
    after = standing(learner, learner.evaluate())
    run.start(overwrite=overwrite)
    _write(run, RunFolder(source), wider, known, began)
    save_weights(model, run.weights)
    task = learner.work.task
    missed = missed_goals(learner.work.settings.goal, after.metrics)
    forms = {"before": attrs.asdict(before), "after": attrs.asdict(after), "valid": dict(after.metrics)}
    # The files of adapters and the frozen base stay with the old run.
    here = {"folder": str(folder), "missed": [d.message for d in missed], "adapters": [], "base": None}
    run.write_json(run.result, {**json.loads(RunFolder(source).result.read_text()), **forms, **here})
    remarks = tuple(line for listed in model.addons for line in listed.addon.describe(model))
    return Changed(folder, before, after, task.metric, task.unit, remarks, missed)


def _wider(spec: Spec, source: Path, addons: Sequence[str], registry: Registry) -> Spec:
    """The spec with more add-ons at the end of its list."""
    only = f"addons={json.dumps(list(addons))}"
    carrier = load_spec(str(RunFolder(source).spec), (only,), catalogue=registry.catalogue, drifted="warning")
    return attrs.evolve(spec, addons=(*spec.addons, *carrier.addons))


def _learner(spec: Spec, model: Model, data: Path | None, registry: Registry) -> Learner:
    """What evaluates the model as the run did; nothing is trained."""
    plain = attrs.evolve(spec, train={**spec.train, "addons": ()})
    return Learner(attrs.evolve(prepare(plain, data, registry).work, model=model))


def _refuse_what_trains(added: Sequence[Listed]) -> None:
    for listed in added:
        if listed.addon.rung not in UNTRAINED or listed.addon.trains:
            raise SpecError(
                Diagnostic(
                    "XC034", f"'{listed.name}' has to be trained", span=listed.node.span, path=listed.node.path,
                    label="here a run is changed that is trained already", stage="train",
                    fixes=("list it in a spec, and begin with the run: xcompose train SPEC --base RUN",),
                )
            )  # fmt: skip


def _write(run: RunFolder, source: RunFolder, spec: Spec, registry: Registry, began: dict[str, Any]) -> None:
    texts = kept(spec, train_settings(spec, registry.catalogue), registry)
    for name, text in {**texts.others, run.spec.name: texts.text}.items():
        write_atomically(run.path / name, text.encode())
    run.write_json(run.plugins, versions(registry))
    run.write_json(run.facts, {**began, "from": str(source.path.resolve())})
    for old, new in zip((source.metrics, *source.plots), (run.metrics, *run.plots), strict=True):
        if old.exists():
            shutil.copyfile(old, new)
