"""What add-ons that stand around linear layers have in common: put there, trained, and merged when training is over."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import nn

from xcompose.compose.addons import Addon
from xcompose.compose.model import Model
from xcompose.compose.tuned import Chosen, Tuning, choose_targets, finish_tuning, left_by_tuning, refuse_merging, tune


class Tuner(Addon):
    """An adapter around linear layers, by layers of peft.

    Args:
        options: with `name`, `targets`, `per`, `merge`, `active` and `learns`.
        usual: the targets that stand where nobody writes any.
    """

    freezes = True

    def __init__(self, options: Any, usual: tuple[str, ...]):
        self.trains = options.merge  # what is merged changes the base, for which a later freeze comes too soon
        self.tuning = Tuning(
            name=options.name, targets=options.targets, per=options.per, acts=options.active, learns=options.learns,
            merge=options.merge, usual=options.targets == usual,
        )  # fmt: skip

    @property
    def finishes(self) -> bool:
        return self.tuning.merge

    @abstractmethod
    def wrap(self, inner: nn.Module, name: str) -> Any:
        """A layer of peft with one adapter of this name around a linear layer, or around another layer of peft."""

    def refuse(self, chosen: Chosen) -> None:
        """Refuse some of the layers that the targets mean.

        Raises:
            PartError: with the reason.
        """

    def apply(self, model: Model) -> None:  # type: ignore[override]
        """What the spec says: where it is merged, the plain model."""
        if self.tuning.merge:
            self.chosen = self._choose(model)
        else:
            self.begin(model)

    def begin(self, model: Model) -> None:  # type: ignore[override]
        self._choose(model)
        self.chosen = tune(model, self.tuning, self.wrap)

    def finish(self, model: Model) -> None:  # type: ignore[override]
        finish_tuning(model, self.tuning)

    def describe(self, model: nn.Module) -> Sequence[str]:
        assert isinstance(model, Model)
        return left_by_tuning(model, self.tuning, self.chosen)

    def _choose(self, model: Model) -> Chosen:
        chosen = refuse_merging(model, self.tuning) if self.tuning.merge else choose_targets(model, self.tuning)
        self.refuse(chosen)
        return chosen
