"""From a spec to what a run works with: the model, the task with its data, and how to train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import attrs

from xcompose.compose.addons import Given, Lesson, TrainingAddon
from xcompose.compose.build import build_model
from xcompose.compose.model import Model
from xcompose.compose.objectives import part_builder
from xcompose.compose.tasks import Task
from xcompose.diagnostics import Diagnostic, PartError, SpecError
from xcompose.registry import Registry, load
from xcompose.spec import load as load_spec
from xcompose.spec import train_settings
from xcompose.spec.model import Node, Spec
from xcompose.train.kept import Kept, kept
from xcompose.train.learner import Work
from xcompose.train.settings import Settings
from xcompose.train.trial import located, tried


@attrs.frozen
class Prepared:
    """What a run works with."""

    work: Work
    kept: Kept
    """The spec with every default, as text, and those that it names."""
    registry: Registry

    @property
    def frozen(self) -> str:
        """The spec with every default, as text."""
        return self.kept.text


def prepare(
    spec: Spec, data: Path | None, registry: Registry | None = None, *, given: Given | None = None,
    base: Path | None = None, adapters: Sequence[Path] = (),
) -> Prepared:  # fmt: skip
    """Build the model and the task of a spec, and read the data.

    Args:
        spec: with a model and a task.
        data: a file or folder of the user's, in place of the task's named data.
        registry: where components are looked up; None is everything installed.
        given: to the add-ons of training.
        base: weights to begin with, as `build_model` takes them.
        adapters: files of adapters to begin with, as `build_model` takes them.

    Raises:
        SpecError: the spec has no model or no task, they do not fit each other, or the data cannot be used.
    """
    registry = registry or load()
    model_node, task_node = _both(spec)
    how = train_settings(spec, registry.catalogue)
    settings = Settings.of(how, model_node.options.get("length"))
    if settings.unit == "trials":
        raise SpecError(
            Diagnostic(
                "XC030", "a budget of trials is for a search, not for training", path="train.budget", spec=spec.name,
                fixes=("a number of steps, epochs or tokens, or a time: 2min",), stage="train",
            )
        )  # fmt: skip
    model = build_model(spec, seed=settings.seed, registry=registry, training=True, base=base, adapters=adapters)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise SpecError(
            Diagnostic(
                "XC030", "nothing in this model is trained", path="addons", spec=spec.name, stage="train",
                label="its base is frozen, and no adapter both acts and learns",
                fixes=("active=true and learns=true in one of them",),
            )
        )  # fmt: skip
    for stack in model.stacks().values():
        stack.recompute = settings.recompute
    part = part_builder(model, registry, spec.name)
    task: Task = part(task_node)
    lesson = Lesson(model, task, given or Given(), spec=partial(_other_model, spec, registry))
    addons: list[TrainingAddon] = []
    for node in how["addons"]:
        addons.append(_begun(node, part, lesson, registry, spec.name, addons))
    try:
        splits = task.splits(data, settings.length, settings.seed)
    except PartError as error:
        raise SpecError(located(error, task_node, spec.name)) from error
    work = Work(
        model=model, task=task, splits=splits, optimizer=part(how["optimizer"]),
        schedule=part(how["schedule"]), settings=settings, addons=tuple(addons),
    )  # fmt: skip
    _refuse_unknown_goals(settings, tried(work, task_node, how["addons"], spec.name))
    return Prepared(work, kept(spec, how, registry), registry)


def _begun(
    node: Node, part: Callable[[Node], Any], lesson: Lesson, registry: Registry, spec: str,
    before: Sequence[TrainingAddon],
) -> TrainingAddon:  # fmt: skip
    if registry.component(node.kind, node.name).facts.get("stage", "model") != "train":
        error = PartError(f"'{node.name}' changes the model, not its training", fixes=("move it to addons",))
        raise SpecError(located(error, node, spec))
    addon: TrainingAddon = part(node)
    first = next((place for place, other in enumerate(before) if type(other) is type(addon)), None)
    if first is not None and addon.once:
        error = PartError(
            f"'{node.name}' is listed twice, first at train.addons.{first}", code="XC034",
            label=addon.once, fixes=("keep one of them",),
        )  # fmt: skip
        raise SpecError(located(error, node, spec))
    try:
        addon.begin(lesson)
    except PartError as error:
        raise SpecError(located(error, node, spec)) from error
    return addon


def _other_model(spec: Spec, registry: Registry, reference: str) -> Model:
    """The model of a spec that an option of this one names, relative to this one's file."""
    beside = Path(spec.file).parent if spec.file else Path()
    return build_model(load_spec(str(beside / reference), catalogue=registry.catalogue), registry=registry)


def task_of(node: Node, model: Model, registry: Registry | None = None) -> Task:
    """The task that a model is to learn.

    Raises:
        SpecError: the two do not fit each other.
    """
    return part_builder(model, registry or load())(node)


def _both(spec: Spec) -> tuple[Node, Node]:
    if spec.model is None:
        _refuse(spec, "no model", "this is a recipe: train a spec with it, --recipe FILE")
    if spec.task is None:
        _refuse(spec, "no task", "add one, for example: task: lm(data=stdlib); or --recipe FILE")
    return spec.model, spec.task


def _refuse(spec: Spec, what: str, fix: str) -> NoReturn:
    raise SpecError(
        Diagnostic("XC030", f"'{spec.name}' has {what} to train", fixes=(fix,), spec=spec.name, stage="train")
    )


def _refuse_unknown_goals(settings: Settings, metrics: list[str]) -> None:
    there = ", ".join(metrics)
    findings = [
        Diagnostic(
            "XC060", f"the task has no metric '{goal.key}'", span=goal.span, path=goal.path, stage="train",
            fixes=(f"it has: {there}",),
        )
        for goal in settings.goal
        if goal.key not in metrics
    ]  # fmt: skip
    if findings:
        raise SpecError(findings)
