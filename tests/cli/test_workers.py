"""Checking in several processes: nothing is lost when one of them dies."""

from __future__ import annotations

import os
import signal

import pytest

from xcompose.cli import workers
from xcompose.cli.workers import Job, check_at_once, reasonable

PARSE = Job((), ("parse",), 0)


@pytest.fixture
def worker():
    made = workers._Worker(PARSE)
    yield made
    made.end()


def test_a_process_that_dies_is_a_finding_about_its_spec_and_the_rest_goes_on(worker):
    first = worker.process.pid
    os.kill(first, signal.SIGSTOP)
    worker.give(("mine.xc.yaml@dense", "mine.xc.yaml"))
    os.kill(first, signal.SIGKILL)

    reference, report = worker.hear()

    assert reference == "mine.xc.yaml@dense"
    assert (report.name, report.file, report.ok) == ("mine@dense", "mine.xc.yaml", False)
    (finding,) = report.findings
    assert finding.code == "XC096"
    assert finding.message == (
        "the process that checked 'mine.xc.yaml@dense' died: killed, most likely for want of memory"
    )
    assert finding.fixes == ("xcompose check -j 1 on it alone, with a smaller variant 'tiny' if memory is short",)
    assert worker.process.pid != first
    assert worker.hear()[1].ok
    assert worker.task == ()
    assert worker.process.is_alive()


def test_a_process_that_died_while_it_had_nothing_to_do(worker):
    worker.process.kill()
    worker.process.join()

    worker.give(("mine.xc.yaml",))
    reference, report = worker.hear()

    assert (reference, report.ok) == ("mine.xc.yaml", False)
    assert report.findings[0].message.endswith("died: killed, most likely for want of memory")


def test_every_spec_is_answered_whatever_the_order(here):
    names = [f"{name}.xc.yaml" for name in "cab"]
    for name in names:
        (here / name).write_text("xcompose: 1\n")
    seen = []

    found = check_at_once([(name,) for name in names], PARSE, 2, lambda report: seen.append(report.name))

    assert {reference: report.file for reference, report in found.items()} == {name: name for name in names}
    assert sorted(seen) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("wanted", "files", "free", "started"),
    [(4, 9, None, 4), (4, 2, None, 2), (4, 9, 3 * 2**30, 3), (4, 9, 100, 1), (1, 9, None, 1)],
)
def test_no_more_processes_than_files_or_memory_allow(monkeypatch, wanted, files, free, started):
    monkeypatch.setattr("xcompose.compose.room.free_bytes", lambda: free)

    assert reasonable(wanted, files) == started


def test_one_process_for_each_core_if_nothing_is_said(monkeypatch):
    monkeypatch.setattr("xcompose.compose.room.free_bytes", lambda: None)
    monkeypatch.setattr(workers, "cores", lambda: 3)

    assert reasonable(0, 9) == 3
