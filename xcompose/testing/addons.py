"""What an add-on owes: of the model, and of training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xcompose.testing.contract import BuiltContract
from xcompose.testing.stand import Stand

if TYPE_CHECKING:
    from xcompose.compose.addons import Given


class AddonContract(BuiltContract):
    """Contract tests of add-ons."""

    kind = "addon"

    def given(self, stand: Stand, folder: Path) -> Given:
        """What the command line gives to an add-on of training; override it for one that wants a teacher.

        Args:
            stand: its spec.
            folder: to write files to.
        """
        from xcompose.compose.addons import Given

        return Given()

    def of_the_model(self, expression: str) -> list[Stand]:
        """The stands of an add-on that changes the model; skips where it changes training only."""
        found = [s for s in self.stands(expression) if s.component.facts.get("stage", "model") == "model"]
        return found or pytest.skip("it changes training, not the model")

    def of_training(self, expression: str) -> list[Stand]:
        """The stands of an add-on that changes training; skips where it changes the model."""
        found = [s for s in self.stands(expression) if s.component.facts.get("stage", "model") == "train"]
        return found or pytest.skip("it changes the model, not training")

    def test_it_stands_on_a_rung(self, expression: str) -> None:
        from xcompose.compose.addons import RUNGS

        for stand in self.of_the_model(expression):
            rung = stand.planned.addons[0].addon.rung
            if rung not in RUNGS:
                self.breaks(stand, f"there is no rung '{rung}'", hint=f"the rungs are {', '.join(RUNGS)}")

    def test_begun_and_finished_it_is_what_is_applied(self, expression: str) -> None:
        from xcompose.compose.build import build_model, finish_model

        for stand in self.of_the_model(expression):
            trained = build_model(stand.spec, seed=self.seed, registry=stand.registry, device="cpu", training=True)
            finish_model(trained)
            there, wanted = (_tensors(model) for model in (trained, stand.build()))
            if there != wanted:
                name, *_ = sorted(n for n in {**there, **wanted} if there.get(n) != wanted.get(n))
                measured = f"'{name}' is {there.get(name, 'absent')}, applied at once {wanted.get(name, 'absent')}"
                hint = "`begin` makes the form that is trained, `finish` makes of it what `apply` makes at once"
                self.breaks(stand, "begun and finished, the model is not the one that is applied", measured, hint)

    def test_what_it_freezes_is_frozen(self, expression: str) -> None:
        import attrs

        from xcompose.compose.build import plan_model

        for stand in self.of_the_model(expression):
            addon, model = stand.planned.addons[0].addon, stand.build()
            bare = plan_model(attrs.evolve(stand.spec, addons=()), registry=stand.registry)
            base = sum(p.numel() for p in bare.parameters())
            trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
            whole = sum(p.numel() for p in model.parameters())
            if addon.freezes and trained > whole - base:
                measured = f"{trained:,} of {whole:,} numbers are trained; {base:,} of them are the base's"
                self.breaks(stand, "it says that it freezes the base, and trains some of it", measured)

    def test_it_describes_itself_in_sentences(self, expression: str) -> None:
        for stand in self.of_the_model(expression):
            said = stand.planned.addons[0].addon.describe(stand.planned)
            if not all(isinstance(line, str) and line.strip() for line in said) or isinstance(said, str):
                self.breaks(stand, "`describe` gives no list of sentences", repr(said)[:200])

    def test_its_loss_is_a_number_to_learn_from(self, expression: str, tmp_path: Path) -> None:
        import torch
        from torch.utils.data import default_collate

        for stand in self.of_training(expression):
            model, task = stand.build(), _task(stand)
            addon = stand.made()[0].part
            addon.begin(self._lesson(stand, model, task, tmp_path))
            items = task.splits(None, stand.spec.train["length"], self.seed).train
            batch = default_collate([items[i] for i in range(2)])
            calls = []

            def compute(calls=calls, task=task, model=model, batch=batch) -> Any:
                calls.append(1)
                return task.loss(model, batch)

            loss, metrics = addon.loss(batch, compute)
            if loss.dim() or not loss.isfinite() or len(calls) != 1:
                measured = f"a loss of shape {tuple(loss.shape)}, {len(calls)} calls of `compute`"
                self.breaks(stand, "it gives one number, and asks for the task's loss once", measured)
            loss.backward()
            if not any(p.grad is not None for p in model.parameters()):
                self.breaks(stand, "no gradient of its loss reaches the model")
            with torch.no_grad():
                addon.after_step()
            if not all(isinstance(line, str) and line for line in (*addon.describe(), *addon.facts().values())):
                self.breaks(stand, "`describe` and `facts` are texts")

    def _lesson(self, stand: Stand, model: Any, task: Any, folder: Path) -> Any:
        from xcompose.compose.addons import Lesson

        return Lesson(model, task, self.given(stand, folder), lambda reference: stand.build(self.seed + 1))


def _tensors(model: Any) -> dict[str, tuple[Any, ...]]:
    """What every tensor of a model is, by name."""
    return {name: (tuple(t.shape), str(t.dtype)) for name, t in model.state_dict().items()}


def _task(stand: Stand) -> Any:
    from xcompose.compose.objectives import part_builder

    assert stand.spec.task is not None
    return part_builder(stand.planned, stand.registry, stand.name)(stand.spec.task)
