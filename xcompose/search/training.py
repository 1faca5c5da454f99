"""Trains one candidate, and lets it be judged on its way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from xcompose.search.strategy import Candidate, Hopeless
from xcompose.train.folder import RunFolder, write_atomically

if TYPE_CHECKING:
    from xcompose.search.ground import Ground

RUN, CURVE = "run", "curve.json"


@attrs.define
class _Judge:
    """Asks the search at fixed shares of a budget, and remembers the answers on disk: a trial that goes on after a
    crash gets the same ones."""

    ground: Ground
    candidate: Candidate
    shares: Sequence[float]
    curve: dict[str, Mapping[str, float]] = attrs.field(factory=dict)
    reason: str = ""
    share: float = 0.0

    @property
    def path(self) -> Path:
        return self.candidate.folder / CURVE

    def remember(self) -> None:
        if self.path.exists():
            kept = json.loads(self.path.read_text())
            self.curve, self.reason, self.share = kept["curve"], kept["reason"], kept["at"]

    def ends(self, share: float, valid: Mapping[str, float]) -> bool:
        self.curve[repr(share)] = dict(valid)
        self.share = share
        self.reason = self.ground.judge(self.candidate, share, valid)
        kept = {"curve": self.curve, "reason": self.reason, "at": share}
        write_atomically(self.path, json.dumps(kept).encode())
        return bool(self.reason)


@attrs.define
class _Display:
    """Hands on how far a run is."""

    ground: Ground
    name: str

    def start(self, share: float) -> None:
        self.ground.show(self.name, share)

    def step(self, step: int, share: float, train: float, valid: float | None, speed: float, *, fresh: bool) -> None:
        self.ground.show(f"{self.name}, step {step}", share)

    def stop(self) -> None:
        return


def trained(ground: Ground, candidate: Candidate, folder: Path | None = None) -> Mapping[str, float]:
    """What `Ground.train` says."""
    from xcompose.train.run import train

    run = RunFolder(folder or candidate.folder / RUN)
    if run.result.exists():
        return json.loads(run.result.read_text())["valid"]
    judge = _Judge(ground, candidate, () if folder else ground.shares)
    judge.remember()
    if judge.reason and not folder:
        raise Hopeless(judge.reason, judge.share)
    begun = run.facts.exists()
    if not begun:
        shutil.rmtree(run.path, ignore_errors=True)
    name = f"trial {candidate.number}" if folder is None else f"trial {candidate.number} again"
    result = train(
        candidate.spec, run.path, data=ground.data, resume=begun, registry=ground.registry,
        display=_Display(ground, name), judge=judge, accelerator=ground.accelerator,
    )  # fmt: skip
    if judge.reason and not folder:
        raise Hopeless(judge.reason, judge.share)
    if result.interrupted:
        raise KeyboardInterrupt
    return result.valid


def curve_of(candidate: Candidate) -> dict[float, Mapping[str, float]]:
    """The metrics of a trial by the share of its budget, as it was judged."""
    path = candidate.folder / CURVE
    return {float(k): v for k, v in json.loads(path.read_text())["curve"].items()} if path.exists() else {}


def tidy(candidate: Candidate) -> None:
    """Remove the checkpoints of a trial that is over."""
    shutil.rmtree(RunFolder(candidate.folder / RUN).checkpoint.parent, ignore_errors=True)
