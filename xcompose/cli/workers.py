"""Checks files in several processes at once. A process that dies is a finding about the file it was checking."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics.sources import SOURCES

if TYPE_CHECKING:
    from xcompose.verify.results import Report, SpecReport

EACH = 2**30
"""Bytes of free memory wanted for each process."""
DIED = "XC053"


@attrs.frozen
class Job:
    """What every process does with a file."""

    sets: tuple[str, ...]
    stages: tuple[str, ...]
    seed: int
    suggest: bool = False


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def reasonable(wanted: int, files: int) -> int:
    """How many processes to start: as many as wanted (0: one a core), but no more than files or memory allow."""
    from xcompose.compose.room import free_bytes

    free = free_bytes()
    room = files if free is None else max(1, free // EACH)
    return max(1, min(wanted or cores(), files, room))


def check_at_once(references: Sequence[str], job: Job, processes: int, done: Callable[[str], None]) -> Report:
    """Check files with their variants, several at a time; the report is in the order of the files.

    Args:
        references: FILE or FILE@VARIANT.
        job: the same for all.
        processes: how many.
        done: called with the name of each spec that is through.
    """
    from xcompose.verify.results import Report

    began = time.perf_counter()
    found: dict[int, tuple[SpecReport, ...]] = {}
    with _team(job, processes) as team:
        waiting = list(enumerate(references))[::-1]
        while waiting or any(worker.at is not None for worker in team):
            for worker in team:
                if worker.at is None and waiting:
                    worker.give(waiting.pop())
            for worker in _spoke(team):
                answer = worker.hear()
                if isinstance(answer, str):
                    done(answer)
                elif answer is not None:
                    found[answer[0]] = answer[1]
    ordered = tuple(report for number in sorted(found) for report in found[number])
    return Report(ordered, time.perf_counter() - began)


@contextmanager
def _team(job: Job, processes: int) -> Iterator[list[_Worker]]:
    team = [_Worker(job) for _ in range(processes)]
    try:
        yield team
    finally:
        for worker in team:
            worker.end()


def _spoke(team: Sequence[_Worker]) -> list[_Worker]:
    busy = {worker.wire: worker for worker in team if worker.at is not None}
    return [busy[wire] for wire in wait(list(busy)) if isinstance(wire, Connection)]


class _Worker:
    """A process, the wire to it, and the file it is at."""

    def __init__(self, job: Job):
        self.job = job
        self.at: tuple[int, str] | None = None
        self.begin()

    def begin(self) -> None:
        context = mp.get_context("spawn")
        self.wire, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, self.job), daemon=True)
        self.process.start()
        other.close()

    def give(self, task: tuple[int, str]) -> None:
        self.at = task
        self.wire.send(task[1])

    def hear(self) -> str | tuple[int, tuple[SpecReport, ...]] | None:
        """The name of a spec that is through, or everything about the file, which ends the task."""
        assert self.at is not None
        number, reference = self.at
        try:
            answer, texts = self.wire.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            dead, self.at = _dead(reference, self.process.exitcode), None
            self.begin()
            return number, (dead,)
        if isinstance(answer, str):
            return answer
        for file, text in texts.items():
            SOURCES.register(file, text)
        self.at = None
        return number, answer

    def end(self) -> None:
        self.wire.close()
        self.process.terminate()
        self.process.join()


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
    """What a process does: check each file that it is given, until the wire is cut."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            reference = wire.recv()
        except EOFError:
            return
        reports = tuple(checked(reference, job, lambda report: wire.send((report.name, {}))))
        wire.send((reports, _texts(reports)))


def checked(reference: str, job: Job, done: Callable[[SpecReport], Any]) -> Sequence[SpecReport]:
    """The reports about a file with its variants."""
    from xcompose.verify.runner import check_files, check_spec

    if not job.suggest:
        return check_files([reference], job.sets, stages=job.stages, seed=job.seed, done=done).specs
    report = check_spec(reference, job.sets, stages=job.stages, seed=job.seed, suggest=True)
    done(report)
    return [report]


def _texts(reports: Sequence[SpecReport]) -> dict[str, str]:
    """The texts that findings point into, for the process that prints them."""
    places = {p for r in reports for f in r.findings for p in (f.span, *(note.span for note in f.notes)) if p}
    texts = {place.file: SOURCES.text(place.file) for place in places}
    return {file: text for file, text in texts.items() if text is not None}
