"""What a task owes: batches, a loss, metrics. And what optimisers and schedules are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.utils.data import Dataset

from xcompose.attention.grid import Grid
from xcompose.compose.parts import ModelOut
from xcompose.diagnostics import PartError

Batch: TypeAlias = Mapping[str, Tensor]


class Splits(NamedTuple):
    """Training and validation data; each item is a mapping of tensors without the batch axis."""

    train: Dataset[Any]
    valid: Dataset[Any]


class Shown(NamedTuple):
    """How sequences that a model draws become something to look at."""

    opening: Tensor
    """(n) int64 that every sequence begins with"""
    steps: int
    """Tokens that are drawn behind it."""
    what: str
    """They, for people: images of 14 x 14."""
    suffix: str
    """Of the file: .png"""
    write: Callable[[Tensor], bytes]
    """From the tokens (b steps) of several sequences to a file."""


class Task(ABC):
    """Data, loss and metric.

    `data` files come from the command line; a task that names a built-in corpus works without.
    """

    metric: str = "loss"
    """The metric that ranks models, and that `goal` may name."""
    higher_is_better: bool = False
    unit: str = "bytes"
    """What tokens are, for people."""
    opening: tuple[int, ...] = ()
    """Tokens that every text to be written begins with; a prompt stands behind them."""
    ending: int | None = None
    """The token that ends a text; None: texts have no end."""

    @abstractmethod
    def splits(self, data: Path | None, length: int, seed: int) -> Splits:
        """Training and validation sets of sequences of `length`.

        Raises:
            SpecError: the data is missing, empty, or not what the task reads (XC08x).
            PartError: sequences of this length are not what the task is about.
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The training loss (scalar, with the model's own losses added) and metrics by name (sums over items are not
        taken: each is a mean over the batch)."""

    def describe(self) -> Iterable[str]:
        """What a human wants to know about the data: name, size, split."""
        return ()

    def shown(self) -> Shown | None:
        """How drawn sequences are shown; None where they are text, or no sequences are drawn."""
        return None


OptimizerFactory: TypeAlias = Callable[[Iterable[Any], float], Optimizer]
"""`make(parameter_groups, lr)`; what building an optimizer component returns."""

ScheduleFunction: TypeAlias = Callable[[int, int], float]
"""`factor(step, total_steps)` of the learning rate; what building a schedule component returns."""


def two_betas(betas: Sequence[float]) -> tuple[float, float]:
    """How much of the running moments an optimizer keeps in a step: of the gradient, of its square.

    Raises:
        PartError: there are not two, or one of them keeps everything.
    """
    if len(betas) != 2:
        raise PartError(f"'betas' takes two numbers, found {len(betas)}", option="betas", fixes=("betas=[0.9, 0.999]",))
    if max(betas) >= 1:
        raise PartError(
            f"'betas' must lie below 1, found {max(betas):g}", label="a moment that keeps all of itself learns nothing",
            option="betas", fixes=("betas=[0.9, 0.999]",),
        )  # fmt: skip
    return betas[0], betas[1]


def check_logits(task: str, logits: Tensor, choices: int, *, each_token: bool) -> None:
    """Refuse an output that does not answer what the task asks.

    Args:
        task: its name.
        logits: (b n v) for an answer for each token, (b v) for one for each sequence.
        choices: how many there are to choose from; more is fine.
        each_token: which of the two the task wants.

    Raises:
        PartError: another shape, or too few choices.
    """
    wanted = 3 if each_token else 2
    if logits.ndim == wanted and logits.shape[-1] >= choices:
        return
    place = {True: "for each token", False: "for each sequence"}
    raise PartError(
        f"task '{task}' wants one of {choices} {place[each_token]}, "
        f"the model's output gives {logits.shape[-1]} numbers {place[logits.ndim == 3]}",
        fixes=("an output made for this task; `xcompose list output` names them",),
    )


BYTES = 256
"""Values of a byte."""


def check_vocabulary(task: str, vocab: int, tokens: str = "bytes") -> None:
    """Refuse a model that has no token for each value of a byte.

    Args:
        task: its name.
        vocab: number of tokens v.
        tokens: what the values are, for the message.

    Raises:
        PartError: too few tokens.
    """
    if vocab < BYTES:
        raise PartError(
            f"task '{task}' needs a vocabulary of {BYTES}, found {vocab}", label=f"its tokens are {tokens}",
            fixes=(f"vocab: {BYTES}",),
        )  # fmt: skip


def grid_of_images(task: str, grid: Grid | None) -> Grid:
    """The grid that an image fills.

    Raises:
        PartError: the model has none.
    """
    if grid is None:
        raise PartError(
            f"task '{task}' needs the model's grid", code="XC033", fixes=("model.grid: [14, 14]",),
            label="it says how large an image is, and in which order its pixels come",
        )  # fmt: skip
    return grid


def check_whole_image(grid: Grid, length: int) -> None:
    """Refuse sequences that are no whole images.

    Raises:
        PartError: another length than the grid's size.
    """
    if length != grid.size:
        raise PartError(
            f"a sequence is a whole image of {grid.size:,} pixels, train.length is {length:,}", code="XC041",
            fixes=(f"train.length: {grid.size}, or none",),
        )  # fmt: skip


def loss_of_labels(task: str, out: ModelOut, labels: Tensor, choices: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and the accuracy of one answer (b choices) for each sequence, the model's own losses added.

    Raises:
        PartError: the model's output is none.
    """
    check_logits(task, out.logits, choices, each_token=False)
    loss = cross_entropy(out.logits.float(), labels)
    accuracy = (out.logits.argmax(-1) == labels).double().mean()
    return sum(out.losses.values(), loss), {"accuracy": accuracy}
