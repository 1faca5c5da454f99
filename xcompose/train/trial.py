"""One item, tried before a run begins: what does not fit is refused where it was written, and not an hour later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch.utils.data import default_collate

from xcompose.diagnostics import Diagnostic, PartError, SpecError
from xcompose.spec.model import Node
from xcompose.train.learner import Work, random_state, restore_random


def tried(work: Work, task: Node, addons: Sequence[Node], spec: str) -> list[str]:
    """Ask the task, then each add-on, for the loss of one item, without gradients.

    Args:
        work: its model, task, data and add-ons.
        task: where the task was written.
        addons: where the add-ons were written.
        spec: the spec's name.

    Returns:
        The names of the task's metrics.

    Raises:
        SpecError: they do not fit each other.
    """
    before, model = random_state(), work.model
    model.eval()
    try:
        with torch.no_grad():
            batch = default_collate([work.splits.valid[0]])
            with _refusing(task, f"task '{task.name}' and this model do not fit", spec):
                found = work.task.loss(model, batch)
            for addon, node in zip(work.addons, addons, strict=True):
                with _refusing(node, f"'{node.name}' and this model do not fit", spec):
                    addon.loss(batch, partial(work.task.loss, model, batch))
    finally:
        model.train()
        restore_random(before)
    return ["loss", *found[1]]


@contextmanager
def _refusing(node: Node, message: str, spec: str) -> Iterator[None]:
    """Say of what is wrong inside where it was written."""
    try:
        yield
    except ValueError as error:
        known = error if isinstance(error, PartError) else PartError(f"{message}: {error}")
        raise SpecError(located(known, node, spec)) from error


def located(error: PartError, node: Node, spec: str) -> Diagnostic:
    """What is wrong with a component of a run, where it was written."""
    span = node.option_spans.get(error.option, node.span)
    path = f"{node.path}.{error.option}" if error.option else node.path
    return Diagnostic(
        error.code, error.message, span=span, label=error.label, fixes=error.fixes, path=path, stage="train", spec=spec
    )
