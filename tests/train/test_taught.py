"""Runs that learn from a teacher: what they keep, how they go on, and that nobody needs the teacher afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.calling import call
from tests.train.test_resume import StopAt, measured
from tests.train.tiny import corpus
from xcompose import registry
from xcompose.compose.addons import Given
from xcompose.compose.build import build_model
from xcompose.compose.weights import load_model, save_weights
from xcompose.diagnostics import SpecError
from xcompose.spec import load
from xcompose.train import RunResult, load_run, load_spec, train

TEACHER = """\
xcompose: 1
model: {type: decoder, dim: 24, heads: 2, layers: 4, length: 64}
variants:
  wide: {model: {dim: 40}}
"""
STUDENT = """\
xcompose: 1
model: {type: decoder, dim: 16, heads: 2, dropout: 0.1, layers: 2*attention(score=linear), length: 64}
addons: [share]
task: lm
train:
  budget: 6 steps
  batch: 2
  length: 16
  lr: 1e-2
  eval: {every: 3, batches: 2}
  save: {every: 2}
  addons:
    - distill("../teachers/teacher.xc.yaml@wide", hidden=1, relations=1, relation_heads=2)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a teacher, a student, and weights of the teacher and of another one."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    corpus(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    for folder, name, text in (("teachers", "teacher", TEACHER), ("students", "student", STUDENT)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.xc.yaml").write_text(text)
    for seed, name in enumerate(("teacher", "another")):
        teacher = load("teachers/teacher.xc.yaml@wide", catalogue=registry.load().catalogue)
        save_weights(build_model(teacher, seed=seed), tmp_path / f"{name}.safetensors")
    return tmp_path


def go(run: str = "run", file: str = "students/student.xc.yaml", teacher: str | None = "teacher", **more) -> RunResult:
    spec = load(file, catalogue=registry.load().catalogue)
    given = Given(Path(f"{teacher}.safetensors")) if teacher else None
    return train(spec, Path(run), data=Path("text.txt"), accelerator="cpu", given=given, **more)


def refusal(**options: Any) -> str:
    with pytest.raises(SpecError) as error:
        go(**options)
    return str(error.value)


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(Path(run) / "model.safetensors")


def test_a_run_keeps_the_spec_of_its_teacher_but_not_its_weights(here: Path):
    go()

    kept = load_spec(here / "run" / "spec.xc.yaml")
    teacher = load_spec(here / "run" / "teacher.xc.yaml")
    facts = json.loads((here / "run" / "run.json").read_text())
    assert kept.train["addons"][0].options["teacher"] == str((here / "run" / "teacher.xc.yaml").resolve())
    assert (teacher.name, teacher.model.options["dim"], teacher.task, teacher.train) == ("teacher@wide", 40, None, {})
    assert facts["teacher"] == str(here / "teacher.safetensors")
    assert (facts["specs"], [*facts["addons"][0]]) == (["teacher.xc.yaml"], ["teacher"])
    checkpoint = torch.load(here / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert [name for name in checkpoint if not name.startswith("model.")] == ["addons.0.projections.hidden"]


def test_nobody_needs_the_teacher_to_use_the_student(here: Path):
    go()
    for path in ("teachers", "students", "teacher.safetensors"):
        shutil.rmtree(here / path) if (here / path).is_dir() else (here / path).unlink()

    model, spec = load_run(Path("run"))
    again = load_model(Path("run/model.safetensors"))

    assert spec.name == "student"
    assert set(weights("run")) <= set(model.state_dict())
    assert not [name for name in weights("run") if "projection" in name]
    tokens = torch.tensor([list(b"3 is followed by ")])
    assert torch.equal(model(tokens).logits, again(tokens).logits)


def test_a_stopped_run_goes_on_exactly_with_the_teacher_it_had(here: Path):
    go("whole")
    stopped = go("stopped", display=StopAt(3))

    result = go("stopped", teacher=None, resume=True)

    assert (stopped.interrupted, result.steps) == (True, 6)
    assert measured(here / "stopped") == measured(here / "whole")
    assert all(torch.equal(t, weights("whole")[name]) for name, t in weights("stopped").items())


def test_a_run_goes_on_from_its_own_folder_wherever_that_is(here: Path):
    go("whole")
    go("stopped", display=StopAt(3))
    (here / "elsewhere").mkdir()
    shutil.move("stopped", "elsewhere/run")
    shutil.rmtree("teachers")

    go("elsewhere/run", file="elsewhere/run/spec.xc.yaml", resume=True)

    assert measured(here / "elsewhere" / "run") == measured(here / "whole")


def test_the_same_weights_in_another_file_are_the_same_teacher(here: Path):
    go("whole")
    go("stopped", display=StopAt(3))
    teacher = load("teachers/teacher.xc.yaml@wide", catalogue=registry.load().catalogue)
    save_weights(build_model(teacher, seed=0), here / "copy.safetensors")

    go("stopped", teacher="copy", resume=True)

    assert measured(here / "stopped") == measured(here / "whole")


def test_another_teacher_is_refused(here: Path):
    go(display=StopAt(3))

    assert refusal(teacher="another", resume=True) == (
        "error[XC087]: 'run' cannot go on: the teacher changed since it began\n"
        "  = fix: go on with 'run/spec.xc.yaml' and the same data and the same teacher, or start afresh with "
        "--overwrite"
    )


def test_another_spec_of_the_teacher_is_another_spec(here: Path):
    go(display=StopAt(3))
    file = here / "teachers" / "teacher.xc.yaml"
    file.write_text(TEACHER.replace("heads: 2", "heads: 4"))

    assert refusal(resume=True).startswith("error[XC087]: 'run' cannot go on: the spec changed since it began\n")


def test_starting_afresh_removes_the_spec_of_an_old_teacher(here: Path):
    go()
    student = here / "students" / "student.xc.yaml"
    student.write_text(STUDENT[: STUDENT.index("  addons:\n    - distill")])

    go(teacher=None, overwrite=True)

    assert not (here / "run" / "teacher.xc.yaml").exists()


def test_weights_of_another_model_are_refused(here: Path):
    other = load("teachers/teacher.xc.yaml", catalogue=registry.load().catalogue)
    save_weights(build_model(other), here / "other.safetensors")

    assert refusal(teacher="other").startswith("error[XC042]: the weights in other.safetensors are not those of this")
    assert not (here / "run").exists()


def test_what_does_not_fit_is_refused_where_it_is_written_before_a_run_begins(here: Path):
    student = here / "students" / "student.xc.yaml"
    student.write_text(STUDENT.replace("relation_heads=2", "relation_heads=3"))

    assert refusal() == (
        "error[XC031]: 3 heads of relations do not divide the width 16 of 'q' in the student\n"
        "  --> students/student.xc.yaml:13:89   train.addons.0.relation_heads\n"
        "   |\n"
        '13 |     - distill("../teachers/teacher.xc.yaml@wide", hidden=1, relations=1, relation_heads=3)\n'
        "   |                                                                                         ^\n"
        "   = fix: a number that divides the widths of both"
    )
    assert not (here / "run").exists()


def test_a_second_teacher_is_refused(here: Path):
    student = here / "students" / "student.xc.yaml"
    student.write_text(STUDENT + '    - distill("../teachers/teacher.xc.yaml@wide", logits=0, hidden=1)\n')

    assert refusal() == (
        "error[XC034]: 'distill' is listed twice, first at train.addons.0\n"
        "  --> students/student.xc.yaml:14:7   train.addons.1\n"
        "   |\n"
        '14 |     - distill("../teachers/teacher.xc.yaml@wide", logits=0, hidden=1)\n'
        "   |       ^^^^^^^ a second one would take its share of what the first one adds\n"
        "   = fix: keep one of them"
    )
    assert not (here / "run").exists()


def test_a_teacher_that_nobody_learns_from_is_refused(here: Path):
    teacher = "teachers/teacher.xc.yaml"
    (here / "plain.xc.yaml").write_text(STUDENT.partition("  addons:")[0])
    for command in (f"train {teacher}", f"compare {teacher} {teacher}@wide --recipe plain.xc.yaml --out compared"):
        called = call(f"xcompose {command} --teacher teacher.safetensors")

        assert (called.code, called.said) == (
            2,
            "error: --teacher: nothing learns from a teacher here\n  = fix: a spec with train.addons that name one",
        )
        assert not (here / "compared").exists()
