"""What a strategy of searching owes: which candidate comes next, and how good one is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from xcompose.search.ground import Ground
    from xcompose.spec.model import Spec


@attrs.frozen
class Candidate:
    """One combination of choices that the static checker let pass."""

    number: int
    """Of its trial, from 0."""
    chosen: Mapping[str, str]
    """Path to value, each as `--set` writes it."""
    spec: Spec = attrs.field(eq=False, repr=False)
    """Resolved with these choices."""
    folder: Path = attrs.field(eq=False)
    """Its own: what is there stays there when a search goes on."""


class Strategy(ABC):
    """A way to search. Built by `build(options, context)` like any part; `context` is that of the base spec's model.

    The search calls, in this order: `begin` once in each process that measures quality, in the first one before all
    others; for each trial a new `sampler`, then `latency` where an objective or a bound asks for it, then `quality`
    where one asks for a metric; `winners` once behind the last trial.
    """

    @abstractmethod
    def sampler(self, seed: int) -> Any:
        """An optuna sampler for one trial.

        All that it knows of earlier trials it must take from the study: it is made anew for every trial, with another
        seed, so that a search which goes on needs nothing but its store.
        """

    def begin(self, ground: Ground) -> None:  # noqa: B027 (not abstract: most have nothing to prepare)
        """Prepare what all candidates share, in `ground.folder`.

        Called again where a search goes on, and by each further process: what is finished there is only to be read, and
        what is half done must go on exactly.

        Raises:
            SpecError: the choices are none that this strategy can search.
            KeyboardInterrupt: the user stopped it; what is done is kept.
        """

    def quality(self, candidate: Candidate, ground: Ground) -> Mapping[str, float]:
        """The metrics of a candidate on held-out data, by name; at least `loss` and the task's own.

        The default trains it from scratch as its spec says, and stops it early where it is hopeless.

        Raises:
            Hopeless: the search stopped the trial.
            SpecError: it cannot be measured, which fails this trial only.
            KeyboardInterrupt: the user stopped it; what is done is kept.
        """
        return ground.train(candidate)

    def latency(self, candidate: Candidate, length: int, ground: Ground) -> float:
        """Seconds that a candidate takes for one sequence of a length. The default measures it here and now."""
        return ground.latency(candidate.spec, length)

    def winners(self, winners: Sequence[Candidate], ground: Ground) -> Mapping[int, Mapping[str, float]]:
        """What is done with those that nothing beats, best first: further figures by trial number, each by its name.

        A strategy whose quality is only an estimate trains them here. What is done there already must not be done again
        where a search goes on.
        """
        return {}

    def describe(self) -> Sequence[str]:
        """What people should know of the result, one sentence each. Asked behind the last trial."""
        return ()


class Hopeless(Exception):
    """A trial was stopped: even what it may still gain is beaten by others.

    Args:
        reason: for people.
        share: of its budget that it had used.
    """

    def __init__(self, reason: str, share: float):
        super().__init__(reason)
        self.reason, self.share = reason, share
