"""What a task owes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from xcompose.testing.contract import Contract
from xcompose.testing.stand import Stand

ITEMS = 5
"""Items of each split that are looked at."""


class TaskContract(Contract):
    """Contract tests of tasks."""

    kind = "task"
    length: ClassVar[int] = 16
    """The length of its sequences."""

    def data(self, folder: Path) -> Path | None:
        """What `--data` names; None for a task with data of its own. Override it to write a small data set.

        Args:
            folder: to write it to.
        """
        return None

    def tasks(self, expression: str, folder: Path) -> Iterator[tuple[Stand, Any, Path | None]]:
        """The task for the model of each stand, and its data."""
        data = self.data(folder)
        for stand in self.stands(expression):
            yield stand, stand.made()[0].part, data

    def items(self, stand: Stand, task: Any, data: Path | None, seed: int = 0) -> dict[str, list[Any]]:
        """The first items of each split."""
        splits = task.splits(data, self.length, seed)
        return {name: [side[i] for i in range(min(ITEMS, len(side)))] for name, side in splits._asdict().items()}

    def test_equal_seeds_give_equal_items_in_any_order(self, expression: str, tmp_path: Path) -> None:
        import torch

        for stand, task, data in self.tasks(expression, tmp_path):
            first, splits = self.items(stand, task, data), task.splits(data, self.length, 0)
            torch.manual_seed(99)
            state = torch.get_rng_state()
            for name, side in splits._asdict().items():
                for number in reversed(range(len(first[name]))):
                    if not _alike(side[number], first[name][number]):
                        hint = "draw from the seed and the item's number, never from what was asked before"
                        self.breaks(stand, "an item is another one when it is asked again", f"{name} {number}", hint)
            if not torch.equal(state, torch.get_rng_state()):
                hint = "a generator of its own: torch.Generator().manual_seed(seed)"
                self.breaks(stand, "reading items draws from the global generator", hint=hint)

    def test_what_is_held_out_is_not_trained_on(self, expression: str, tmp_path: Path) -> None:
        for stand, task, data in self.tasks(expression, tmp_path):
            items = self.items(stand, task, data)
            both = [i for i, one in enumerate(items["valid"]) if any(_alike(one, other) for other in items["train"])]
            if not items["train"] or not items["valid"]:
                self.breaks(stand, "a split is empty", f"{len(items['train'])} and {len(items['valid'])} items")
            if both:
                measured = f"valid {both[0]} is an item of train, too"
                self.breaks(stand, "what is held out is trained on", measured, "split the data before it is drawn from")

    def test_items_are_tensors_of_one_shape(self, expression: str, tmp_path: Path) -> None:
        import torch

        for stand, task, data in self.tasks(expression, tmp_path):
            for name, side in self.items(stand, task, data).items():
                for item in side:
                    if not isinstance(item, Mapping) or not all(isinstance(t, torch.Tensor) for t in item.values()):
                        self.breaks(
                            stand, "an item is no mapping of names to tensors", f"{name}: {type(item).__name__}"
                        )
                shapes = {tuple((key, t.shape, t.dtype) for key, t in item.items()) for item in side}
                if len(shapes) > 1:
                    self.breaks(
                        stand, "items have several shapes, so they make no batch", f"{name}: {sorted(map(str, shapes))}"
                    )

    def test_its_loss_is_one_number_with_a_gradient(self, expression: str, tmp_path: Path) -> None:
        for stand, task, data in self.tasks(expression, tmp_path):
            model = stand.build()
            loss, metrics = task.loss(model, _batch(self.items(stand, task, data)["train"][:2]))
            if loss.dim() or not loss.isfinite():
                self.breaks(stand, "its loss is not one number", f"{tuple(loss.shape)}")
            loss.backward()
            if not any(p.grad is not None and p.grad.any() for p in model.parameters()):
                self.breaks(stand, "no gradient of its loss reaches the model")
            if task.metric != "loss" and task.metric not in metrics:
                measured = f"metric = '{task.metric}', `loss` gives {', '.join(metrics) or 'no metric'}"
                self.breaks(stand, "it does not give the metric that ranks models", measured)
            if odd := [name for name, value in metrics.items() if value.numel() != 1 or not value.isfinite()]:
                self.breaks(stand, "a metric is not one number", ", ".join(odd))

    def test_losses_of_the_model_are_added(self, expression: str, tmp_path: Path) -> None:
        import torch

        for stand, task, data in self.tasks(expression, tmp_path):
            batch, model = _batch(self.items(stand, task, data)["train"][:2]), stand.build().eval()
            plain, original = _loss(task, model, batch), model.forward

            def more(*given: Any, original=original, **named: Any) -> Any:
                out = original(*given, **named)
                return out._replace(losses={**out.losses, "kit": torch.tensor(2.5)})

            model.forward = more
            try:
                added = _loss(task, model, batch) - plain
            finally:
                del model.forward
            if abs(added - 2.5) > 1e-4:
                measured = f"2.5 more in `ModelOut.losses` make {added:.3g} more of the loss"
                hint = "sum(out.losses.values(), loss)"
                self.breaks(stand, "the model's own losses are not added to the task's", measured, hint)

    def test_the_order_of_a_batch_does_not_count(self, expression: str, tmp_path: Path) -> None:
        for stand, task, data in self.tasks(expression, tmp_path):
            items, model = self.items(stand, task, data)["train"][:3], stand.build().eval()
            draws = [_loss(task, model, _batch(items), draw) for draw in (1, 2)]
            if draws[0] != draws[1]:
                pytest.skip("its loss draws numbers")
            one, other = draws[0], _loss(task, model, _batch(items[::-1]))
            if abs(one - other) > 1e-4 * max(1.0, abs(one)):
                self.breaks(stand, "its loss depends on the order of a batch", f"{one:.6g} and {other:.6g}")

    def test_it_describes_its_data_in_sentences(self, expression: str, tmp_path: Path) -> None:
        for stand, task, data in self.tasks(expression, tmp_path):
            self.items(stand, task, data)
            said = list(task.describe())
            if not all(isinstance(line, str) and line.strip() for line in said):
                self.breaks(stand, "`describe` gives no sentences", repr(said)[:200])


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    import torch

    return one.keys() == other.keys() and all(torch.equal(t, other[key]) for key, t in one.items())


def _loss(task: Any, model: Any, batch: Any, draw: int = 1) -> float:
    import torch

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw)
        return float(task.loss(model, batch)[0])


def _batch(items: list[Any]) -> Any:
    from torch.utils.data import default_collate

    return default_collate(items)
