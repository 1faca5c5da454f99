"""What add-ons owe, and the grammar of add-ons: which of them may follow which.

A model's add-ons stand on rungs, and a list of them goes up: first which weights there are and who uses them, then in
which numbers the model works, then how its weights are stored, at last what is trained beside them. What stands on a
higher rung sees the work of the lower ones and never the other way round; so a list in another order would change
weights that something else holds already, and is refused.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, NamedTuple

import attrs
from torch import Tensor, nn

from xcompose.diagnostics import PartError

Rung = Literal["weights", "numbers", "storage", "adapters"]
RUNGS: dict[str, str] = {
    "weights": "which weights there are, and which layers use them",
    "numbers": "the numbers that the model works in",
    "storage": "how weights are stored",
    "adapters": "what is trained beside a frozen base",
}
"""Every rung of the ladder, from the lowest, and what stands on it."""

OF_THE_BASE = ("weights", "numbers")
"""Rungs whose add-ons belong to the base: weights that are given as a base are those of a model with them alone."""

ONCE = ("numbers", "storage")
"""Rungs with room for one add-on."""

LATE: dict[tuple[str, str], str] = {
    ("numbers", "weights"): "layers would be joined whose weights have been rounded apart",
    ("storage", "weights"): "stored weights cannot be joined any more",
    ("storage", "numbers"): "weights that are stored in fewer bits cannot be cast",
    ("adapters", "weights"): "adapters that stand in one layer would be lost or doubled where layers are joined",
    ("adapters", "numbers"): "adapters would be rounded with their base",
    ("adapters", "storage"): "the weights of the base lie inside the adapters by then",
}
"""By the rung of an add-on and that of a later one: why the later one comes too late."""

Loss = tuple[Tensor, Mapping[str, Tensor]]
"""A loss to learn from, and metrics by name; what `Task.loss` returns."""


class Addon(ABC):
    """A change of the built model.

    A model that is trained may need another form than the one that the spec describes: weights that will be stored in
    few bits are learnt in many. Then `begin` makes the form that is trained, and `finish` what the spec says of it.
    """

    rung: ClassVar[Rung] = "adapters"
    """Where it stands in the order of add-ons."""
    freezes: bool = False
    """Whether it leaves only its own weights to be trained."""
    trains: bool = False
    """Whether it is of no use where the base is frozen."""

    @property
    def finishes(self) -> bool:
        """Whether the form that is trained is another one than that of `apply`."""
        return type(self).finish is not Addon.finish

    @abstractmethod
    def apply(self, model: nn.Module) -> None:
        """Change the built model in place into what the spec says.

        Raises:
            PartError: the model has nothing to change, or is changed already in a way that does not fit.
        """

    def begin(self, model: nn.Module) -> None:
        """Change the built model in place into the form that is trained. The default is the form of `apply`."""
        self.apply(model)

    def finish(self, model: nn.Module) -> None:  # noqa: B027 (not abstract: most have nothing left to do)
        """From the form that was trained to that of `apply`, in place."""

    def describe(self, model: nn.Module) -> Sequence[str]:
        """What people should know of the changed model, one sentence each: what was left as it was, and why."""
        return ()


class Given(NamedTuple):
    """What the command line gives to add-ons of training; a spec names no weights."""

    teacher: Path | None = None
    """The weights of a teacher."""


@attrs.frozen(eq=False)
class Lesson:
    """What an add-on of training finds when a run begins."""

    model: Any
    """In the form that is trained, where it is trained."""
    task: Any
    given: Given
    spec: Callable[[str], Any]
    """Resolves another spec that an option names, and builds its model: `FILE@VARIANT` to a `Model`."""


class TrainingAddon(nn.Module, ABC):
    """A change of training only. What it learns itself (its parameters) is trained with the model and kept in
    checkpoints; the trained model knows nothing of it. Component facts: `stage="train"`."""

    once: ClassVar[str] = ""
    """Why a list has room for one of them only; empty where it has room for several."""

    @abstractmethod
    def begin(self, lesson: Lesson) -> None:
        """Called once, before anything is trained.

        Raises:
            PartError: the model or the task does not fit.
        """

    def facts(self) -> Mapping[str, str]:
        """What a run depends on beside its spec and its data, by name, once it has begun: a run goes on with the same
        facts only."""
        return {}

    def loss(self, batch: Mapping[str, Tensor], compute: Callable[[], Loss]) -> Loss:
        """The loss of one step.

        Args:
            batch: what the task reads.
            compute: gives the loss of the task, and of the add-ons listed before this one. Call it once.

        Raises:
            PartError: models or data do not fit. It is asked for one item, without gradients, before a run begins.
        """
        return compute()

    def after_step(self) -> None:
        """Called after each optimizer step, without gradients."""

    def describe(self) -> Sequence[str]:
        """What people should know when a run begins, one sentence each."""
        return ()


@attrs.frozen(eq=False)
class Listed:
    """An add-on in the list of a spec."""

    name: str
    """What the spec calls it."""
    addon: Addon
    node: Any
    """Where it is written."""


def out_of_order(before: Sequence[Listed], new: Listed) -> PartError | None:
    """Why an add-on may not follow those listed before it; None where it may."""
    for place, old in enumerate(before):
        first, then = old.addon.rung, new.addon.rung
        ours, theirs = f"'{new.name}'", f"'{old.name}'"
        if new.name == old.name:
            ours, theirs = f"{ours} (addons.{len(before)})", f"{theirs} (addons.{place})"
        if first == then and first in ONCE:
            return PartError(
                f"{ours} comes after {theirs}, and both say {RUNGS[first]}", code="XC034",
                fixes=(f"keep one of {theirs} and {ours}",),
            )  # fmt: skip
        if (first, then) in LATE:
            return PartError(
                f"{ours} comes after {theirs}", label=LATE[first, then], code="XC034",
                fixes=(f"list {ours} before {theirs}",),
            )  # fmt: skip
        if old.addon.trains and new.addon.freezes:
            return PartError(
                f"{ours} comes after {theirs}", code="XC034",
                label=f"{theirs} is there to train the base, and {ours} freezes it",
                fixes=(f"keep one of {theirs} and {ours}",),
            )  # fmt: skip
    return None


def extra(module: str, needs: str) -> ModuleType:
    """A package of an extra, imported where it is first used.

    Args:
        module: its name.
        needs: the extra that installs it.

    Raises:
        PartError: XC095, it is not installed.
    """
    top = module.partition(".")[0]
    if importlib.util.find_spec(top) is None:
        raise PartError(f"this needs {top}", code="XC095", fixes=(f"pip install 'xcompose[{needs}]'",))
    with _quietly():
        return importlib.import_module(module)


@contextmanager
def _quietly() -> Iterator[None]:
    """Packages warn of kernels for other machines and of each other's versions when they are imported, and nobody who
    reads that can do anything about it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
