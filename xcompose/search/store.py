"""The folder of a search, with the store of its trials.

search.db           every trial that is over: an optuna study in one sqlite file
sampler.json        what chooses: the strategy with its options, and the seed. It has no state beside the store
facts.json          what the search is about, and how long it took so far
trials/             a folder for each trial that was measured
strategy/           what the strategy keeps
search.lock         held while a search is under way here
search.json         the result
pareto.html         the same to look at
winner-1.xc.yaml    a spec for each winner
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from xcompose.compose.addons import extra
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.search.trial import Aim, Trial
from xcompose.train.folder import write_atomically

ATTRIBUTE, LOCK = "xcompose", "search.lock"
FACTS = ("data", "spec digest", "data digest", "seconds", "machine")
"""What every search knows about itself."""
OPTUNA = {"done": "COMPLETE", "same": "COMPLETE", "failed": "FAIL"}
"""How optuna calls what became of a trial; the others are pruned."""


@attrs.frozen
class SearchFolder:
    """Where each file of a search lies."""

    path: Path

    @property
    def store(self) -> Path:
        return self.path / "search.db"

    @property
    def sampler(self) -> Path:
        return self.path / "sampler.json"

    @property
    def facts(self) -> Path:
        return self.path / "facts.json"

    @property
    def result(self) -> Path:
        return self.path / "search.json"

    @property
    def page(self) -> Path:
        return self.path / "pareto.html"

    @property
    def strategy(self) -> Path:
        return self.path / "strategy"

    def trial(self, number: int) -> Path:
        return self.path / "trials" / f"{number:04}"

    def winner(self, place: int) -> Path:
        return self.path / f"winner-{place}.xc.yaml"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other searches out of this folder. The system lets go of it when the process ends, however it does.

        Raises:
            SpecError: another search is under way there, it holds something else, or it is a file (XC087).
        """
        if self.path.exists() and not self.path.is_dir():
            raise SpecError(self._refusal("is a file", "choose another folder with --out"))
        self.path.mkdir(parents=True, exist_ok=True)
        there = sorted({p.name for p in self.path.iterdir()} - {LOCK})
        if there and not self.facts.exists():
            raise SpecError(self._refusal(f"holds other files: {there[0]}", "choose another folder with --out"))
        with (self.path / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another search is under way in '{self.path}'"
                fixes = ("wait until it is over", "choose another folder with --out")
                raise SpecError(Diagnostic("XC087", message, fixes=fixes, stage="search")) from None
            yield

    def start(self, *, overwrite: bool) -> None:
        """Make the folder, while it is held, ready for a new search.

        Raises:
            SpecError: it holds a search already and is not to be overwritten (XC087).
        """
        if self.facts.exists() and not overwrite:
            fix = "--resume goes on with it, --overwrite starts afresh, --out chooses another folder"
            raise SpecError(self._refusal("holds a search", fix))
        for file in (self.store, self.sampler, self.result, self.page, *self.path.glob("winner-*.xc.yaml")):
            file.unlink(missing_ok=True)
        for folder in (self.path / "trials", self.strategy):
            shutil.rmtree(folder, ignore_errors=True)

    def reopen(self) -> Mapping[str, Any]:
        """The facts of a search that is to go on.

        Raises:
            SpecError: there is none (XC087).
        """
        if not (self.facts.exists() and self.sampler.exists()):
            raise SpecError(self._refusal("holds no search", "start one without --resume"))
        return self.read_facts()

    def read_facts(self) -> Mapping[str, Any]:
        """What the search is about.

        Raises:
            SpecError: the file is broken (XC087).
        """
        facts = self.read_json(self.facts)
        if missing := [key for key in FACTS if key not in facts]:
            raise SpecError(self._broken(self.facts, f"it has no '{missing[0]}'"))
        return facts

    def read_json(self, path: Path) -> Mapping[str, Any]:
        """A JSON file of this folder.

        Raises:
            SpecError: the file is broken (XC087).
        """
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise SpecError(self._broken(path, str(error))) from error
        if not isinstance(found, dict):
            raise SpecError(self._broken(path, "it holds no mapping"))
        return found

    def _broken(self, path: Path, why: str) -> Diagnostic:
        message = f"cannot go on: {path.relative_to(self.path)} is broken"
        return attrs.evolve(self._refusal(message, "start afresh with --overwrite"), label=why)

    def refuse_change(self, what: Sequence[str]) -> None:
        """Refuse to go on where something is not as it was.

        Raises:
            SpecError: there is anything in the list (XC087).
        """
        if what:
            changed = " and ".join(what)
            fix = "go on with the spec and the data as they were, or start afresh with --overwrite"
            raise SpecError(self._refusal(f"cannot go on: the {changed} changed since the search began", fix))

    def _refusal(self, what: str, fix: str) -> Diagnostic:
        return Diagnostic("XC087", f"'{self.path}' {what}", fixes=(fix,), stage="search")

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write a JSON file for humans, too."""
        write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def seed_of(seed: int, number: int, attempt: int) -> int:
    """The seed of the sampler that makes one attempt at a trial."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{attempt}".encode()).digest()[:4], "big")


@attrs.frozen
class Asked:
    """A combination that a strategy proposed."""

    chosen: Mapping[str, str]
    notes: Mapping[str, Any]
    """What the sampler noted beside it, such as a generation."""


class Store:
    """The trials of a search, in one sqlite file.

    A trial goes there when it is over, in one transaction, so a search that is killed finds there the trials that were
    over, each of them whole, and nothing else. Every question to a sampler is asked of a study that is made anew from
    these trials: what samplers keep in a study beside them is lost when a process dies, and would make a search that
    goes on differ from one that was never stopped.
    """

    def __init__(self, folder: SearchFolder, choices: Mapping[str, Sequence[str]], aims: Sequence[Aim]):
        self._optuna = extra("optuna", "search")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self.aims = aims
        category = self._optuna.distributions.CategoricalDistribution
        self._choices = {path: category(tuple(values)) for path, values in choices.items()}
        self._directions = ["maximize" if aim.larger else "minimize" for aim in aims]
        # Not by the file's name: a URL would end at a question mark.
        pool = extra("sqlalchemy.pool", "search").NullPool
        engine = {"creator": lambda: sqlite3.connect(folder.store), "poolclass": pool}
        storage = self._optuna.storages.RDBStorage("sqlite://", engine_kwargs=engine)
        self._disk = self._optuna.create_study(
            study_name="search", storage=storage, directions=self._directions, load_if_exists=True
        )
        self._kept = list(self._disk.get_trials(deepcopy=False))
        self.trials = [Trial.of_json(kept.user_attrs[ATTRIBUTE]) for kept in self._kept]

    def ask(self, sampler: Any, fixed: Mapping[str, str] | None = None) -> Asked:
        """A new combination, made by a sampler or given."""
        study = self._optuna.create_study(directions=self._directions, sampler=sampler)
        study.add_trials(self._kept)
        if fixed is not None:
            study.enqueue_trial(dict(fixed))
        study.ask(self._choices)
        made = study.get_trials(deepcopy=False)[-1]
        return Asked({path: made.params[path] for path in self._choices}, made.system_attrs)

    def tell(self, asked: Asked, trial: Trial) -> None:
        """Write down what became of a combination."""
        state = self._optuna.trial.TrialState[OPTUNA.get(trial.state, "PRUNED")]
        complete = state.name == "COMPLETE"
        made = self._optuna.create_trial(
            state=state, values=[trial.figures[aim.name] for aim in self.aims] if complete else None,
            params=dict(asked.chosen), distributions=self._choices, system_attrs=dict(asked.notes),
            constraints=dict(trial.violations) or None, user_attrs={ATTRIBUTE: trial.as_json()},
        )  # fmt: skip
        self._disk.add_trial(made)
        self._kept.append(made)
        self.trials.append(trial)
