"""A search that is killed at any point, and goes on, is the search that was never stopped."""

from __future__ import annotations

import multiprocessing as mp
import os
import random
import signal
import time
from pathlib import Path

import torch

from xcompose.search.run import search

from .small import registry, written

REGISTRY = registry()
FORK = mp.get_context("fork")


def plain(result, *, metrics: bool = False):
    return [
        (t.number, dict(t.chosen), t.state, t.reason, dict(t.figures), dict(t.metrics), dict(t.curve))
        for t in result.trials
    ]


def _run(reference: str, folder: Path) -> None:
    torch.set_num_threads(1)
    begun = (folder / "sampler.json").exists()
    search(reference, (), folder, registry=REGISTRY, resume=begun, overwrite=not begun)


def killed(reference: str, folder: Path, moments: list[float], first: int = 0) -> int:
    """Run a search, killed so many seconds after it found its folder; how many trials were over by then.

    Of the first run the seconds count from the moment on when so many trials are there, which a busy machine delays.
    """
    for number, moment in enumerate(moments):
        process = FORK.Process(target=_run, args=(reference, folder))
        process.start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (
            (folder / "sampler.json").exists() and (number or len(list((folder / "trials").glob("*"))) >= first)
        ):
            time.sleep(0.01)
        process.join(moment)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
    kept = len(list((folder / "trials").glob("*"))) if (folder / "trials").exists() else 0
    return kept


def test_killed_at_random_points_it_gives_the_same_trials(tmp_path):
    reference = written(tmp_path, strategy="formula(seconds=0.05)")
    whole = search(reference, (), tmp_path / "whole", registry=REGISTRY)
    draw = random.Random(5)

    begun = killed(reference, tmp_path / "killed", [draw.uniform(0.2, 1.5) for _ in range(3)], first=1)
    after = search(reference, (), tmp_path / "killed", registry=REGISTRY, resume=True)

    assert begun
    assert plain(after) == plain(whole)


def test_a_trial_that_is_killed_while_it_trains_goes_on_exactly(tmp_path):
    reference = written(tmp_path, strategy="evolve(2)", budget="3 trials")
    text = Path(reference).read_text().replace("budget: 3 steps,", "budget: 40 steps, save: {every: 5},")
    Path(reference).write_text(text)
    whole = search(reference, (), tmp_path / "whole", registry=REGISTRY)

    killed(reference, tmp_path / "killed", [0.6, 1.1])
    after = search(reference, (), tmp_path / "killed", registry=REGISTRY, resume=True)

    assert plain(after) == plain(whole)
    assert all(set(t.curve) == {0.25, 0.5, 0.75} for t in whole.trials)
    assert not list((tmp_path / "killed").rglob("*.ckpt"))
    winners = {t.number for t in whole.winners}
    weights = {int(p.parts[-3]) for p in (tmp_path / "killed" / "trials").rglob("model.safetensors")}
    assert weights == winners


def test_a_proposal_depends_on_the_trials_before_it_alone(tmp_path):
    reference = written(tmp_path)
    whole = search(reference, (), tmp_path / "whole", registry=REGISTRY)
    from xcompose.spec.bounds import Budget

    for stop in (3, 7):
        folder = tmp_path / f"cut-{stop}"
        search(reference, (), folder, registry=REGISTRY, budget=Budget(stop, "trials"))
        after = search(reference, (), folder, registry=REGISTRY, resume=True)
        assert plain(after) == plain(whole)
