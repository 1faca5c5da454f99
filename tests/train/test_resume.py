"""A run that was killed goes on as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.train import tiny
from tests.train.tiny import corpus, run
from xcompose import registry
from xcompose.spec import load_text
from xcompose.train.folder import RunFolder, read_metrics
from xcompose.train.prepare import prepare
from xcompose.train.progress import Silent
from xcompose.train.run import fit

PATIENCE = 60


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def measured(folder: Path) -> list[dict[str, Any]]:
    """What a run wrote down, but for the clock."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(folder / "metrics.csv")]


def start_and_kill(folder: Path, data: Path, *, after: int) -> None:
    """Train in another process and kill it without warning once so many steps are written down."""
    process = subprocess.Popen([sys.executable, tiny.__file__, str(folder), str(data)])
    metrics, give_up = folder / "metrics.csv", time.monotonic() + PATIENCE
    while not metrics.exists() or len(metrics.read_text().splitlines()) <= after:
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < give_up, "the run did not get anywhere"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_run_goes_on_exactly(tmp_path: Path):
    data = corpus(tmp_path)
    run(tmp_path / "whole", data)
    start_and_kill(tmp_path / "killed", data, after=13)
    at_death = measured(tmp_path / "killed")

    result = run(tmp_path / "killed", data)

    assert 13 <= len(at_death) < 20
    assert result.steps == 20
    assert measured(tmp_path / "killed") == measured(tmp_path / "whole")
    whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


class StopAt(Silent):
    """Presses Ctrl-C behind a step."""

    def __init__(self, at: int):
        self.at = at

    def step(self, step: int, *arguments: Any, **options: Any) -> None:
        if step == self.at:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("at", [1, 5, 6, 11])
def test_a_stopped_run_goes_on_exactly(tmp_path: Path, at: int):
    data = corpus(tmp_path)
    run(tmp_path / "whole", data)

    first = run(tmp_path / "stopped", data, display=StopAt(at))
    second = run(tmp_path / "stopped", data)

    assert (first.interrupted, first.steps) == (True, at + 1)
    assert (second.interrupted, second.steps) == (False, 20)
    assert measured(tmp_path / "stopped") == measured(tmp_path / "whole")


COMPOSED = """\
xcompose: 1
model:
  type: decoder
  dim: 32
  heads: 4
  dropout: 0.2
  residual: reversible
  layers:
    - attention(pattern=heads(3*window(3), random(2) | window(0)))
    - attention(score=linear)
task: lm
train: {budget: 8 steps, batch: 2, length: 16, lr: 1e-2, save: {every: 3}, recompute: true}
"""


def test_a_composed_model_with_dropout_goes_on_exactly(tmp_path: Path):
    spec = load_text(COMPOSED, "composed", catalogue=registry.load().catalogue)
    data = corpus(tmp_path)

    def go(name: str, display: Silent) -> None:
        (tmp_path / name / "checkpoints").mkdir(parents=True, exist_ok=True)
        fit("composed", prepare(spec, data).work, RunFolder(tmp_path / name), display, accelerator="cpu")

    go("whole", Silent())
    go("stopped", StopAt(4))
    assert len(measured(tmp_path / "stopped")) == 5
    go("stopped", Silent())

    assert measured(tmp_path / "stopped") == measured(tmp_path / "whole")


def test_a_stopped_run_has_no_result(tmp_path: Path):
    run(tmp_path / "run", corpus(tmp_path), display=StopAt(3))

    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["checkpoints", "metrics.csv"]


def test_a_run_killed_behind_its_last_step_makes_no_other(tmp_path: Path):
    data = corpus(tmp_path)
    run(tmp_path / "run", data)
    before = measured(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()

    result = run(tmp_path / "run", data)

    assert result.steps == 20
    assert measured(tmp_path / "run") == before
    assert (tmp_path / "run" / "result.json").exists()
