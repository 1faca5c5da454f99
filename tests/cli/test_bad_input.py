"""Every mistake of a user gives one clear message, and nothing is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.cli.calling import call
from xcompose.compose import room, weights


def spec(text: str) -> None:
    Path("mine.xc.yaml").write_text("xcompose: 1\n" + text)


def told(command: str, code: int = 1) -> str:
    called = call(command)
    assert called.code == code, called.said
    assert "Traceback" not in called.said
    return called.said


def test_a_missing_file():
    assert told("xcompose build nowhere.xc.yaml") == "error[XC001]: there is no file nowhere.xc.yaml"


def test_a_name_that_is_no_specs():
    Path("mine.yaml").write_text("xcompose: 1\n")

    assert told("xcompose build mine.yaml") == (
        "error[XC002]: mine.yaml: the name of a spec ends in .xc.yaml\n  = fix: rename it to mine.xc.yaml"
    )


def test_broken_yaml():
    spec("model: {type: decoder\n")

    assert told("xcompose check mine.xc.yaml") == "?"


def test_an_unknown_key():
    spec("model: {type: decoder, dim: 16, layers: 1, haeds: 2}\n")

    assert told("xcompose build mine.xc.yaml") == (
        "error[XC011]: 'decoder' has no option 'haeds'\n"
        " --> mine.xc.yaml:2:44   model\n"
        "  |\n"
        "2 | model: {type: decoder, dim: 16, layers: 1, haeds: 2}\n"
        "  |                                            ^^^^^\n"
        "  = fix: did you mean 'heads'?"
    )


def test_a_wrong_kind():
    spec("model: {type: decoder, dim: 16, layers: 1, norm: rotary}\n")

    assert told("xcompose build mine.xc.yaml") == "?"


def test_an_unknown_plugin():
    spec("model: {type: decoder, dim: 16, layers: 1, mixer: acme/nystrom}\n")

    assert told("xcompose build mine.xc.yaml") == "?"


def test_a_model_that_does_not_fit_says_how_much_it_needs(monkeypatch):
    monkeypatch.setattr(room, "free_bytes", lambda: 2**30)
    spec("model: {type: decoder, dim: 64Ki, layers: 2}\ntask: lm(data=stdlib)\n")

    assert told("xcompose train mine.xc.yaml") == "?"
    assert not Path("runs").exists()


def test_a_model_beyond_all_counting():
    assert told("xcompose build mine.xc.yaml --set dim=1Gi") == "?"


def test_a_length_that_the_model_cannot_take():
    spec("model: {type: encoder, dim: 16, length: 64, layers: 1, position: learned}\n")

    assert told("xcompose cost mine.xc.yaml --length 65") == "?"


def test_a_mechanism_that_a_decoder_cannot_use():
    spec("model: {type: decoder, dim: 16, length: 64, layers: 1, mixer: 'attention(pattern=none, memory=linformer(4))'}\n")

    assert told("xcompose build mine.xc.yaml") == "?"


def test_an_empty_corpus():
    Path("empty.txt").write_text("")

    assert told("xcompose train mine.xc.yaml --data empty.txt") == "?"


def test_a_binary_corpus():
    Path("photo.txt").write_bytes(b"abc\0def" * 100)

    assert told("xcompose train mine.xc.yaml --data photo.txt") == "?"


def test_a_missing_corpus():
    assert told("xcompose train mine.xc.yaml --data nowhere") == "?"


def test_a_full_disk_loses_nothing(monkeypatch):
    assert call("xcompose train mine.xc.yaml").code == 0
    kept = {p: p.read_bytes() for p in Path("runs/mine").rglob("*") if p.suffix == ".safetensors"}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert told("xcompose freeze mine.xc.yaml -o frozen.xc.yaml") == "?"
    assert {p: p.read_bytes() for p in kept} == kept
    assert sorted(p.name for p in Path().iterdir()) == ["mine.xc.yaml", "runs"]
    assert weights


def test_a_recipe_is_no_model():
    spec("task: lm(data=stdlib)\n")

    assert told("xcompose draw mine.xc.yaml") == "?"


def test_a_folder_without_specs():
    Path("nothing").mkdir()

    assert told("xcompose check nothing", code=2) == "?"


def test_a_run_that_is_none():
    assert told("xcompose generate nowhere") == "?"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("xcompose check mine.xc.yaml --stage bild", "error: there is no stage 'bild'"),
        ("xcompose check mine.xc.yaml --format yaml", "error: there is no format 'yaml'"),
        ("xcompose cost mine.xc.yaml --length 1x", "?"),
        ("xcompose cost mine.xc.yaml --length 0", "?"),
        ("xcompose draw mine.xc.yaml -o picture.gif", "?"),
        ("xcompose draw mine.xc.yaml --length 1Mi", "?"),
        ("xcompose bench --type machine", "?"),
        ("xcompose bench mine.xc.yaml attention", "?"),
        ("xcompose bench --plot curves.gif", "?"),
        ("xcompose compare attention", "?"),
        ("xcompose compare mine.xc.yaml --vary let.w", "?"),
        ("xcompose compare mine.xc.yaml", "?"),
        ("xcompose compare mine.xc.yaml mine.xc.yaml@dense --budget 3", "?"),
        ("xcompose train mine.xc.yaml --budget soon", "?"),
        ("xcompose new mine", "?"),
        ("xcompose new nowhere/mine", "?"),
        ("xcompose show windov", "?"),
        ("xcompose show swa", "?"),
        ("xcompose list patern", "?"),
        ("xcompose explain XC999", "?"),
        ("xcompose why mine.xc.yaml let.v", "?"),
        ("xcompose generate runs/mine --prompt ''", "?"),
        ("xcompose quickstart", "?"),
    ],
)
def test_wrong_use_of_a_command(command, message):
    called = call(command)

    assert called.said == message


@pytest.mark.parametrize("command", ["xcompose", "xcompose build"])
def test_what_is_missing_is_named(command):
    assert call(command).code == 2


def test_an_unknown_option_names_the_near_one():
    called = call("xcompose cost mine.xc.yaml --lenght 5")

    assert called.code == 2
    assert "No such option: --lenght" in called.err
    assert "--length" in called.err


def test_an_unknown_command():
    called = call("xcompose chekc")

    assert called.code == 2
    assert "No such command 'chekc'." in called.err
