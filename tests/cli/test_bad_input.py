"""Every mistake of a user gives one clear message, and nothing is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.cli.calling import call
from xcompose.compose import room, weights

BUDGET = "expected a budget such as 200 steps, 3 epochs, 2M tokens, 60 trials, 90s, 2min or 3h"


def spec(text: str) -> None:
    Path("mine.xc.yaml").write_text("xcompose: 1\n" + text)


def told(command: str, code: int = 1) -> str:
    called = call(command)
    assert called.code == code, called.said
    assert "Traceback" not in called.said
    return called.said


def test_a_missing_file():
    assert told("xcompose build nowhere.xc.yaml") == (
        "error[XC001]: there is no file nowhere.xc.yaml\n  = fix: did you mean mine.xc.yaml?"
    )


def test_a_name_that_is_no_specs():
    Path("mine.yaml").write_text("xcompose: 1\n")

    assert told("xcompose build mine.yaml") == (
        "error[XC002]: a spec's file name ends in .xc.yaml, found mine.yaml\n  = fix: rename it to mine.xc.yaml"
    )


def test_broken_yaml():
    spec("model: {type: decoder\n")

    assert told("xcompose build mine.xc.yaml") == (
        "error[XC004]: `{` is never closed\n"
        " --> mine.xc.yaml:2:8\n"
        "  |\n"
        "2 | model: {type: decoder\n"
        "  |        ^ opened here"
    )


def test_an_unknown_key():
    spec("model: {type: decoder, dim: 64, layers: 1, haeds: 2}\n")

    assert told("xcompose build mine.xc.yaml") == (
        "error[XC011]: 'decoder' has no option 'haeds'\n"
        " --> mine.xc.yaml:2:44   model\n"
        "  |\n"
        "2 | model: {type: decoder, dim: 64, layers: 1, haeds: 2}\n"
        "  |                                            ^^^^^\n"
        "  = fix: did you mean 'heads' or 'kv_heads'?"
    )


def test_a_wrong_kind():
    spec("model: {type: decoder, dim: 64, layers: 1, norm: rotary}\n")

    assert told("xcompose build mine.xc.yaml") == (
        "error[XC013]: no norm is called 'rotary'\n"
        " --> mine.xc.yaml:2:50   model.norm\n"
        "  |\n"
        "2 | model: {type: decoder, dim: 64, layers: 1, norm: rotary}\n"
        "  |                                                  ^^^^^^ 'rotary' is a position, not a norm"
    )


def test_an_unknown_plugin():
    spec("model: {type: decoder, dim: 64, layers: 1, mixer: my/own}\n")

    assert told("xcompose build mine.xc.yaml") == (
        "error[XC013]: no mixer is called 'my/own'\n"
        " --> mine.xc.yaml:2:51   model.mixer\n"
        "  |\n"
        "2 | model: {type: decoder, dim: 64, layers: 1, mixer: my/own}\n"
        "  |                                                   ^^^^^^ no plugin with the namespace 'my' is installed"
    )


def test_a_model_that_does_not_fit_says_how_much_it_needs(monkeypatch):
    monkeypatch.setattr(room, "free_bytes", lambda: 2**30)
    spec("model: {type: decoder, dim: 64Ki, layers: 2}\ntask: lm(data=stdlib)\n")

    assert told("xcompose train mine.xc.yaml") == (
        "error[XC040]: the model needs 384.1 GiB of memory, 1.0 GiB is free\n"
        " --> mine.xc.yaml:2:15   model\n"
        "  |\n"
        "2 | model: {type: decoder, dim: 64Ki, layers: 2}\n"
        "  |               ^^^^^^^ 103,097,827,328 parameters of 4 bytes\n"
        "  = fix: fewer or narrower layers, or a smaller vocabulary; `xcompose cost` counts without building"
    )
    assert not Path("runs").exists()


def test_a_model_beyond_all_counting():
    assert told("xcompose build mine.xc.yaml --set dim=1Gi") == (
        "error[XC040]: the model needs more than 8.0 EiB of memory\n"
        " --> mine.xc.yaml:4:9   model\n"
        "  |\n"
        "4 |   type: decoder\n"
        "  |         ^^^^^^^ one of its tensors has more elements than 64 bits can count\n"
        "  = fix: fewer or narrower layers, or a smaller vocabulary"
    )


def test_a_length_that_the_model_cannot_take():
    spec("model: {type: encoder, dim: 64, length: 64, layers: 1, position: learned}\n")

    assert told("xcompose cost mine.xc.yaml --length 65") == (
        "error[XC041]: the model does not take a text of 65 tokens\n"
        " --> mine.xc.yaml:2:15   model\n"
        "  |\n"
        "2 | model: {type: encoder, dim: 64, length: 64, layers: 1, position: learned}\n"
        "  |               ^^^^^^^ a sequence of 65 tokens is longer than the 64 places of position 'learned'\n"
        "  = fix: another --length"
    )


def test_a_mechanism_that_a_decoder_cannot_use():
    spec("model:\n  type: decoder\n  dim: 64\n  length: 64\n  layers: attention(pattern=none, memory=linformer(4))\n")

    assert told("xcompose build mine.xc.yaml") == (
        "error[XC031]: a decoder cannot use memory 'linformer'\n"
        " --> mine.xc.yaml:6:42   model.layers.0.mixer.memory\n"
        "  |\n"
        "6 |   layers: attention(pattern=none, memory=linformer(4))\n"
        "  |                                          ^^^^^^^^^^^^ each of its 4 key slots summarises "
        "positions 0..n-1, so every query would read the future\n"
        " ::: mine.xc.yaml:3:9\n"
        "  |\n"
        "3 |   type: decoder\n"
        "  |         ------- causal because of this\n"
        "  = fix: use it in an encoder\n"
        "  = fix: a causal summary: conv(3)"
    )


def test_an_empty_corpus():
    Path("empty.txt").write_text("")

    assert told("xcompose train mine.xc.yaml --data empty.txt") == (
        "error[XC081]: 'empty.txt' is empty\n"
        " --> task.data\n"
        "  = fix: give a file, or a folder of files, with text in it"
    )


def test_a_binary_corpus():
    Path("photo.txt").write_bytes(b"abc\0def" * 100)

    assert told("xcompose train mine.xc.yaml --data photo.txt") == (
        "error[XC082]: 'photo.txt' is not text: byte 3 is zero\n"
        " --> task.data\n"
        "  = fix: give text; or, to model any bytes, write binary=true in the task: lm(binary=true)"
    )


def test_a_missing_corpus():
    assert told("xcompose train mine.xc.yaml --data nowhere") == (
        "error[XC080]: there is no file or folder 'nowhere'\n --> task.data\n  = fix: check the path after --data"
    )


def test_a_full_disk_loses_nothing(monkeypatch):
    assert call("xcompose train mine.xc.yaml").code == 0
    kept = {p: p.read_bytes() for p in Path("runs/mine").rglob("*") if p.suffix == ".safetensors"}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(weights, "_room", lambda place: 0)
    assert told("xcompose freeze mine.xc.yaml -o frozen.xc.yaml") == (
        "error[XC089]: cannot write frozen.xc.yaml: no space left on device\n"
        " --> nothing was left behind\n"
        "  = fix: make room (0 B is free there), or write somewhere else"
    )
    assert {p: p.read_bytes() for p in kept} == kept
    assert sorted(p.name for p in Path().iterdir()) == ["mine.xc.yaml", "runs"]


def test_a_recipe_is_no_model():
    spec("task: lm(data=stdlib)\n")

    assert told("xcompose draw mine.xc.yaml") == (
        "error[XC030]: 'mine' is a recipe: it has no model\n  = fix: name a spec that has `model`"
    )


def test_a_folder_without_specs(monkeypatch):
    Path("nothing").mkdir()
    monkeypatch.chdir("nothing")
    assert told("xcompose check", code=2).startswith("error: no spec was found")
    monkeypatch.chdir("..")

    assert told("xcompose check nothing", code=2) == (
        "error: no spec was found: nothing ends in .xc.yaml there\n  = fix: xcompose new mine"
    )


def test_a_run_that_is_none():
    assert told("xcompose generate nowhere") == (
        "error[XC087]: 'nowhere' is not the folder of a run\n  = fix: xcompose train SPEC makes one"
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "xcompose check mine.xc.yaml --stage bild",
            "error: there is no stage 'bild'\n  = fix: parse | schema | compose | build | contracts | numerics",
        ),
        (
            "xcompose check mine.xc.yaml --format yaml",
            "error: there is no format 'yaml'\n"
            "  = fix: text | concise | json | jsonl | github | gitlab | junit | sarif",
        ),
        (
            "xcompose cost mine.xc.yaml --length 1x",
            "error: --length: expected a length, found '1x'\n  = fix: --length 1Ki",
        ),
        ("xcompose cost mine.xc.yaml --length 0", "error: --length: a length is at least 1\n  = fix: --length 1Ki"),
        (
            "xcompose draw mine.xc.yaml -o picture.gif",
            "error: a picture ends in .png or .svg, 'picture.gif' does not\n  = fix: -o picture.png",
        ),
        (
            "xcompose draw mine.xc.yaml --length 1Mi",
            "error: --length: a picture shows 2 to 4096 tokens, not 1048576\n  = fix: --length 256",
        ),
        (
            "xcompose bench --type machine",
            "error: --type: there is no type 'machine' to bench\n  = fix: decoder | encoder",
        ),
        (
            "xcompose bench mine.xc.yaml attention",
            "error: mixers and whole models do not go into one table\n  = fix: bench them apart",
        ),
        (
            "xcompose bench 'attention(score=synthesizer(dense))' 'attention(score=linear)' --lengths 32 --dim 16",
            "error[XC031]: score 'synthesizer' cannot be used with position 'rotary'\n"
            " --> case attention(score=synthesizer(dense)):8:10   model.layers.0.mixer.position\n"
            "  |\n"
            "8 |   mixer: attention(score=synthesizer(dense))\n"
            "  |          ^^^^^^^^^ it turns queries and keys, and this score has none\n"
            "  = fix: position=none in this layer\n"
            "  = fix: score=softmax",
        ),
        (
            "xcompose bench --plot curves.gif",
            "error: a picture ends in .png or .svg, 'curves.gif' does not\n  = fix: --plot curves.png",
        ),
        (
            "xcompose compare attention",
            "error: 'attention' is no spec: it does not end in .xc.yaml\n  = fix: values stand behind --vary",
        ),
        (
            "xcompose compare mine.xc.yaml --vary let.w",
            "error: --vary let.w needs values\n  = fix: --vary let.w 32 64 128",
        ),
        (
            "xcompose compare mine.xc.yaml",
            "error[XC090]: a comparison takes at least two specs\n"
            "  = fix: name another spec, or --vary PATH VALUE VALUE ...",
        ),
        (
            "xcompose compare mine.xc.yaml mine.xc.yaml@dense --budget 3",
            f"error: --budget: {BUDGET}, found '3'\n  = fix: did you mean 3 steps?",
        ),
        (
            "xcompose train mine.xc.yaml --budget soon",
            f"error: --budget: {BUDGET}, found 'soon'\n  = fix: --budget 2min",
        ),
        (
            "xcompose train mine.xc.yaml --budget '3 trials'",
            "error[XC030]: a budget of trials is for a search, not for training\n"
            " --> train.budget\n"
            "  = fix: a number of steps, epochs or tokens, or a time: 2min",
        ),
        (
            "xcompose train mine.xc.yaml --accelerator tpu",
            "error: --accelerator: there is no 'tpu'\n  = fix: auto | cpu | gpu",
        ),
        (
            "xcompose bench mine.xc.yaml --lengths 128",
            "error: none of these models takes 128 tokens\n  = fix: --lengths 64",
        ),
        ("xcompose new mine", "error: mine.xc.yaml exists already and stays as it is\n  = fix: choose another name"),
        ("xcompose new nowhere/mine", "error: the folder nowhere does not exist\n  = fix: mkdir -p nowhere"),
        ("xcompose show windov", "error: no component is called 'windov'\n  = fix: did you mean 'window'?"),
        ("xcompose show swa", "error: no component is called 'swa'\n  = fix: xcompose list"),
        ("xcompose list patern", "error: there is no kind 'patern'\n  = fix: did you mean 'pattern'?"),
        ("xcompose explain XC999", "error: there is no code 'XC999'\n  = fix: did you mean XC099?"),
        ("xcompose why mine.xc.yaml let.v", "error[XC029]: mine has no place 'let.v'\n  = fix: did you mean 'let.w'?"),
        (
            "xcompose generate runs/mine --prompt ''",
            'error: an empty prompt gives nothing to go on\n  = fix: --prompt "\\n"',
        ),
        (
            "xcompose quickstart",
            "error: there is no specs/beyond/dense-12m.xc.yaml\n  = fix: run it in the folder of the project",
        ),
    ],
)
def test_wrong_use_of_a_command(command, message):
    called = call(command)

    assert called.said == message, called.said


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
