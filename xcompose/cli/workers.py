"""Checks specs in several processes at once. A process that dies is a finding about the spec it was checking."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics.sources import SOURCES

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from xcompose.verify.results import SpecReport

EACH = 2**30
"""Bytes of free memory wanted for each process."""
DIED = "XC096"

Done = Callable[["SpecReport"], None]
Task = tuple[str, ...]
"""Specs that one process checks in turn: a file and its variants, which share what is measured."""


@attrs.frozen
class Job:
    """What every process does with a spec."""

    sets: tuple[str, ...]
    stages: tuple[str, ...]
    seed: int
    suggest: bool = False
    circumstances: str = ""
    """What reports are kept under, see `verify.kept`; empty where none is kept."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def reasonable(wanted: int, tasks: int) -> int:
    """How many processes to start: as many as wanted (0: one a core), but no more than tasks or memory allow."""
    from xcompose.compose.room import free_bytes

    free = free_bytes()
    room = tasks if free is None else max(1, free // EACH)
    return max(1, min(wanted or cores(), tasks, room))


def check_in_turn(tasks: Sequence[Task], job: Job, done: Done) -> dict[str, SpecReport]:
    """Check specs in this process."""
    found: dict[str, SpecReport] = {}
    for task in tasks:
        for reference, report in checked(task, job):
            found[reference] = report
            done(report)
    return found


def check_at_once(tasks: Sequence[Task], job: Job, processes: int, done: Done) -> dict[str, SpecReport]:
    """Check specs, several at a time; the report about each, by its reference.

    Args:
        tasks: the specs of each belong together, FILE or FILE@VARIANT.
        job: the same for all.
        processes: how many.
        done: called with each report as it comes.
    """
    found: dict[str, SpecReport] = {}
    with _team(job, processes) as team:
        waiting = list(tasks)[::-1]
        while waiting or any(worker.task for worker in team):
            for worker in team:
                if not worker.task and waiting:
                    worker.give(waiting.pop())
            for worker in _spoke(team):
                reference, report = worker.hear()
                found[reference] = report
                done(report)
    return found


@contextmanager
def _team(job: Job, processes: int) -> Iterator[list[_Worker]]:
    team: list[_Worker] = []
    try:
        for _ in range(processes):
            team.append(_Worker(job))
        yield team
    finally:
        for worker in team:
            worker.end()


def _spoke(team: Sequence[_Worker]) -> list[_Worker]:
    from multiprocessing.connection import Connection, wait

    busy = {worker.wire: worker for worker in team if worker.task}
    return [busy[wire] for wire in wait(list(busy)) if isinstance(wire, Connection)]


class _Worker:
    """A process, the wire to it, and the specs it has still to check; it is at the first of them."""

    def __init__(self, job: Job):
        self.job = job
        self.task: Task = ()
        self.begin()

    def begin(self) -> None:
        import multiprocessing as mp

        context = mp.get_context("spawn")
        self.wire, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, self.job), daemon=True)
        with _no_interrupts():
            self.process.start()
        other.close()

    def give(self, task: Task) -> None:
        self.task = task
        with suppress(BrokenPipeError, ConnectionResetError):  # it died meanwhile, which `hear` will say
            self.wire.send(task)

    def hear(self) -> tuple[str, SpecReport]:
        """The report about the spec that the process is at. One that died is replaced, and goes on behind that spec."""
        reference = self.task[0]
        self.task = self.task[1:]
        try:
            report, texts = self.wire.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            report, texts = _dead(reference, self.process.exitcode), {}
            self.wire.close()
            self.begin()
            if self.task:
                self.give(self.task)
        for file, text in texts.items():
            SOURCES.register(file, text)
        return reference, report

    def end(self) -> None:
        self.wire.close()
        self.process.terminate()
        self.process.join()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """A process that begins in here never hears Ctrl-C, not even while it imports: this one ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _dead(reference: str, code: int | None) -> SpecReport:
    from xcompose.verify.results import SpecReport, Stage

    name = Path(reference).name.replace(".xc.yaml", "")
    how = f"exit code {code}"
    if code is not None and code < 0:
        how = "killed, most likely for want of memory" if -code == signal.SIGKILL else signal.Signals(-code).name
    finding = Diagnostic(
        DIED, f"the process that checked '{reference}' died: {how}", spec=name,
        fixes=("xcompose check -j 1 on it alone, with a smaller variant 'tiny' if memory is short",),
    )  # fmt: skip
    return SpecReport(name, reference.partition("@")[0], (Stage("parse", "failed", remark="died"),), (finding,))


def _work(wire: Connection, job: Job) -> None:
    """What a process does: check the specs that it is given, until the wire is cut."""
    from xcompose.verify.kept import texts_of
    from xcompose.verify.results import STATIC

    if not set(job.stages) <= set(STATIC):
        import torch

        torch.set_num_threads(1)
    while True:
        try:
            task = wire.recv()
            for _, report in checked(task, job):
                wire.send((report, texts_of(report)))
        except (EOFError, BrokenPipeError):
            return


def checked(task: Task, job: Job) -> Iterator[tuple[str, SpecReport]]:
    """Check specs one after the other, and keep what is found for the next run."""
    from xcompose.registry import load
    from xcompose.spec.reading import recorded
    from xcompose.verify.kept import Kept
    from xcompose.verify.runner import Checker

    checker, kept = Checker(load(), job.seed, job.stages), Kept(job.circumstances)
    for reference in task:
        with recorded() as files:
            report = checker.check(reference, job.sets, suggest=job.suggest)
        kept.keep(reference, report, files, job.stages)
        yield reference, report
