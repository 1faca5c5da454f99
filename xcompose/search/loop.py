"""The loop of a search: what comes next, what is known of it, and what became of it."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from xcompose.compose.objectives import asked
from xcompose.diagnostics import SpecError
from xcompose.search.candidates import (
    Known,
    Rejected,
    examine,
    latencies,
    length_of,
    said,
    too_slow,
    violations,
)
from xcompose.search.dominance import Finished, beaten_by
from xcompose.search.ground import Ground
from xcompose.search.latency import machine
from xcompose.search.measure import Measuring, Outcome, strategy_of, team
from xcompose.search.result import SearchResult
from xcompose.search.store import Asked, SearchFolder, Store, seed_of
from xcompose.search.strategy import Candidate, Strategy
from xcompose.search.training import curve_of, tidy
from xcompose.search.trial import SPENT, Aim, Trial, vector, winners

if TYPE_CHECKING:
    from xcompose.spec.bounds import Budget

TRIES = 8
"""So often a strategy is asked for a combination that nobody tried yet; then one of those is taken in its place."""
FRUITLESS = 400
"""So many proposals in a row of which none could be measured end a search."""


class Watcher(Protocol):
    """Shows how a search goes on."""

    def trial(self, trial: Trial, share: float) -> None:
        """A trial is over; so much of the budget is used."""
        ...

    def show(self, text: str, share: float) -> None:
        """What is done now, and how much of it is done."""
        ...


class Unseen:
    """Shows nothing."""

    def trial(self, trial: Trial, share: float) -> None:
        return

    def show(self, text: str, share: float) -> None:
        return


@attrs.define
class Search:
    """One search, on its way."""

    there: SearchFolder
    ground: Ground
    aims: tuple[Aim, ...]
    budget: Budget
    watcher: Watcher
    jobs: int = 1
    store: Store = attrs.field(init=False)
    strategy: Strategy = attrs.field(init=False)
    team: Measuring = attrs.field(init=False)
    asked: dict[int, tuple[Asked, Trial]] = attrs.field(factory=dict, init=False)
    """What is being measured, by number of its trial."""
    before: float = attrs.field(default=0.0, init=False)
    """Seconds that earlier parts of the search took."""
    since: float = attrs.field(factory=time.perf_counter, init=False)
    ended: str = attrs.field(default="", init=False)
    """Why it is over before its budget."""

    def run(self) -> SearchResult:
        """Search until the budget is used up, nothing is left to try, or Ctrl-C is pressed."""
        self.before = self.there.read_facts()["seconds"]
        self.ground = attrs.evolve(self.ground, show=self.watcher.show, judge=self._judge)
        self.store = Store(self.there, self.ground.choices, self.aims)
        self.strategy = strategy_of(self.ground.spec, self.ground)
        interrupted, more = False, {}
        try:
            self.there.strategy.mkdir(exist_ok=True)
            self.strategy.begin(self.ground)
            self.team = team(self.strategy, self.ground, self.jobs)
            try:
                self._loop()
            finally:
                self.team.end()
            more = self.strategy.winners([self._candidate(t) for t in self._winners()], self.ground)
        except KeyboardInterrupt:
            interrupted = True
        self._keep_time()
        result = SearchResult(
            name=self.ground.spec.name, folder=self.there.path, aims=self.aims, trials=tuple(self.store.trials),
            winners=tuple(self._winners()), more=more, seconds=round(self._seconds(), 1), ended=self.ended,
            interrupted=interrupted, remarks=(*self.strategy.describe(), *self._elsewhere()), jobs=self.jobs,
            machine=machine(),
        )  # fmt: skip
        if not interrupted:
            from xcompose.search.report import write

            write(result, self.there, self.ground)
        return result

    def _elsewhere(self) -> list[str]:
        """A remark where latencies come from more than one machine."""
        began, within = self.there.read_facts()["machine"], self.ground.spec.search["within"]
        counts = any(aim.objective.key == "latency" for aim in self.aims) or any(e.key == "latency" for e in within)
        if not counts or began == machine():
            return []
        return ["the search began on another machine, or with other versions: its latencies do not compare"]

    # What comes next -----------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while True:
            while self.team.free() and not self._enough():
                self._propose()
            if not self.asked:
                return
            self._finish(*self.team.hear())

    def _enough(self) -> bool:
        """Whether no further trial is to begin."""
        self.ended = self.ended or self._nothing_left()
        return bool(self.ended) or self._share(len(self.asked)) >= 1

    def _share(self, under_way: int = 0) -> float:
        """How much of the budget is used."""
        if self.budget.unit == "seconds":
            return min(1.0, self._seconds() / self.budget.amount)
        return min(1.0, (sum(t.state in SPENT for t in self.store.trials) + under_way) / self.budget.amount)

    def _seconds(self) -> float:
        return self.before + time.perf_counter() - self.since

    def _keep_time(self) -> None:
        self.there.write_json(self.there.facts, {**self.there.read_facts(), "seconds": round(self._seconds(), 3)})

    def _nothing_left(self) -> str:
        size = math.prod(map(len, self.ground.choices.values()))
        if len(self._seen()) >= size:
            return f"all {size:,} combinations were tried"
        row = 0
        for trial in reversed(self.store.trials):
            if trial.state not in ("rejected", "repeat", "same"):
                break
            row += 1
        return f"the last {row} combinations could not be measured" if row >= FRUITLESS else ""

    def _seen(self) -> set[tuple[str, ...]]:
        every = (*self.store.trials, *(trial for _, trial in self.asked.values()))
        return {tuple(trial.chosen.values()) for trial in every}

    def _propose(self) -> None:
        """Ask for one more combination; give it away to be measured, or write down why not."""
        number, begin = self._number(), time.perf_counter()
        asked = self._new(number)
        trial = self._statics(number, asked.chosen)
        if isinstance(trial, Trial):
            self._over(asked, attrs.evolve(trial, seconds=round(time.perf_counter() - begin, 3)))
            return
        self._begin(asked, number, trial, begin)

    def _new(self, number: int) -> Asked:
        """A combination that was not tried."""
        seen = self._seen()
        for attempt in range(TRIES):
            asked = self.store.ask(self.strategy.sampler(seed_of(self.ground.seed, number, attempt)))
            if tuple(asked.chosen.values()) not in seen:
                return asked
        seed = seed_of(self.ground.seed, number, TRIES)
        return self.store.ask(self.strategy.sampler(seed), self._untried(seed))

    def _number(self) -> int:
        """The first that no trial has. What a search that was killed had under way gets its number again."""
        used = {trial.number for trial in self.store.trials} | set(self.asked)
        return next(number for number in range(len(used) + 1) if number not in used)

    def _untried(self, seed: int) -> dict[str, str]:
        """A combination that was not tried."""
        seen, sizes = self._seen(), [len(values) for values in self.ground.choices.values()]
        size = math.prod(sizes)
        for place in range(size):
            chosen, rest = {}, (seed + place) % size
            for path, values in self.ground.choices.items():
                rest, index = divmod(rest, len(values))
                chosen[path] = values[index]
            if tuple(chosen.values()) not in seen:
                return chosen
        raise AssertionError("everything was tried")

    def _statics(self, number: int, chosen: Mapping[str, str]) -> Trial | Known:
        """What can be said of a combination without running it: what becomes of it, or that it may be measured."""
        try:
            found = examine(self.ground, self.aims, chosen)
        except Rejected as rejected:
            return Trial(number=number, chosen=chosen, state="rejected", reason=str(rejected))
        known = (*self.store.trials, *(trial for _, trial in self.asked.values()))
        like = next((t for t in known if t.key == found.key and t.state not in ("same", "repeat")), None)
        if like is None:
            return found
        same = "same" if like.state == "done" and like.number not in self.asked else "repeat"
        return Trial(
            number=number, chosen=chosen, state=same, reason=f"as trial {like.number}", figures=like.figures,
            metrics=like.metrics, violations=like.violations, key=found.key, like=like.number,
        )  # fmt: skip

    def _begin(self, asked: Asked, number: int, known: Known, since: float) -> None:
        """Time a combination, and give it away to be measured."""
        within, figures = self.ground.spec.search["within"], dict(known.figures)
        candidate = Candidate(number, asked.chosen, known.spec, self.there.trial(number))
        trial = Trial(number=number, chosen=asked.chosen, state="done", key=known.key)

        def over(state: Any, reason: str) -> None:
            taken = round(time.perf_counter() - since, 3)
            self._over(asked, attrs.evolve(trial, state=state, reason=reason, figures=figures, seconds=taken))

        self._own(candidate)
        try:
            timed = {
                n: self.strategy.latency(candidate, n, self.ground) for n in latencies(within, self.aims, known.spec)
            }
        except SpecError as error:
            return over("failed", said(error.diagnostics))
        except ValueError as error:
            return over("rejected", str(error))
        except Exception as error:  # a plugin may raise anything, and that fails this combination only
            return over("failed", f"{type(error).__name__}: {error}")
        for aim in self.aims:
            if aim.objective.key == "latency":
                figures[aim.name] = timed[aim.objective.at or length_of(known.spec)]
        if slow := too_slow(within, timed, known.spec):
            return over("rejected", slow)
        trial = attrs.evolve(trial, figures=figures)
        self.watcher.show(f"trial {number}", 0.0)
        if not _asked(self.ground):
            return self._over(asked, attrs.evolve(trial, seconds=round(time.perf_counter() - since, 3)))
        self.asked[number] = (asked, trial)
        self.team.give(candidate)

    def _own(self, candidate: Candidate) -> None:
        """Make the folder of a trial; what another combination left there is removed."""
        label = candidate.folder / "choices.json"
        if label.exists() and self.there.read_json(label) != dict(candidate.chosen):
            shutil.rmtree(candidate.folder)
        candidate.folder.mkdir(parents=True, exist_ok=True)
        self.there.write_json(label, dict(candidate.chosen))

    # What became of it ---------------------------------------------------------------------------------------------

    def _finish(self, candidate: Candidate, outcome: Outcome) -> None:
        asked, trial = self.asked.pop(candidate.number)
        if outcome.state == "interrupted":
            raise KeyboardInterrupt
        figures, broken, reason = dict(trial.figures), {}, outcome.reason
        if outcome.state == "done":
            figures |= {aim.name: outcome.metrics[aim.objective.key] for aim in self.aims if aim.objective.is_metric}
            broken = violations(self.ground.spec.search["within"], outcome.metrics)
            reason = "; ".join(f"expected {bound}" for bound, excess in broken.items() if excess)
        tidy(candidate)
        self._over(asked, attrs.evolve(
            trial, state=outcome.state, reason=reason, figures=figures, metrics=outcome.metrics,
            curve=curve_of(candidate), violations=broken, seconds=outcome.seconds,
        ))  # fmt: skip

    def _over(self, asked: Asked, trial: Trial) -> None:
        self.store.tell(asked, trial)
        if trial.state in SPENT:
            self._keep_time()
        self.watcher.trial(trial, self._share())

    def _judge(self, candidate: Candidate, share: float, metrics: Mapping[str, float]) -> str:
        """Why a trial on its way is to stop; empty: it may go on."""
        _, trial = self.asked[candidate.number]
        now = [
            aim.small(metrics[aim.objective.key] if aim.objective.is_metric else trial.figures[aim.name])
            for aim in self.aims
        ]
        better = beaten_by(now, share, self._finished())
        if better is None:
            return ""
        return f"after {share:.0%} of its budget it could no longer beat trial {better.number}"

    def _finished(self) -> list[Finished]:
        found = []
        for trial in self.store.trials:
            if trial.counts:
                final = vector(trial, self.aims)
                curve = {
                    share: [
                        aim.small(at[aim.objective.key]) if aim.objective.is_metric else end
                        for aim, end in zip(self.aims, final, strict=True)
                    ]
                    for share, at in trial.curve.items()
                }  # fmt: skip
                found.append(Finished(trial.number, final, curve))
        return found

    def _winners(self) -> list[Trial]:
        return winners(self.store.trials, self.aims)

    def _candidate(self, trial: Trial) -> Candidate:
        return Candidate(trial.number, trial.chosen, self.ground.resolve(trial.chosen), self.there.trial(trial.number))


def _asked(ground: Ground) -> bool:
    """Whether anything must be measured on the task."""
    return bool(asked(ground.spec))
