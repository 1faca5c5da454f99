"""What a human sees while a model trains: a bar on a terminal, a line for each evaluation elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SMOOTH = 0.9
"""How much of the running mean of the training metric a step keeps."""


class Display(Protocol):
    """Shows how a run goes on."""

    def start(self, share: float) -> None:
        """Begin, at this share of the budget."""

    def step(self, step: int, share: float, train: float, valid: float | None, speed: float, *, fresh: bool) -> None:
        """Show a step: the metric on its batch, the newest one on held-out data, tokens a second."""

    def stop(self) -> None:
        """End, however the run ended."""


class Judge(Protocol):
    """Looks at a run on its way, and may end it."""

    shares: Sequence[float]
    """Of the budget: when it looks."""

    def ends(self, share: float, valid: Mapping[str, float]) -> bool:
        """Whether a run is to end, with these figures on held-out data at this share."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, share: float) -> None:
        return

    def step(self, step: int, share: float, train: float, valid: float | None, speed: float, *, fresh: bool) -> None:
        return

    def stop(self) -> None:
        return


class Bar:
    """A progress bar on a terminal; where there is none, a line for each evaluation.

    Args:
        console: where to.
        metric: what the numbers are, for example `bits per byte`.
        unit: what tokens are.
    """

    def __init__(self, console: Console, metric: str, unit: str = "bytes"):
        self.console, self.metric, self.unit = console, metric.replace("_", " "), unit
        self._mean: float | None = None
        self._progress = Progress(
            TextColumn("step {task.fields[step]:<6}"),
            BarColumn(bar_width=34),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[numbers]}"),
            console=console,
        )
        self._task = self._progress.add_task("", total=1.0, step=0, numbers="")

    def start(self, share: float) -> None:
        self._progress.update(self._task, completed=share)
        if self.console.is_terminal:
            self._progress.start()

    def step(self, step: int, share: float, train: float, valid: float | None, speed: float, *, fresh: bool) -> None:
        self._mean = train if self._mean is None else SMOOTH * self._mean + (1 - SMOOTH) * train
        seen = "..." if valid is None else f"{valid:.2f}"
        numbers = f"train {self._mean:.2f}  valid {seen} {self.metric}   {rate(speed, self.unit)}"
        self._progress.update(self._task, completed=share, step=step, numbers=numbers)
        if fresh and not self.console.is_terminal:
            self.console.print(f"step {step:<6}  {share:4.0%}   {numbers}", highlight=False)

    def stop(self) -> None:
        if self.console.is_terminal:
            self._progress.stop()


def rate(tokens_per_second: float, unit: str = "bytes") -> str:
    """A speed for people: 9.8k bytes/s."""
    for letter, size in (("M", 1e6), ("k", 1e3)):
        if tokens_per_second >= size:
            return f"{tokens_per_second / size:.1f}{letter} {unit}/s"
    return f"{tokens_per_second:.0f} {unit}/s"
