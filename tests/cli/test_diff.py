"""`xcompose diff` for people and for programs."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cli.calling import call

OLD = "xcompose: 1\nmodel: {type: decoder, dim: 32, heads: 2, layers: 2}\n"


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.xc.yaml").write_text(OLD)
    (tmp_path / "new.xc.yaml").write_text(OLD.replace("layers: 2", "layers: 3") + "addons: [share]\n")


def test_it_shows_what_was_said_and_what_follows():
    called = call("xcompose diff old.xc.yaml new.xc.yaml --length 1Ki")

    assert called.code == 0
    assert called.out.splitlines()[:5] == [
        "old.xc.yaml → new.xc.yaml",
        "",
        "  layer 2   + attention, mlp(128)",
        "  add-ons   + share",
        "",
    ]
    assert "  parameters           33,664 → 20,960   0.623×" in called.out.splitlines()


def test_equal_meanings_are_no_change(tmp_path):
    (tmp_path / "same.xc.yaml").write_text(OLD.replace("layers: 2", "layers: 2*attention"))

    called = call("xcompose diff old.xc.yaml same.xc.yaml --exit-code")

    assert (called.code, called.out) == (0, "old.xc.yaml and same.xc.yaml mean the same\n")


def test_the_exit_code_says_that_they_differ_only_when_asked():
    assert call("xcompose diff old.xc.yaml new.xc.yaml").code == 0
    assert call("xcompose diff old.xc.yaml new.xc.yaml --exit-code").code == 1


def test_as_data_with_an_override():
    found = json.loads(call("xcompose diff old.xc.yaml old.xc.yaml --set model.heads=4 --format json").out)

    assert found["same"] is False
    assert found["changes"] == [{"where": "every layer", "what": "heads", "old": "2", "new": "4"}]
    assert {fact["name"] for fact in found["facts"]} <= {"activations at 1Ki", "activations at 16Ki"}


def test_without_a_repository_one_file_alone_is_refused():
    called = call("xcompose diff old.xc.yaml")

    assert called.code == 1
    assert called.said.startswith("error[XC001]: git cannot read 'HEAD': fatal: not a git repository")


UNFIT = OLD.replace("layers: 2", 'layers: 2, mixer: "attention(pattern=window(8) | global(2), score=linear)"')


def test_changes_are_said_of_a_spec_that_does_not_compose(tmp_path):
    (tmp_path / "unfit.xc.yaml").write_text(UNFIT)

    called = call("xcompose diff old.xc.yaml unfit.xc.yaml")
    data = json.loads(call("xcompose diff old.xc.yaml unfit.xc.yaml --format json").out)

    assert called.code == 1
    [finding] = data["findings"]["new"]
    assert called.out.splitlines() == [
        "old.xc.yaml → unfit.xc.yaml",
        "",
        "  every layer   mixer.pattern   + window(8) | global(2)",
        "  every layer   mixer.score     softmax → linear",
        "",
        f"  composes   yes → no: {finding['message']}",
    ]
    assert called.err.startswith(f"error[{finding['code']}]: {finding['message']}\n --> unfit.xc.yaml:2")
    assert (len(data["changes"]), data["findings"]["old"]) == (2, [])


def test_a_spec_that_cannot_be_read_is_data_too(tmp_path):
    called = call("xcompose diff old.xc.yaml nowhere.xc.yaml --format json")
    found = json.loads(called.out)

    assert (called.code, found["same"], found["changes"], found["facts"]) == (1, None, [], [])
    assert [one["message"] for one in found["findings"]["new"]] == ["there is no file nowhere.xc.yaml"]
    assert found["findings"]["old"] == []


def test_without_a_second_file_it_is_compared_with_head(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/mine.xc.yaml").write_text(OLD)
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*name, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / "sub/mine.xc.yaml").write_text(OLD.replace("layers: 2", "layers: 1"))
    monkeypatch.chdir(tmp_path / "sub")

    assert call("xcompose diff mine.xc.yaml --length 16").out.splitlines()[:3] == [
        "HEAD:sub/mine.xc.yaml → mine.xc.yaml",
        "",
        "  old layer 1   - attention, mlp(128)",
    ]
