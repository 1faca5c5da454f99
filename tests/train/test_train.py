"""From a spec in a file to a run's folder."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import xcompose.train
from tests.train.tiny import corpus
from xcompose import registry
from xcompose.diagnostics import SpecError
from xcompose.spec import load
from xcompose.train import RunResult, load_run, load_spec, train
from xcompose.train.folder import read_metrics

SPEC = """\
xcompose: 1
model: {type: decoder, dim: 32, heads: 2, layers: 2, length: 64}
task: lm
train: {budget: 6 steps, batch: 2, length: 16, eval: {every: 3, batches: 2}, save: {every: 2}, lr: 1e-2}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    corpus(tmp_path)
    (tmp_path / "small.xc.yaml").write_text(SPEC)
    return tmp_path


def go(*sets: str, run: str = "run", file: str = "small.xc.yaml", **options) -> RunResult:
    spec = load(file, sets, catalogue=registry.load().catalogue)
    return train(spec, Path(run), data=Path("text.txt"), accelerator="cpu", **options)


def refusal(*sets: str, **options) -> str:
    with pytest.raises(SpecError) as error:
        go(*sets, **options)
    return str(error.value)


def test_a_run_s_folder_holds_all_there_is_to_know(here: Path):
    result = go()

    run = here / "run"
    assert sorted(p.name for p in here.iterdir()) == ["run", "small.xc.yaml", "text.txt"]
    assert sorted(p.name for p in run.iterdir()) == [
        "checkpoints", "loss.png", "loss.svg", "metrics.csv", "model.safetensors", "plugins.json", "result.json",
        "run.json", "spec.xc.yaml",
    ]  # fmt: skip
    assert result.valid["bits_per_byte"] < 8
    assert json.loads((run / "plugins.json").read_text())["plugins"].keys() >= {"xcompose"}
    assert json.loads((run / "run.json").read_text())["data"] == str(here / "text.txt")
    frozen = load_spec(run / "spec.xc.yaml")
    assert (frozen.name, frozen.train["batch"], frozen.train["clip"]) == ("small", 2, 1.0)


def test_the_frozen_spec_says_how_it_was_trained_even_by_default(here: Path):
    (here / "small.xc.yaml").write_text("".join(SPEC.splitlines(keepends=True)[:3]))

    go("train.budget=1 steps", "train.length=16")

    assert load_spec(here / "run" / "spec.xc.yaml").train["eval"] == {"every": 500, "batches": 20}


def test_a_trained_model_comes_back(here: Path):
    result = go()

    model, spec = load_run(Path("run"))

    assert spec.name == "small"
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == result.parameters
    logits = model(torch.tensor([list(b"3 is followed by ")])).logits
    again, _ = load_run(Path("run"))
    assert torch.equal(again(torch.tensor([list(b"3 is followed by ")])).logits, logits)


def test_a_run_goes_on_from_its_own_folder(here: Path):
    go(run="whole")
    go(run="cut")
    (here / "cut" / "result.json").unlink()

    result = train(load_spec(Path("cut/spec.xc.yaml")), Path("cut"), resume=True, accelerator="cpu")

    assert result.steps == 6
    a, b = ([r["loss"] for r in read_metrics(here / name / "metrics.csv")] for name in ("whole", "cut"))
    assert a == b


def test_a_run_of_another_spec_or_other_data_does_not_go_on(here: Path):
    go()
    (here / "run" / "result.json").unlink()
    (here / "text.txt").write_text("Another text altogether. " * 99)

    assert refusal("model.dim=64", resume=True) == (
        "error[XC087]: 'run' cannot go on: the spec and the data changed since it began\n"
        "  = fix: go on with 'run/spec.xc.yaml' and the same data, or start afresh with --overwrite"
    )


def test_a_finished_run_is_kept(here: Path):
    go()

    assert refusal() == (
        "error[XC087]: 'run' holds a finished run\n  = fix: --overwrite starts afresh, --run chooses another folder"
    )


def test_a_refused_spec_leaves_no_folder_behind(here: Path):
    refusal("task=lm(data=enwik8)", "model.type=encoder")

    assert not (here / "run").exists()


def test_a_recipe_alone_cannot_be_trained(here: Path):
    (here / "recipe.xc.yaml").write_text("xcompose: 1\ntask: lm\n")

    assert refusal(file="recipe.xc.yaml") == (
        "error[XC030]: 'recipe' has no model to train\n  = fix: this is a recipe: train a spec with it, --recipe FILE"
    )


def test_a_spec_without_a_task_cannot_be_trained(here: Path):
    (here / "plain.xc.yaml").write_text("xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 1}\n")

    assert refusal(file="plain.xc.yaml") == (
        "error[XC030]: 'plain' has no task to train\n"
        "  = fix: add one, for example: task: lm(data=stdlib); or --recipe FILE"
    )


def test_a_task_that_the_model_would_cheat_at_is_refused_at_its_place(here: Path):
    (here / "small.xc.yaml").write_text(SPEC.replace("decoder", "encoder"))

    assert refusal() == (
        "error[XC031]: task 'lm' needs a causal model\n"
        " --> small.xc.yaml:3:7   task\n"
        "  |\n"
        "3 | task: lm\n"
        "  |       ^^ this model reads the byte that it is asked to predict\n"
        "  = fix: type: decoder\n"
        "  = fix: task: mlm"
    )


def test_an_output_that_does_not_answer_the_task_is_refused_at_its_place(here: Path):
    (here / "small.xc.yaml").write_text(SPEC.replace("decoder", "encoder").replace("lm", "mlm"))

    assert refusal() == (
        "error[XC031]: task 'mlm' wants one of 256 for each token, "
        "the model's output gives 32 numbers for each token\n"
        " --> small.xc.yaml:3:7   task\n"
        "  |\n"
        "3 | task: mlm\n"
        "  |       ^^^\n"
        "  = fix: an output made for this task; `xcompose list output` names them"
    )


def test_a_goal_for_an_unknown_metric_is_refused_before_training(here: Path):
    assert refusal("train.goal={accuracy: 0.5..}") == (
        "error[XC060]: the task has no metric 'accuracy'\n"
        " --> --set #1:1:23   train.goal.accuracy\n"
        "  |\n"
        "1 | train.goal={accuracy: 0.5..}\n"
        "  |                       ^^^^^\n"
        "  = fix: it has: loss, bits_per_byte"
    )


def test_a_missed_goal_is_in_the_result(here: Path):
    result = go("train.goal={bits_per_byte: ..0.5}")

    assert [d.code for d in result.missed] == ["XC088"]
    assert go("train.goal={bits_per_byte: ..8.5}", run="other").missed == ()


def test_computing_layers_again_changes_nothing(here: Path):
    go(run="kept")
    go("train.recompute=true", run="again")

    kept, again = ([r["loss"] for r in read_metrics(here / n / "metrics.csv")] for n in ("kept", "again"))
    assert kept == pytest.approx(again, abs=1e-6)


def test_a_missing_extra_is_named(here: Path, monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lightning" else find(name))

    assert refusal() == "error[XC095]: training needs lightning\n  = fix: pip install 'xcompose[train]'"


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("nothing", "'nothing' is not the folder of a run\n  = fix: xcompose train SPEC makes one"),
        ("run", "'run' is not finished: it has no weights yet\n  = fix: go on with it: xcompose train --resume"),
    ],
)
def test_what_is_no_finished_run_is_not_loaded(here: Path, folder: str, text: str):
    (here / "run").mkdir()
    (here / "run" / "run.json").write_text("{}")

    with pytest.raises(SpecError) as error:
        load_run(Path(folder))

    assert str(error.value) == f"error[XC087]: {text}"


@pytest.mark.parametrize(
    ("task", "model"),
    [("mlm", "{type: encoder, dim: 32, heads: 2, layers: 1, output: mlm}"),
     ("classify", "{type: encoder, dim: 32, heads: 2, layers: 1, output: classify(8)}")],
)  # fmt: skip
def test_the_other_tasks_train_too(here: Path, task: str, model: str):
    (here / "other.xc.yaml").write_text(
        f"xcompose: 1\nmodel: {model}\ntask: {task}\ntrain: {{budget: 2 steps, batch: 2, length: 64, lr: 1e-2}}\n"
    )
    spec = load("other.xc.yaml", (), catalogue=registry.load().catalogue)

    result = train(spec, Path("run"), accelerator="cpu")

    assert result.metric in result.valid


def test_reading_data_loads_neither_training_nor_the_terminal():
    code = "import sys, xcompose.train.corpus; print(sorted({'lightning', 'rich', 'safetensors'} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="^xcompose.train has no 'bench'$"):
        _ = xcompose.train.bench
