"""Writes docs/learning.md: every spec's variant `tiny`, trained as long as it says, against a guess that reads nothing.

    python docs/tools/learning_page.py              the specs that have no row yet
    python docs/tools/learning_page.py NAME ...     these again

The figures are kept in docs/learning.json, so that one spec can be trained again. Real data is looked for in the folder
that XCOMPOSE_DATA names, else in ../shared/data beside the project.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import xcompose as xc
from xcompose.compose.build import plan_model
from xcompose.spec import SpecName, check, variants_of
from xcompose.spec.model import Spec
from xcompose.train.batches import evenly
from xcompose.train.prepare import prepare
from xcompose.train.run import train

ROOT = Path(__file__).resolve().parents[2]
PAGE, FIGURES = ROOT / "docs" / "learning.md", ROOT / "docs" / "learning.json"
DATA = Path(os.environ.get("XCOMPOSE_DATA") or ROOT.parent / "shared" / "data")
FOLDERS = {"mnist": "img/mnist", "cifar10": "img/cifar10/cifar10_train_first4000.bin.xz", "multi30k": "mt/multi30k"}
"""Where data that is not built in lies below the data folder, by the name that a task gives it."""
BUILT_IN = ("stdlib",)


class Learnt(NamedTuple):
    """How a run ended."""

    task: str
    data: str
    parameters: int
    steps: int
    metric: str
    guess: float
    """What this metric is for the best answer that looks at nothing."""
    reached: float
    seconds: float
    """Of the processor."""

    @property
    def better(self) -> bool:
        """Whether the model beats the guess."""
        return self.reached > self.guess if self.metric == "accuracy" else self.reached < self.guess


def trainable() -> list[str]:
    """Every spec with a variant `tiny` that has a task, as a path below the project's folder.

    One that does not load is among them: its own run will say so. One that trains a part of a model that was trained
    before, or learns from such a model, is not: here there is none.
    """
    found, catalogue = [], xc.registry.load().catalogue
    for path in sorted((ROOT / "specs").glob("*/*.xc.yaml")):
        if "tiny" in variants_of(path):
            spec, _ = check(f"{path}@tiny", (), catalogue)
            if spec is None or (spec.task is not None and not taught(spec) and not (spec.addons and frozen(spec))):
                found.append(path.relative_to(ROOT).as_posix())
    return found


def taught(spec: Spec) -> bool:
    """Whether it learns from another spec's model."""
    options = [value for addon in spec.train.get("addons", ()) for value in addon.options.values()]
    return any(isinstance(value, SpecName) for value in options)


def frozen(spec: Spec) -> bool:
    """Whether its base stays as it is. Weights that are stored in few bits when training is over do not."""
    return any(listed.addon.freezes for listed in plan_model(spec).addons)


def name_of(spec: str) -> str:
    """`survey/bigbird-base` of a path."""
    return spec.removeprefix("specs/").removesuffix(".xc.yaml")


def data_of(spec: Spec) -> str | None:
    """Where the data of a spec's task lies, below the data folder; None where it is built in."""
    assert spec.task is not None
    data = spec.task.options["data"]
    return None if data in BUILT_IN else FOLDERS[data]


def learnt(reference: str, folder: Path, data: Path | None) -> Learnt:
    """Train the variant `tiny` of a spec, and compare.

    Args:
        reference: path of the spec, without a variant.
        folder: for the run.
        data: what the task reads where it is not built in.
    """
    spec = xc.read(f"{ROOT / reference}@tiny")
    assert spec.task is not None
    work = prepare(spec, data).work
    items = evenly(work.splits.valid, work.settings.eval_batches * work.settings.batch)
    guess = without_looking([items[i] for i in range(len(items))], work.task.metric)  # type: ignore[arg-type]
    begin = time.process_time()
    result = train(spec, folder, data=data, accelerator="cpu")
    return Learnt(
        spec.task.name, spec.task.options["data"], result.parameters, result.steps, result.metric, guess,
        result.valid[result.metric], time.process_time() - begin,
    )  # fmt: skip


def without_looking(items: Sequence[Any], metric: str) -> float:
    """The metric of the best answer that is the same for all of these items, and knows how often each is right.

    Bits: the entropy of what has to be predicted. Accuracy: the share of the most frequent class.
    """
    if metric == "accuracy":
        labels = torch.stack([item["label"] for item in items])
        return float(torch.bincount(labels).max()) / len(labels)
    if not metric.startswith("bits_per_"):
        raise ValueError(f"no guess is known for the metric '{metric}'")
    counts = torch.zeros(0, dtype=torch.long)
    for item in items:
        counts = _added(counts, torch.bincount(_predicted(item)))
    shares = counts[counts > 0].double() / counts.sum()
    return float(-(shares * shares.log2()).sum())


def _predicted(item: Any) -> torch.Tensor:
    """(n) what a model is asked for: a target, masked tokens (any of them may be), or each token but the first."""
    if "target" in item:
        return item["target"][item["mask"]]
    return item["tokens"] if "draw" in item else item["tokens"][1:]


def _added(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    found = torch.zeros(max(len(a), len(b)), dtype=torch.long)
    found[: len(a)] += a
    found[: len(b)] += b
    return found


def page(figures: dict[str, Learnt]) -> str:
    """The whole page."""
    rows = [
        f"| {name} | {row.task} | {row.data} | {row.parameters:,} | {row.steps} | {row.metric.replace('_', ' ')} "
        f"| {_figure(row, row.guess)} | {_reached(row)} | {row.seconds:.0f} |"
        for name, row in sorted(figures.items())
    ]
    head = [
        "| spec | task | data | parameters | steps | metric | without looking | reached | seconds |",
        "|---|---|---|---:|---:|---|---:|---:|---:|",
    ]
    return "\n".join([INTRODUCTION, *head, *rows]) + "\n"


def _reached(row: Learnt) -> str:
    return _figure(row, row.reached) + ("" if row.better else ", no better")


def _figure(row: Learnt, value: float) -> str:
    return f"{100 * value:.1f} %" if row.metric == "accuracy" else f"{value:.2f}"


INTRODUCTION = """# What the small variants learn

Every spec with a variant `tiny` trains it for as long as it says, 200 steps as a rule, on real data. *Without looking*
is the best answer that is the same whatever the model reads: the entropy of the held-out tokens, or the share of the
most frequent class. *Reached* is measured on the same held-out data at the end of the run. A test asks that every row
beats the guess; it proves that the parts learn together, not which mechanism is best. Seconds are the processor's,
data and evaluation included, with one thread. `make learning` trains what has no row yet and writes this page.

`stdlib` is the source of Python's standard library, which every machine has; MNIST is shown at 14 x 14 or as points.
Specs that train an adapter on a frozen base are left out: there is no trained base here.
"""


def main(names: Sequence[str]) -> None:
    """Train, keep the figures, write the page."""
    torch.set_num_threads(1)
    known = {n: Learnt(**row) for n, row in json.loads(FIGURES.read_text()).items()} if FIGURES.exists() else {}
    every = {name_of(spec): spec for spec in trainable()}
    known = {name: row for name, row in known.items() if name in every}
    for name in names or sorted((name for name in every if name not in known), reverse=True):
        below = data_of(xc.read(f"{ROOT / every[name]}@tiny"))
        with tempfile.TemporaryDirectory() as folder:
            row = learnt(every[name], Path(folder) / "run", None if below is None else DATA / below)
        assert math.isfinite(row.reached), f"{name} diverged"
        known[name] = row
        print(
            f"{name}: {row.metric} {row.reached:.3f}, without looking {row.guess:.3f}, {row.seconds:.0f} s", flush=True
        )
        FIGURES.write_text(json.dumps({n: r._asdict() for n, r in sorted(known.items())}, indent=1) + "\n")
        PAGE.write_text(page(known))


if __name__ == "__main__":
    main(sys.argv[1:])
