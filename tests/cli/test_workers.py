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


def test_a_process_that_dies_is_a_finding_about_its_file(worker):
    first = worker.process.pid
    worker.give((3, "mine.xc.yaml@dense"))
    os.kill(first, signal.SIGKILL)

    number, reports = worker.hear()

    assert number == 3
    assert [(r.name, r.file, r.ok) for r in reports] == [("mine@dense", "mine.xc.yaml", False)]
    (finding,) = reports[0].findings
    assert finding.message == (
        "the process that checked 'mine.xc.yaml@dense' died: killed, most likely for want of memory"
    )
    assert finding.fixes == ("xcompose check -j 1 on it alone, with a smaller variant 'tiny' if memory is short",)
    assert worker.at is None
    assert worker.process.is_alive()
    assert worker.process.pid != first


def test_reports_come_in_the_order_of_the_files(here):
    names = [f"{name}.xc.yaml" for name in "cab"]
    for name in names:
        (here / name).write_text("xcompose: 1\n")
    seen = []

    report = check_at_once(names, PARSE, 2, seen.append)

    assert [spec.file for spec in report.specs] == names
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
