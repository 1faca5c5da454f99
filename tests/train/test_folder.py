from __future__ import annotations

from pathlib import Path

import pytest

from xcompose.diagnostics import SpecError
from xcompose.train.folder import MetricsFile, RunFolder, read_metrics, write_atomically


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    return RunFolder(Path("runs/one"))


def begun(run: RunFolder, *, finished: bool = False) -> RunFolder:
    run.start(overwrite=False)
    run.write_json(run.facts, {"data": None})
    run.checkpoint.write_bytes(b"checkpoint")
    if finished:
        run.write_json(run.result, {})
    return run


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(SpecError) as error:
        call(*arguments, **options)
    return str(error.value)


def test_a_new_folder_is_made(run: RunFolder):
    run.start(overwrite=False)

    assert run.checkpoint.parent.is_dir()


def test_a_finished_run_is_not_overwritten(run: RunFolder):
    begun(run, finished=True)

    assert refusal(run.start, overwrite=False) == (
        "error[XC087]: 'runs/one' holds a finished run\n"
        "  = fix: --overwrite starts afresh, --run chooses another folder"
    )
    assert run.checkpoint.exists()


def test_an_unfinished_run_is_not_overwritten(run: RunFolder):
    begun(run)

    assert refusal(run.start, overwrite=False) == (
        "error[XC087]: 'runs/one' holds an unfinished run\n"
        "  = fix: --resume goes on with it, --overwrite starts afresh, --run chooses another folder"
    )


def test_a_run_is_overwritten_when_asked(run: RunFolder):
    begun(run, finished=True)

    run.start(overwrite=True)

    assert [p.name for p in run.path.iterdir()] == ["checkpoints"]
    assert list(run.checkpoint.parent.iterdir()) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_never_touched(run: RunFolder, overwrite: bool):
    run.path.mkdir(parents=True)
    (run.path / "thesis.tex").write_text("years of work")

    assert refusal(run.start, overwrite=overwrite) == (
        "error[XC087]: 'runs/one' holds other files: thesis.tex\n  = fix: choose another folder with --run"
    )
    assert (run.path / "thesis.tex").exists()


def test_a_file_in_the_way_is_refused(run: RunFolder):
    run.path.parent.mkdir()
    run.path.write_text("")

    assert refusal(run.start, overwrite=True) == (
        "error[XC087]: 'runs/one' is a file\n  = fix: choose another folder with --run"
    )


def test_an_unfinished_run_is_reopened(run: RunFolder):
    assert begun(run).reopen() == {"data": None}


def test_half_a_checkpoint_is_swept_away(run: RunFolder):
    draft = begun(run).checkpoint.with_name(".last.ckpt.x1y2z3")
    draft.write_bytes(b"half")

    run.reopen()

    assert [p.name for p in run.checkpoint.parent.iterdir()] == ["last.ckpt"]


def test_what_is_no_run_is_not_reopened(run: RunFolder):
    assert refusal(run.reopen) == ("error[XC087]: 'runs/one' holds no run\n  = fix: start one without --resume")


def test_a_finished_run_is_not_reopened(run: RunFolder):
    assert refusal(begun(run, finished=True).reopen) == (
        "error[XC087]: 'runs/one' holds a finished run\n  = fix: nothing is left to do; --overwrite starts afresh"
    )


def test_a_file_is_replaced_as_a_whole(tmp_path: Path):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    write_atomically(path, b"new")

    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_metrics_read_back_exactly(tmp_path: Path):
    file = MetricsFile(tmp_path / "metrics.csv", ("step", "loss", "valid_loss"))
    file.keep_until(0)
    file.append({"step": 1, "loss": 0.1 + 0.2})
    file.append({"step": 2, "loss": 1 / 3, "valid_loss": 2.5})

    assert read_metrics(tmp_path / "metrics.csv") == [
        {"step": 1, "loss": 0.1 + 0.2, "valid_loss": None},
        {"step": 2, "loss": 1 / 3, "valid_loss": 2.5},
    ]


def test_lines_behind_the_last_checkpoint_are_dropped(tmp_path: Path):
    file = MetricsFile(tmp_path / "metrics.csv", ("step", "loss"))
    file.keep_until(0)
    for step in (1, 2, 3):
        file.append({"step": step, "loss": 0.5})
    with open(file.path, "a") as cut_off:
        cut_off.write("4,0.123")

    file.keep_until(2)
    file.append({"step": 3, "loss": 0.25})

    assert [(row["step"], row["loss"]) for row in read_metrics(file.path)] == [(1, 0.5), (2, 0.5), (3, 0.25)]


def test_metrics_on_a_full_disk_are_refused(tmp_path: Path):
    file = MetricsFile(Path("/dev/full"), ("step", "loss"))

    assert refusal(file.append, {"step": 1, "loss": 0.5}) == (
        "error[XC089]: cannot write /dev/full: no space left on device\n  = fix: make room, then go on with --resume"
    )
