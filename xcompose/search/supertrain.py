"""Trains a super-network, once in a search, and measures combinations with the weights that they inherit from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor

from xcompose.diagnostics import Diagnostic, PartError, SpecError
from xcompose.search.ground import Ground
from xcompose.search.supernet import Chosen, Sampled, Space, SuperModel, survey
from xcompose.train.folder import RunFolder, write_atomically
from xcompose.train.run import digest, fit, require_extra, versions

if TYPE_CHECKING:
    from xcompose.spec.model import Spec
    from xcompose.train.learner import Learner, Work

ELSEWHERE = ("train", "task", "search", "expect")
"""Sections of a spec that choose no model."""


@attrs.frozen(eq=False)
class TrainedSuper:
    """A trained super-network, and what it takes to measure a part of it."""

    model: SuperModel
    work: Work
    """Of the base: its task and its data."""
    spec: Spec
    valid: Mapping[str, float]
    """What the largest combination reached with the weights it inherits, and the smallest: `smallest_loss`."""

    def measured(self, spec: Spec, chosen: Chosen) -> Mapping[str, float]:
        """The metrics of a combination on held-out data, with the weights that it inherits.

        Args:
            spec: resolved with these choices.
            chosen: a value for each choice.

        Raises:
            SpecError: it is not a part of the super-network, or learns another task.
        """
        if spec.task != self.spec.task:
            error = PartError(
                "this candidate learns another task than the super-network",
                label="its weights know nothing of it", fixes=("a task that depends on no choice",),
            )  # fmt: skip
            raise _about(error, spec)
        try:
            with self.model.eval().using(chosen) as one:
                return _measurer()(attrs.evolve(self.work, model=one)).evaluate()
        except PartError as error:
            raise _about(error, spec) from error


def trained_super(ground: Ground, steps: int) -> TrainedSuper:
    """The super-network of a search: trained for so many steps, or read where that is done, or gone on with.

    Args:
        ground: its `folder` keeps the run.
        steps: of training; all else is as the base spec's `train` says. Its add-ons of training are left out.

    Raises:
        SpecError: the choices are none that weights can be shared among; the folder holds that of another search; or
            what `xcompose train` refuses.
        KeyboardInterrupt: the user stopped it; what is done is kept.
    """
    require_extra()
    from xcompose.compose.weights import load_weights
    from xcompose.train.prepare import prepare

    spec = attrs.evolve(ground.spec, train={**ground.spec.train, "addons": ()}) if ground.spec.train else ground.spec
    prepared = prepare(spec, ground.data, ground.registry)
    seed = prepared.work.settings.seed
    try:
        space = _space(ground)
        ground.show("looks at the choices", 0.0)
        model = SuperModel(space, survey(space), seed=seed, draws=ground.seed)
    except PartError as error:
        raise _about(error, ground.spec) from error
    settings = attrs.evolve(prepared.work.settings, amount=steps, unit="steps", goal=())
    work = attrs.evolve(prepared.work, model=model, task=Sampled(prepared.work.task), settings=settings, addons=())
    facts = {
        "data": str(ground.data.resolve()) if ground.data else None, "digest": digest(work), "steps": steps,
        "seed": ground.seed, "choices": {path: list(values) for path, values in ground.choices.items()},
    }  # fmt: skip
    run = RunFolder(ground.folder / "super")
    _open(run, facts, prepared.frozen, versions(prepared.registry))
    if not run.result.exists():
        try:
            told = Told(ground.show, work.task.metric)
            result = fit(ground.spec.name, work, run, told, accelerator=ground.accelerator)
        except PartError as error:
            raise _about(error, ground.spec) from error
        if result.interrupted:
            raise KeyboardInterrupt
    # What is measured is what lies in the file, in this process and in any other.
    load_weights(model, run.weights)
    model.to(_place(ground.accelerator)).eval()
    valid = json.loads(run.result.read_text())["valid"]
    return TrainedSuper(model, prepared.work, ground.spec, valid)


def _space(ground: Ground) -> Space:
    for path in ground.choices:
        if path.partition(".")[0] in ELSEWHERE:
            raise PartError(
                f"a super-network has no choice '{path}'",
                label="its models differ in what they are, not in what they learn or how",
                fixes=("leave it out of search.choices", "search without a super-network"),
            )  # fmt: skip
    return Space(ground.choices, ground.resolve, ground.registry)


def _open(run: RunFolder, facts: Mapping[str, Any], frozen: str, made_with: Mapping[str, Any]) -> None:
    """Begin a run, or make sure that the one that is there is this one."""
    if not run.facts.exists():
        run.start(overwrite=False)
        write_atomically(run.spec, frozen.encode())
        run.write_json(run.plugins, made_with)
        run.write_json(run.facts, facts)
        return
    there = json.loads(run.facts.read_text())
    changed = [what for what in ("choices", "steps", "seed", "digest") if there.get(what) != facts[what]]
    changed += ["spec"] if run.spec.read_text() != frozen else []
    if changed:
        what = " and the ".join("data" if one == "digest" else one for one in changed)
        raise SpecError(
            Diagnostic(
                "XC087", f"'{run.path}' holds the super-network of another search: the {what} changed",
                fixes=("go on with what it began with, or search in another folder",), stage="search",
            )
        )  # fmt: skip
    if not run.result.exists():
        run.reopen()


def _place(accelerator: str) -> torch.device:
    """Where the trainer works with such a word."""
    there = None if accelerator == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    return there or torch.device("cpu")


def _measurer() -> type[Learner]:
    from xcompose.train.learner import Learner

    class Measurer(Learner):
        """Looks at held-out data with a model whose weights are lent, where they are."""

        def on_device(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
            place = next(self.model.parameters()).device
            return {name: value.to(place) for name, value in batch.items()}

    return Measurer


class Told:
    """Tells how training goes on in the words of a search.

    Args:
        show: text, and how much is done.
        metric: what the numbers are.
    """

    def __init__(self, show: Callable[[str, float], None], metric: str):
        self.show, self.metric = show, metric.replace("_", " ")

    def start(self, share: float) -> None:
        self.show("trains the super-network", share)

    def step(self, step: int, share: float, train: float, valid: float | None, speed: float, *, fresh: bool) -> None:
        largest = "" if valid is None else f", its largest model {valid:.2f}"
        self.show(f"trains the super-network: step {step}, {train:.2f} {self.metric}{largest}", share)

    def stop(self) -> None:
        return


def _about(error: PartError, spec: Spec) -> SpecError:
    """What is wrong with a super-network, said of the spec that is searched."""
    node = spec.search.get("strategy")
    return SpecError(
        Diagnostic(
            error.code, error.message, label=error.label, fixes=error.fixes, path="search.strategy", stage="search",
            spec=spec.name, span=None if node is None else node.span,
        )
    )  # fmt: skip
