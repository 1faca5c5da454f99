"""What a strategy finds when a search begins: choices, data, a folder, and what can be done with a candidate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.diagnostics.sources import SOURCES
from xcompose.search.strategy import Candidate

if TYPE_CHECKING:
    from xcompose.registry import Registry
    from xcompose.spec.model import Spec


class Changed(SpecError):
    """A file that the spec comes from is not what it was when the search began."""


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
    sources: Mapping[str, str] = attrs.field(factory=dict)
    """The files that the spec comes from, each with a digest of what it held when the search began."""

    def resolve(self, chosen: Mapping[str, str]) -> Spec:
        """The spec with these choices.

        Raises:
            Changed: one of its files is not what it was.
            SpecError: it does not load.
        """
        from xcompose.spec import load

        sets = (*self.sets, *(f"{path}={value}" for path, value in chosen.items()))
        try:
            return load(self.reference, sets, catalogue=self.registry.catalogue)
        finally:
            refuse_changed(self.sources)

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


def sources_of(spec: Spec) -> Mapping[str, str]:
    """The files that a spec was just read from, each with a digest of its text."""
    from xcompose.spec.yaml import SUFFIX

    spans = (origin.span for chain in spec.origins.values() for origin in chain)
    names = {spec.file, *(span.file for span in spans if span is not None)}
    return {name: digest for name in sorted(names) if name.endswith(SUFFIX) and (digest := _digest(name))}


def refuse_changed(sources: Mapping[str, str]) -> None:
    """Refuse to go on where a file that was just read is another one than when the search began.

    Raises:
        Changed: one is (XC087).
    """
    for name, digest in sources.items():
        if _digest(name) not in (digest, ""):
            fixes = ("put it back as it was and go on with --resume", "start afresh with --overwrite")
            message = f"{name} changed while the search was under way"
            raise Changed(Diagnostic("XC087", message, fixes=fixes, stage="search"))


def _digest(name: str) -> str:
    """Of the text that was read last; empty where it is no longer known."""
    text = SOURCES.text(name)
    return "" if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]
