"""What a model is worth in a form: how large, how fast, how good. Of a run whose model gets another form at its end,
before and after that; of any add-on, without it and with it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import torch

from xcompose.compose.room import readable
from xcompose.compose.weights import bytes_of_weights
from xcompose.train.progress import rate

if TYPE_CHECKING:
    from xcompose.train.learner import Learner

WARM, TIMES = 2, 9
"""Passes before the clock starts, and passes of which the middle one counts."""


@attrs.frozen
class Standing:
    """A model in one form."""

    bytes: int
    """Of weights and lasting buffers, each once, as they are stored."""
    tokens_per_second: float
    """Of a forward pass over one batch, without gradients, as the model is called: nothing is compiled."""
    metrics: Mapping[str, float]
    """On held-out data."""


def standing(learner: Learner, metrics: Mapping[str, float]) -> Standing:
    """Measure the form that the learner's model has now.

    Args:
        metrics: its own, where they are known; what `Learner.evaluate` gives.
    """
    return Standing(bytes_of_weights(learner.model), _speed(learner), dict(metrics))


def _speed(learner: Learner) -> float:
    batch = learner.on_device(next(iter(learner.held_out())))
    count = len(next(iter(batch.values()))) * learner.settings.length
    taken = []
    with learner.at_rest():
        for _ in range(WARM + TIMES):
            began = time.perf_counter()
            learner.work.task.loss(learner.model, batch)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - began)
    return round(count / sorted(taken[WARM:])[TIMES // 2], 1)


def table(before: Standing, after: Standing, metric: str, unit: str) -> list[str]:
    """Two forms side by side, a line for each figure.

    Args:
        metric: the one that ranks models.
        unit: what tokens are.
    """
    figures: Sequence[tuple[str, str, str]] = [
        ("", "before", "after"),
        ("weights", readable(before.bytes), readable(after.bytes)),
        ("forward pass", rate(before.tokens_per_second, unit), rate(after.tokens_per_second, unit)),
        (metric.replace("_", " "), f"{before.metrics[metric]:.4f}", f"{after.metrics[metric]:.4f}"),
    ]
    names, first, second = (max(len(row[i]) for row in figures) for i in range(3))
    return [f"  {name:<{names}}  {a:>{first}}  {b:>{second}}" for name, a, b in figures]
