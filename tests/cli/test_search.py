"""`xcompose search`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from .calling import call

SEARCH = """\
search:
  choices:
    let.w: [4, 8]
    dim: [16, 17]
    addons: [[], ["share(all)"]]
  minimize: [params, state at 64]
  budget: 2 trials
"""


@pytest.fixture(autouse=True)
def searched(here):
    (here / "mine.xc.yaml").write_text((here / "mine.xc.yaml").read_text() + SEARCH)


def test_it_shows_winners_and_writes_them():
    called = call("xcompose search mine.xc.yaml --out found")

    assert called.code == 0
    assert "winners: nothing beats them" in called.out
    assert "addons=[]" in called.out
    assert "2 heads do not divide dim 17" in called.out
    assert "written to found; look at pareto.html; next:  xcompose check found/winner-1.xc.yaml" in called.out
    assert call("xcompose check found/winner-1.xc.yaml").code == 0


def test_json_is_for_programs():
    called = call("xcompose search mine.xc.yaml --format json")

    data = json.loads(called.out)
    assert data["name"] == "mine"
    assert data["counts"]["done"] == 2
    assert [o["name"] for o in data["objectives"]] == ["params", "state at 64"]
    assert "trial 0" in called.err


def test_a_search_goes_on_with_a_larger_budget():
    call("xcompose search mine.xc.yaml --budget '1 trial'")
    again = call("xcompose search mine.xc.yaml")
    more = call("xcompose search mine.xc.yaml --resume")

    assert again.code == 1
    assert "error[XC087]: 'runs/search-mine' holds a search" in again.err
    assert more.code == 0
    assert "2 measured" in more.out


def test_no_winner_is_no_success():
    called = call("xcompose search mine.xc.yaml --set 'search.within={params: ..1k}' --set 'search.budget=4 trials'")

    assert called.code == 1
    assert "error: no combination was measured and kept all bounds" in called.err
    assert "× expected params ..1k, found" in called.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--budget 3steps", 2, "write 3 steps"),
        ("--budget '3 steps'", 2, "--budget: a search lasts for trials or for a time, found '3 steps'"),
        ("--accelerator tpu", 2, "--accelerator: there is no 'tpu'"),
        ("--set search.minimize=speed", 1, "error[XC060]: the task has no metric 'speed'"),
        ("--set search.choices.dmi=[3]", 1, "error[XC029]: there is no place 'dmi' to choose for"),
    ],
)
def test_wrong_words_are_refused(words, code, said):
    called = call(f"xcompose search mine.xc.yaml {words}")

    assert called.code == code
    assert said in called.err


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_several_jobs_go_on(here):
    text = (here / "mine.xc.yaml").read_text().replace("[params,", "[loss, params,").replace("2 trials", "4 trials")
    text = text.replace("budget: 2 steps", "budget: 120 steps, save: {every: 10}")
    (here / "mine.xc.yaml").write_text(text)
    command = [sys.executable, "-m", "xcompose.cli.main", "search", "mine.xc.yaml", "-j", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=here)
    trials = here / "runs" / "search-mine" / "trials"
    deadline = time.monotonic() + 300
    while not list(trials.rglob("metrics.csv")) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=300)

    assert process.returncode == 1, said
    assert "stopped; go on with --resume" in said
    assert list(trials.rglob("last.ckpt"))
    after = subprocess.run([*command, "--resume"], capture_output=True, text=True, cwd=here, timeout=900)
    assert after.returncode == 0, after.stdout + after.stderr
    assert "2 measured, 6 rejected" in after.stdout
    assert "ended early: all 8 combinations were tried" in after.stdout


def test_going_on_and_starting_afresh_exclude_each_other():
    called = call("xcompose search mine.xc.yaml --resume --overwrite")

    assert called.code == 2
    assert called.err == ("error: --resume goes on with a search, --overwrite starts afresh\n  = fix: one of the two\n")


def test_a_folder_in_brackets_is_named_as_it_is():
    called = call("xcompose search mine.xc.yaml --out found[red]")

    assert "written to found[red]; look at pareto.html" in called.out
