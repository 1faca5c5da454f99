"""Hopeless trials: when a trial is looked at, what it is told, and what is written down."""

from __future__ import annotations

import json

import attrs
import pytest

from xcompose.api import Candidate, Component, Ground, Hopeless, option, options
from xcompose.registry import Registry
from xcompose.search.run import SHARES, search
from xcompose.search.training import RUN, curve_of, trained
from xcompose.spec import load

from .small import Formula, registry, written


@options
class SlopesOptions:
    seconds: float = option(0.0)
    fails: str = option("")
    interrupts: int = option(-1)


class Slopes(Formula):
    """Trials fall in a straight line from 1 above their end; the fifth and later ones begin at their end's figures
    plus `let.w`, far above all."""

    def quality(self, candidate: Candidate, ground: Ground) -> dict[str, float]:
        self.asked.append(candidate)
        late = len(self.asked) > 5
        end = 9.0 if late else 2.0 + 0.01 * len(self.asked)
        curve = {}
        for share in ground.shares:
            curve[repr(share)] = {"loss": end + 1 - share, "accuracy": 0.5}
            reason = ground.judge(candidate, share, curve[repr(share)])
            kept = {"curve": curve, "reason": reason, "at": share}
            (candidate.folder / "curve.json").write_text(json.dumps(kept))
            if reason:
                raise Hopeless(reason, share)
        return {"loss": end, "accuracy": 0.5}


MADE = Component(kind="strategy", name="slopes", options=SlopesOptions, build=Slopes)
REGISTRY = Registry.of([*registry().components(), MADE])


def test_what_cannot_win_any_more_is_stopped_and_counts(tmp_path):
    result = search(written(tmp_path, "loss", "", "9 trials", "slopes"), (), tmp_path / "out", registry=REGISTRY)

    measured = [t for t in result.trials if t.state in ("done", "stopped")]
    assert [t.state for t in measured] == ["done"] * 5 + ["stopped"] * 4
    best = measured[0]
    assert {t.reason for t in measured[5:]} == {f"after 25% of its budget it could no longer beat trial {best.number}"}
    assert measured[5].curve == {0.25: {"loss": 9.75, "accuracy": 0.5}}
    assert measured[0].curve[0.75] == {"loss": 2.01 + 1 - 0.75, "accuracy": 0.5}
    assert result.winners == (best,)


def test_what_is_smaller_elsewhere_may_go_on(tmp_path):
    result = search(
        written(tmp_path, "loss, params", "", "9 trials", "slopes"), (), tmp_path / "out", registry=REGISTRY
    )
    measured = [t for t in result.trials if t.state in ("done", "stopped")]

    for trial in measured[5:]:
        smaller = [t for t in measured[:5] if t.figures["params"] <= trial.figures["params"]]
        assert (trial.state == "stopped") == bool(smaller)


def ground(tmp_path, judge) -> tuple[Ground, Candidate]:
    reference = written(tmp_path)
    text = (tmp_path / "base.xc.yaml").read_text().replace("budget: 3 steps", "budget: 8 steps")
    (tmp_path / "base.xc.yaml").write_text(text)
    known = registry()
    spec = load(reference, catalogue=known.catalogue)
    made = Ground(
        spec=spec, reference=reference, choices=spec.search["choices"], seed=0, folder=tmp_path, registry=known,
        judge=judge, shares=SHARES,
    )  # fmt: skip
    return made, Candidate(7, {}, spec, tmp_path / "trial")


def test_a_training_is_looked_at_by_the_share_of_its_budget(tmp_path):
    seen = []

    def judge(candidate, share, metrics):
        seen.append((candidate.number, share, sorted(metrics)))
        return ""

    there, candidate = ground(tmp_path, judge)
    metrics = trained(there, candidate)

    assert seen == [(7, share, ["accuracy", "loss"]) for share in SHARES]
    assert set(curve_of(candidate)) == set(SHARES)
    assert trained(there, candidate) == metrics
    assert len(seen) == 3


def test_a_training_that_was_stopped_stays_stopped(tmp_path):
    there, candidate = ground(tmp_path, lambda candidate, share, metrics: "no hope" if share == 0.5 else "")

    for _ in range(2):
        with pytest.raises(Hopeless) as hopeless:
            trained(there, candidate)
        assert (hopeless.value.reason, hopeless.value.share) == ("no hope", 0.5)
        there = attrs.evolve(there, judge=lambda *given: "")
    assert set(curve_of(candidate)) == {0.25, 0.5}
    assert not (candidate.folder / RUN / "result.json").exists()


def test_elsewhere_a_candidate_is_trained_to_its_end(tmp_path):
    there, candidate = ground(tmp_path, lambda *given: "no hope")

    assert set(trained(there, candidate, tmp_path / "again")) == {"accuracy", "loss"}
