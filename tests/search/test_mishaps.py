"""What goes wrong beside a search: broken files, plugins that fail, processes that die, a second search."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xcompose.api import Candidate, Component, Ground
from xcompose.diagnostics import SpecError
from xcompose.registry import Registry
from xcompose.search.candidates import Known
from xcompose.search.loop import Search, Unseen
from xcompose.search.measure import Orders, _Worker
from xcompose.search.run import search
from xcompose.search.store import SearchFolder
from xcompose.search.trial import Trial
from xcompose.spec.bounds import Budget

from .small import Formula, FormulaOptions, registry, written


class Unready(Formula):
    """Has no latency for some."""

    def latency(self, candidate: Candidate, length: int, ground: Ground) -> float:
        if candidate.chosen["ffn"] == "gated":
            raise RuntimeError("no clock")
        return 0.001


class Meddling(Formula):
    """Somebody edits the spec while its first trial is measured."""

    def quality(self, candidate: Candidate, ground: Ground) -> dict[str, float]:
        path = Path(ground.reference)
        path.write_text(path.read_text().replace("n: 1}", "n: 2}"))
        return super().quality(candidate, ground)


MADE = [
    Component(kind="strategy", name=name, options=FormulaOptions, build=build)
    for name, build in {"unready": Unready, "meddling": Meddling}.items()
]
REGISTRY = Registry.of([*registry().components(), *MADE])


def refused(*given: Any, **more: Any):
    with pytest.raises(SpecError) as error:
        search(*given, registry=REGISTRY, **more)
    return [(d.code, d.message, d.fixes) for d in error.value.diagnostics]


@pytest.mark.parametrize("broken", ["{", "[]", "{}"])
def test_a_broken_file_of_facts_is_said(tmp_path, broken):
    reference, out = written(tmp_path, budget="1 trials"), tmp_path / "out"
    search(reference, (), out, registry=REGISTRY)
    (out / "facts.json").write_text(broken)

    assert refused(reference, (), out, resume=True) == [
        ("XC087", f"'{out}' cannot go on: facts.json is broken", ("start afresh with --overwrite",))
    ]
    assert search(reference, (), out, overwrite=True, registry=REGISTRY).winners


def test_a_broken_file_of_choices_is_said(tmp_path):
    reference, out = written(tmp_path, budget="1 trials"), tmp_path / "out"
    first = search(reference, (), out, registry=REGISTRY)
    number = len(first.trials)
    folder = SearchFolder(out).trial(number)
    folder.mkdir(parents=True)
    (folder / "choices.json").write_text('{"let.w"')
    place = f"trials/{number:04}/choices.json"

    assert refused(reference, (), out, resume=True, budget=Budget(3, "trials")) == [
        ("XC087", f"'{out}' cannot go on: {place} is broken", ("start afresh with --overwrite",))
    ]


def test_a_strategy_that_cannot_time_a_combination_fails_that_one_alone(tmp_path):
    reference = written(tmp_path, within="latency: ..5ms at 32", strategy="unready", budget="8 trials")
    result = search(reference, (), tmp_path / "out", registry=REGISTRY)
    failed = [trial for trial in result.trials if trial.state == "failed"]

    assert failed
    assert {trial.reason for trial in failed} == {"RuntimeError: no clock"}
    assert all(trial.chosen["ffn"] == "gated" for trial in failed)
    assert result.winners


class _Wire:
    """A wire whose other end is gone."""

    def send(self, what: Any) -> None:
        raise BrokenPipeError

    def close(self) -> None:
        return


class _Dead:
    exitcode = -signal.SIGKILL

    def join(self) -> None:
        return


class _Heard:
    def __init__(self) -> None:
        self.said: list[Any] = []

    def send(self, what: Any) -> None:
        self.said.append(what)


class _Revived(_Worker):
    """Begins with a process that is dead; those after it live."""

    def begin(self) -> None:
        fresh = "process" not in vars(self)
        self.process: Any = _Dead()
        self.wire: Any = _Wire() if fresh else _Heard()


def test_a_process_that_died_while_it_was_idle_is_begun_again(tmp_path):
    worker = _Revived(Orders("base", (), 0, tmp_path, None, (), "cpu"))
    worker.give(Candidate(3, {"let.w": "8"}, None, tmp_path))  # type: ignore[arg-type]

    assert worker.wire.said == [(3, {"let.w": "8"}, tmp_path)]


def test_an_edit_of_the_spec_while_it_is_searched_stops_the_search(tmp_path):
    reference, out = written(tmp_path, strategy="meddling", budget="3 trials"), tmp_path / "out"
    fixes = ("put it back as it was and go on with --resume", "start afresh with --overwrite")

    assert refused(reference, (), out) == [("XC087", f"{reference} changed while the search was under way", fixes)]
    assert not (out / "search.json").exists()


def test_two_searches_do_not_share_a_folder(tmp_path):
    reference, out = written(tmp_path, budget="1 trials"), tmp_path / "out"
    fixes = ("wait until it is over", "choose another folder with --out")
    with SearchFolder(out).held():
        assert refused(reference, (), out) == [("XC087", f"another search is under way in '{out}'", fixes)]

    assert search(reference, (), out, registry=REGISTRY).winners


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "a [b]"])
def test_a_folder_may_have_any_name(tmp_path, name):
    search(written(tmp_path, budget="1 trials"), (), tmp_path / name, registry=REGISTRY)

    assert (tmp_path / name / "search.db").stat().st_size
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["base.xc.yaml", name])


def test_an_exact_latency_is_refused(tmp_path):
    found = refused(written(tmp_path, within="latency: 20ms"), (), tmp_path / "out")

    assert [(message, fixes) for _, message, fixes in found] == [
        ("no measured time is exactly '20ms'", ("write ..20ms",))
    ]


def test_what_learns_from_a_teacher_is_refused(tmp_path):
    reference = written(tmp_path)
    path = Path(reference)
    (tmp_path / "big.xc.yaml").write_text(path.read_text())
    path.write_text(path.read_text().replace("batch: 2,", "batch: 2, addons: ['distill(\"big.xc.yaml\")'],"))
    fixes = ("search without it, and train the winners with it",)

    assert refused(reference, (), tmp_path / "out") == [
        ("XC030", "a search has no teacher's weights for 'distill'", fixes)
    ]


@pytest.mark.parametrize(("within", "remarked"), [("latency: ..5ms at 32", True), ("params: ..90k", False)])
def test_latencies_of_two_machines_are_remarked(tmp_path, within, remarked):
    reference, out = written(tmp_path, within=within, budget="1 trials"), tmp_path / "out"
    search(reference, (), out, registry=REGISTRY)
    facts = json.loads((out / "facts.json").read_text())
    (out / "facts.json").write_text(json.dumps({**facts, "machine": {"processor": "another"}}))
    again = search(reference, (), out, resume=True, registry=REGISTRY)

    remark = "the search began on another machine, or with other versions: its latencies do not compare"
    assert (remark in again.remarks) == remarked


def test_figures_are_taken_from_the_trial_that_was_measured_and_from_no_repeat_of_it(tmp_path):
    out, wanted = SearchFolder(tmp_path / "out"), Known(None, "k", {})  # type: ignore[arg-type]
    made = Search(out, None, (), None, Unseen())  # type: ignore[arg-type]
    chosen = {"let.w": "8"}
    made.store = SimpleNamespace(  # type: ignore[assignment]
        trials=[
            Trial(number=1, chosen=chosen, state="repeat", key="k", like=0),
            Trial(number=0, chosen=chosen, state="done", key="k", figures={"loss": 2.0}),
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xcompose.search.loop.examine", lambda *given: wanted)
        found = made._statics(2, chosen)

    assert isinstance(found, Trial)
    assert (found.state, found.like, dict(found.figures)) == ("same", 0, {"loss": 2.0})
