"""One training run: from a spec to a folder with weights, figures and everything needed to go on or to repeat it."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import platform
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.train.beside import changed_base, hash_of_base, kept_base, write_adapters
from xcompose.train.folder import RunFolder, read_metrics, write_atomically
from xcompose.train.progress import Bar, Display, Judge, Silent
from xcompose.train.same import Start, begun, given_again, refuse_another

if TYPE_CHECKING:
    from rich.console import Console

    from xcompose.compose.addons import Given
    from xcompose.compose.model import Model
    from xcompose.registry import Registry
    from xcompose.spec.model import Expectation, Spec
    from xcompose.train.before import Standing
    from xcompose.train.learner import Learner, Work

NEEDED = ("lightning", "torchdata", "matplotlib")
DIGEST_ITEMS = 32
"""So many items of the training data stand for all of it when a run goes on."""


NOT_PLAIN = ("folder", "missed", "reads_source", "generates")


@attrs.frozen(kw_only=True)
class RunResult:
    """How a run ended."""

    name: str
    folder: Path
    steps: int
    tokens: int
    seconds: float
    """Training time, evaluations left out."""
    parameters: int
    tokens_per_second: float
    metric: str
    """The metric that ranks models of this task."""
    unit: str = "bytes"
    """What its tokens are: bytes, pixels."""
    reads_source: bool = False
    """Whether the model reads a second sequence."""
    generates: bool = False
    """Whether tokens can be drawn from the model, one after the other."""
    valid: Mapping[str, float]
    """Loss and metrics on held-out data at the end; of an interrupted run, the newest there are, if any."""
    train: Mapping[str, float]
    """Loss and metrics of the last step."""
    before: Standing | None = None
    """The model in the form that was trained, where add-ons had something left to do behind it."""
    after: Standing | None = None
    """The model as it is written; None where a run was stopped before its end."""
    base: Mapping[str, str] | None = None
    """Where a base was frozen: its hash `before` training and `after`."""
    adapters: Sequence[str] = attrs.field(factory=list)
    """The names of the adapters that were written to files of their own."""
    interrupted: bool = False
    missed: tuple[Diagnostic, ...] = ()
    """Goals that were not reached."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        found = attrs.asdict(self, filter=lambda field, _: field.name not in NOT_PLAIN)
        return found | {"folder": str(self.folder), "missed": [d.message for d in self.missed]}


def train(
    spec: Spec,
    folder: Path,
    *,
    data: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    registry: Registry | None = None,
    console: Console | None = None,
    announce: bool = True,
    accelerator: str = "auto",
    precision: str = "32-true",
    given: Given | None = None,
    base: Path | None = None,
    adapters: Sequence[Path] = (),
    display: Display | None = None,
    judge: Judge | None = None,
) -> RunResult:
    """Build the model of a spec and train it as the spec says.

    Args:
        spec: with a model and a task.
        folder: of the run; made if need be.
        data: a file or folder of the user's, in place of the task's named data.
        resume: go on with an unfinished run of this spec, exactly where its last checkpoint was made. With a budget of
            steps, epochs or tokens the losses are those of a run that was never stopped.
        overwrite: start afresh where there is a run.
        registry: where components are looked up; None is everything installed.
        console: where to show progress; None shows nothing.
        announce: whether to say there what the data is.
        accelerator: as Lightning calls it: `auto`, `cpu`, `gpu`.
        precision: as Lightning calls it: `32-true`, `bf16-mixed`.
        given: to the add-ons of training: the weights of a teacher.
        base: weights to begin with, those of the model without what is stored or trained beside them.
        adapters: files of adapters of the model to begin with, read behind the base.
        display: shows progress in place of the console's bar.
        judge: looks at the run on its way, and may end it; then it counts as interrupted.

    Raises:
        SpecError: the spec, the data, the folder or the machine does not allow it; or training diverged.
    """
    require_extra()
    from xcompose.train.prepare import prepare

    run, start = RunFolder(folder), Start(base, tuple(adapters))
    if resume:
        facts = run.reopen()
        data = Path(facts["data"]) if data is None and facts["data"] else data
        given, start = given_again(given, facts), start.again(facts)
    prepared = prepare(spec, data, registry, given=given, base=start.base, adapters=start.adapters)
    if resume:
        refuse_another(run, facts, prepared, digest(prepared.work), start)
    else:
        run.start(overwrite=overwrite)
        for name, text in {**prepared.kept.others, run.spec.name: prepared.kept.text}.items():
            write_atomically(run.path / name, text.encode())
        run.write_json(run.plugins, versions(prepared.registry))
        facts = begun(data, digest(prepared.work), given, prepared) | start.facts()
        run.write_json(run.facts, facts | hash_of_base(prepared.work.model))
    task = prepared.work.task
    if display is None:
        display = Bar(console, task.metric, task.unit) if console is not None else Silent()
    if console is not None and announce:
        for line in (*task.describe(), *_said(prepared.work)):
            console.print(line, highlight=False, markup=False)
    return fit(spec.name, prepared.work, run, display, accelerator=accelerator, precision=precision, judge=judge)


def _said(work: Work) -> list[str]:
    """What add-ons want people to know."""
    of_model = [line for listed in work.model.addons for line in listed.addon.describe(work.model)]  # type: ignore[union-attr]
    return [*of_model, *[line for addon in work.addons for line in addon.describe()]]


def require_extra(needed: Iterable[str] = NEEDED) -> None:
    """Refuse to go on without packages of the extra `train`.

    Raises:
        SpecError: XC095, naming what is missing.
    """
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        fix = "pip install 'xcompose[train]'"
        raise SpecError(Diagnostic("XC095", f"training needs {', '.join(missing)}", fixes=(fix,), stage="train"))


def digest(work: Work) -> str:
    """A fingerprint of the training data: its size and a few items spread over it."""
    from xcompose.train.batches import evenly

    seen = hashlib.sha256(str(len(work.splits.train)).encode())  # type: ignore[arg-type]
    some = evenly(work.splits.train, DIGEST_ITEMS)
    for index in range(len(some)):  # type: ignore[arg-type]
        for name, value in sorted(some[index].items()):
            seen.update(name.encode() + value.numpy().tobytes())
    return seen.hexdigest()[:16]


def versions(registry: Registry) -> dict[str, Any]:
    """What this run was made with: Python, torch, and every distribution that brought plugins."""
    import torch

    found = {plugin.found.distribution: plugin.found.version for plugin in registry.plugins if not plugin.error}
    return {"python": platform.python_version(), "torch": torch.__version__, "plugins": found}


def fit(
    name: str, work: Work, run: RunFolder, display: Display, *, accelerator: str = "auto", precision: str = "32-true",
    judge: Judge | None = None,
) -> RunResult:  # fmt: skip
    """Train until the budget is used up or Ctrl-C is pressed, from the run's checkpoint if it has one."""
    from xcompose.compose.build import finish_model
    from xcompose.train.before import standing
    from xcompose.train.learner import Learner
    from xcompose.train.watch import Watch, interruptible

    learner = Learner(work)
    stop = threading.Event()
    watch = Watch(run, display, stop, judge)
    begin = run.checkpoint if run.checkpoint.exists() else None
    with _alone(), interruptible(stop):
        try:
            trainer = _trainer(work, watch, accelerator, precision)
            trainer.fit(learner, ckpt_path=begin, weights_only=True)
            over = learner.budget.done(trainer.global_step, learner.seconds)
            if over:
                watch.evaluate(learner, trainer.global_step)
        finally:
            display.stop()
    before, after, valid = None, None, watch.valid
    kept = kept_base(work.model, run) if over else None
    adapters = write_adapters(work.model, run) if over else []
    if over and getattr(work.model, "unfinished", ()):
        before = standing(learner, valid)
        finish_model(work.model)  # type: ignore[arg-type]
        valid = learner.evaluate()
    if over:
        after = standing(learner, valid)
    result = _result(name, learner, run, trainer.global_step, valid, interrupted=not over)
    result = attrs.evolve(
        result, before=before, after=after, base=kept, adapters=adapters, missed=(*result.missed, *changed_base(kept))
    )
    if over:
        finish(run, work, result)
    return result


def _trainer(work: Work, watch: Any, accelerator: str, precision: str) -> Any:
    import random

    import torch
    from lightning.pytorch import Trainer

    from xcompose.train.watch import AtomicIO

    torch.manual_seed(work.settings.seed)
    random.seed(work.settings.seed)
    return Trainer(
        accelerator=accelerator, devices=1, precision=precision, plugins=[AtomicIO()], callbacks=[watch],  # type: ignore[arg-type]
        max_steps=-1, max_epochs=-1, gradient_clip_val=work.settings.clip, limit_val_batches=0, num_sanity_val_steps=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, deterministic="warn",
    )  # fmt: skip


@contextmanager
def _alone() -> Iterator[None]:
    """Silence what Lightning says about its own defaults, and undo what it sets for the whole process."""
    import torch

    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    memory: Any = torch.utils.deterministic
    repeatable, filled = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    memory.fill_uninitialized_memory = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", module="torchdata")
            yield
    finally:
        torch.use_deterministic_algorithms(repeatable)
        memory.fill_uninitialized_memory = filled
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _result(
    name: str, learner: Learner, run: RunFolder, step: int, valid: Mapping[str, float], *, interrupted: bool
) -> RunResult:
    from xcompose.compose.model import Model
    from xcompose.decode.generate import refusal

    work = learner.work
    return RunResult(
        name=name, folder=run.path, steps=step, tokens=step * work.settings.batch * work.settings.length,
        seconds=round(learner.seconds, 3), parameters=sum(p.numel() for p in work.model.parameters()),
        tokens_per_second=learner.tokens_per_second(), metric=work.task.metric, unit=work.task.unit,
        valid=dict(valid), reads_source=getattr(work.model, "reads_source", False),
        generates=isinstance(work.model, Model) and not refusal(work.model),
        train={k: v for k, v in learner.last.items() if k != "lr"}, interrupted=interrupted,
        missed=() if interrupted else missed_goals(work.settings.goal, valid),
    )  # fmt: skip


def missed_goals(goals: Iterable[Expectation], valid: Mapping[str, float]) -> tuple[Diagnostic, ...]:
    """A finding for each goal that the metrics at the end do not reach."""
    return tuple(
        Diagnostic(
            "XC088", f"expected {goal.key} {goal.text}, found {valid[goal.key]:.4g}", span=goal.span, path=goal.path,
            fixes=("a larger train.budget, or a goal that this model can reach",),
            stage="train",
        )
        for goal in goals
        if not goal.value.holds(valid[goal.key])
    )  # fmt: skip


def finish(run: RunFolder, work: Work, result: RunResult) -> None:
    """Write the weights, the pictures, and last of all the result, which marks the run as finished."""
    from xcompose.compose.weights import save_weights
    from xcompose.train.plot import loss_figure, picture

    save_weights(work.model, run.weights)
    figure = loss_figure(read_metrics(run.metrics), result.metric, result.name)
    for path in run.plots:
        write_atomically(path, picture(figure, path.suffix[1:]))
    run.write_json(run.result, result.as_json())


def load_run(folder: Path, *, registry: Registry | None = None) -> tuple[Model, Spec]:
    """The trained model of a run, ready to use, and the spec it was built from.

    Raises:
        SpecError: no finished run is there (XC087), or its spec does not load.
    """
    from xcompose.compose.build import build_model
    from xcompose.compose.weights import load_weights

    run = RunFolder(folder)
    if not run.weights.exists():
        why = "is not finished: it has no weights yet" if run.facts.exists() else "is not the folder of a run"
        fix = "go on with it: xcompose train --resume" if run.facts.exists() else "xcompose train SPEC makes one"
        raise SpecError(Diagnostic("XC087", f"'{folder}' {why}", fixes=(fix,), stage="train"))
    spec = load_spec(run.spec, registry)
    model = build_model(spec, registry=registry)
    load_weights(model, run.weights)
    return model.eval(), spec


def weights_in(place: Path | None) -> Path | None:
    """The file of weights that a path means: itself, or that of a run's folder.

    Raises:
        SpecError: the folder holds none (XC087).
    """
    if place is None or not place.is_dir():
        return place
    weights = RunFolder(place).weights
    if not weights.exists():
        raise SpecError(
            Diagnostic("XC087", f"'{place}' holds no finished run", fixes=("name a file of weights",), stage="train")
        )
    return weights


def load_spec(path: Path, registry: Registry | None = None) -> Spec:
    """The spec that a run keeps, with everything installed or what `registry` has.

    Python warns where it does not mean what it meant; whether its weights still fit is seen when they are loaded.
    """
    from xcompose import registry as installed
    from xcompose.spec import load

    return load(str(path), catalogue=(registry or installed.load()).catalogue, drifted="warning")
