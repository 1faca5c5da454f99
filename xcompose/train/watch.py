"""What happens behind each step: write it down, look at held-out data, save, show, stop.

Import it only where the extra `train` is there.
"""

from __future__ import annotations

import io
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.train.folder import MetricsFile, RunFolder, write_atomically
from xcompose.train.learner import Learner
from xcompose.train.progress import Display, Judge


class AtomicIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())


class Watch(Callback):
    """Called by Lightning behind each step."""

    def __init__(self, folder: RunFolder, display: Display, stop: threading.Event, judge: Judge | None = None):
        self.folder, self.display, self.stop, self.judge = folder, display, stop, judge
        self.metrics: MetricsFile | None = None
        self.valid: dict[str, float] = {}
        """The newest evaluation."""
        self.valid_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.display.start(pl_module.budget.share(trainer.global_step, pl_module.seconds))
        if pl_module.budget.done(trainer.global_step, pl_module.seconds):
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        learner: Learner = pl_module
        step = trainer.global_step
        learner.step_done()
        over = learner.budget.done(step, learner.seconds)
        self._refuse_divergence(learner, step)
        due = None if over else self._due(learner, step)
        if over or due or step % learner.settings.eval_every == 0:
            self.evaluate(learner, step)
        if due and self.judge is not None and self.judge.ends(due, self.valid):
            self.stop.set()
        done = over or self.stop.is_set()
        self._write(learner, step)
        self._show(learner, step)
        if done or step % learner.settings.save_every == 0:
            trainer.save_checkpoint(self.folder.checkpoint)
        if done:
            trainer.should_stop = True

    def _due(self, learner: Learner, step: int) -> float | None:
        """The share of the budget that this step reaches and at which the run is judged."""
        if self.judge is None:
            return None
        before = learner.budget.share(step - 1, learner.seconds - learner.step_seconds[-1])
        now = learner.budget.share(step, learner.seconds)
        return max((share for share in self.judge.shares if before < share <= now), default=None)

    def evaluate(self, learner: Learner, step: int) -> None:
        """Look at held-out data, unless this step has been looked at."""
        if self.valid_step != step:
            self.valid, self.valid_step = learner.evaluate(), step

    def _refuse_divergence(self, learner: Learner, step: int) -> None:
        if math.isfinite(learner.last["loss"]):
            return
        raise SpecError(
            Diagnostic(
                "XC068",
                f"training diverged: the loss of step {step} is {learner.last['loss']}",
                fixes=("a smaller lr, a longer warm-up, or a smaller clip; then --overwrite",),
                path="train",
                stage="train",
            )
        )

    def _write(self, learner: Learner, step: int) -> None:
        tokens = step * learner.settings.batch * learner.settings.length
        row: dict[str, Any] = {"step": step, "tokens": tokens, "seconds": round(learner.seconds, 3), **learner.last}
        if self.valid_step == step:
            row |= {f"valid_{name}": value for name, value in self.valid.items()}
        if self.metrics is None:
            names = [n for n in learner.last if n != "lr"]
            # What the model adds to the loss is only told for what it trains on.
            held_out = [f"valid_{n}" for n in names if n.removeprefix("loss_") not in learner.tally.losses]
            self.metrics = MetricsFile(self.folder.metrics, ("step", "tokens", "seconds", "lr", *names, *held_out))
            self.metrics.keep_until(step - 1)
        self.metrics.append(row)

    def _show(self, learner: Learner, step: int) -> None:
        metric = learner.work.task.metric
        self.display.step(
            step,
            learner.budget.share(step, learner.seconds),
            learner.last[metric],
            self.valid.get(metric),
            learner.tokens_per_second(),
            fresh=self.valid_step == step,
        )


@contextmanager
def interruptible(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C end the run behind the step in hand, with everything saved; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
