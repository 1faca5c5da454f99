"""What Lightning drives: one step of one model on one task, and all that a checkpoint needs beside the weights.

Import it only where the extra `train` is there: it imports Lightning, which takes seconds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from xcompose.compose.addons import TrainingAddon
from xcompose.compose.observe import Tally
from xcompose.compose.parts import AfterStep
from xcompose.compose.tasks import OptimizerFactory, ScheduleFunction, Splits, Task
from xcompose.train.batches import EndlessBatches, evenly
from xcompose.train.settings import Settings

CLOCK_FROM = 3
"""Steps after which the speed is measured: the first ones warm up."""


@attrs.frozen
class Work:
    """A model, what it learns, and how."""

    model: nn.Module
    task: Task
    splits: Splits
    optimizer: OptimizerFactory
    schedule: ScheduleFunction
    settings: Settings
    addons: tuple[TrainingAddon, ...] = ()


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameters for the optimizer: matrices with weight decay; norms, biases and other vectors without."""
    matrices, vectors = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            vector = parameter.ndim < 2 or name.endswith("bias")
            (vectors if vector else matrices).append(parameter)
    found = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in found if group["params"]]


class Learner(LightningModule):
    """One step of one model on one task."""

    def __init__(self, work: Work):
        super().__init__()
        self.model, self.work, self.settings = work.model, work, work.settings
        self.addons = nn.ModuleList(work.addons)
        self.budget = work.settings.budget(len(work.splits.train))  # type: ignore[arg-type]
        self.seconds = 0.0
        """Training time so far, that of earlier parts of the run included."""
        self.step_seconds: list[float] = []
        self.last: dict[str, float] = {}
        """What the last step measured."""
        self.tally = Tally()
        """What modules counted since the last step."""
        self._since = 0.0
        self._random: Mapping[str, Any] | None = None

    # Data ----------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> StatefulDataLoader[Any]:
        data, settings = self.work.splits.train, self.settings
        batches = EndlessBatches(len(data), settings.batch, settings.seed)  # type: ignore[arg-type]
        return StatefulDataLoader(data, batch_sampler=batches, generator=torch.Generator().manual_seed(settings.seed))

    def held_out(self) -> Iterable[Any]:
        """The batches that every evaluation looks at: spread over all that was held out, always the same."""
        data = evenly(self.work.splits.valid, self.settings.eval_batches * self.settings.batch)
        generator = torch.Generator().manual_seed(self.settings.seed)
        return DataLoader(data, batch_size=self.settings.batch, generator=generator)

    # One step ------------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.work.optimizer([*groups(self.model), *groups(self.addons)], self.settings.lr)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self._random is not None:
            restore_random(self._random)
            self._random = None
        step = self.trainer.global_step
        factor = self.work.schedule(step, self.budget.total(step, self.seconds))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.settings.lr * factor
        self.last = {"lr": self.settings.lr * factor}
        self._since = time.perf_counter()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        compute = partial(self.work.task.loss, self.model, batch)
        for addon in self.work.addons:
            compute = partial(addon.loss, batch, compute)
        with self.tally.watching(self.model):
            loss, metrics = compute()
        parts = {f"loss_{name}": value for name, value in self.tally.losses.items()}
        self.last |= {"loss": loss.detach(), **metrics, **parts}  # type: ignore[dict-item]
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            # What moves by counting, or is drawn anew, belongs to the base.
            if not getattr(self.model, "frozen", False):
                self.tally.teach(self.model)
                for module in self.model.modules():
                    if isinstance(module, AfterStep):
                        module.after_step()
            for addon in self.work.addons:
                addon.after_step()

    def step_done(self) -> None:
        """Stop the clock of a step, and turn what it measured into numbers. Called once behind each step."""
        self.last = {name: float(value) for name, value in self.last.items()}
        taken = time.perf_counter() - self._since
        self.seconds += taken
        self.step_seconds.append(taken)

    def evaluate(self) -> dict[str, float]:
        """Loss and metrics on what was held out, means over the batches. Leaves the random state as it was."""
        sums: dict[str, float] = {}
        count = 0
        with self.at_rest():
            for batch in self.held_out():
                loss, metrics = self.work.task.loss(self.model, self.on_device(batch))
                for name, value in {"loss": loss, **metrics}.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
                count += 1
        return {name: total / count for name, total in sums.items()}

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """In evaluation and without gradients; mode and random state are as before behind it."""
        before, training = random_state(), self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train(training)
            restore_random(before)

    def on_device(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch where the model is."""
        return {name: value.to(self.device) for name, value in batch.items()}

    # What a checkpoint holds beside weights, optimizer, loops and the place in the data ---------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["xcompose"] = {"random": random_state(), "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._random = checkpoint["xcompose"]["random"]
        self.seconds = checkpoint["xcompose"]["seconds"]

    def tokens_per_second(self) -> float:
        """The usual speed: that of the middle step, warm-up left out."""
        steps = sorted(self.step_seconds[CLOCK_FROM:] or self.step_seconds)
        return self.settings.batch * self.settings.length / steps[len(steps) // 2] if steps else 0.0


def random_state() -> dict[str, Any]:
    """The state of every generator that training draws from, in types that load without running code."""
    version, internal, gauss = random.getstate()
    state = {"torch": torch.get_rng_state(), "python": [version, list(internal), gauss]}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random(state: Mapping[str, Any]) -> None:
    """Put the generators back to where `random_state` found them."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
