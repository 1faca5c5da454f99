"""What a strategy finds when a search begins: choices, data, a folder, and what can be done with a candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from xcompose.search.strategy import Candidate

if TYPE_CHECKING:
    from xcompose.registry import Registry
    from xcompose.spec.model import Spec

Judge = Callable[[Candidate, float, Mapping[str, float]], str]
"""Of a candidate, the share of its budget that is used, and its metrics by then: why it is to stop; empty: it may go
on."""


def _nothing(text: str, share: float) -> None:
    return


def _never(candidate: Candidate, share: float, metrics: Mapping[str, float]) -> str:
    return ""


@attrs.frozen(eq=False, kw_only=True)
class Ground:
    """What all trials of a search share."""

    spec: Spec
    """The base, without any choice."""
    reference: str
    """`FILE@VARIANT` of it."""
    sets: tuple[str, ...] = ()
    """Overrides below all choices."""
    choices: Mapping[str, tuple[str, ...]]
    """Path to all of its values, each as `--set` writes it; at least one."""
    seed: int
    """Of the search."""
    folder: Path
    """The strategy's own."""
    data: Path | None = None
    """What the user trains on, in place of the task's named data."""
    registry: Registry
    show: Callable[[str, float], None] = _nothing
    """Tells people what is done now, and how much of it is done (0 to 1)."""
    judge: Judge = _never
    shares: Sequence[float] = ()
    """Shares of a budget at which a trial is judged."""
    accelerator: str = "auto"
    """What to train on, as Lightning calls it."""

    def resolve(self, chosen: Mapping[str, str]) -> Spec:
        """The spec with these choices.

        Raises:
            SpecError: it does not load.
        """
        from xcompose.spec import load

        sets = (*self.sets, *(f"{path}={value}" for path, value in chosen.items()))
        return load(self.reference, sets, catalogue=self.registry.catalogue)

    def train(self, candidate: Candidate, folder: Path | None = None) -> Mapping[str, float]:
        """Train a candidate from scratch as its spec says, or go on where that was stopped; its metrics at the end.

        Args:
            candidate: what to train.
            folder: of the run; if not said one in the candidate's own. Elsewhere it is not judged on the way.

        Raises:
            Hopeless, SpecError, KeyboardInterrupt: as for `Strategy.quality`.
        """
        from xcompose.search.training import trained

        return trained(self, candidate, folder)

    def latency(self, spec: Spec, length: int) -> float:
        """Seconds that a model takes for one sequence, measured here and now: the median of several, one thread.

        Raises:
            SpecError: it does not take this length.
        """
        from xcompose.search.latency import measure

        return measure(spec, length, self.registry)
