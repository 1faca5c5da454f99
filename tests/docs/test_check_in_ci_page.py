"""The page about checking in CI: its commands print what it shows, and its files are what forges take."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.cli.calling import call
from tests.test_docs import ROOT, blocks, commands, fits
from xcompose.cli.check import FORMATS
from xcompose.verify.results import STAGES

PAGE = ROOT / "docs" / "check-in-ci.md"
FILES = dict(blocks(PAGE, "yaml"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.delenv("CI", raising=False)
    for name in ("good.xc.yaml", "bad.xc.yaml"):
        (tmp_path / name).write_text(FILES[name])
    return tmp_path


def test_commands_print_what_it_shows(here):
    for command, expected in commands(PAGE):
        if command.startswith("xcompose "):
            called = call(command)
            said, code = called.said, called.code
        else:
            words = [sys.executable, "-m", *shlex.split(command)]
            done = subprocess.run(words, capture_output=True, text=True)
            said, code = done.stdout, done.returncode
        assert fits(expected.split("\n"), [line.rstrip() for line in said.strip("\n").split("\n")]), (
            f"$ {command}\n{said}"
        )
        assert code == int("bad" in command)


def test_every_stage_and_every_format_is_named():
    text = PAGE.read_text()

    assert re.findall(r"^\| `(\w+)` \| ", text.partition("| last stage |")[2].partition("Results")[0], re.M) == list(
        STAGES
    )
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", text.partition("| `--format` |")[2], re.M)))
    assert named == list(FORMATS)


def test_the_settings_of_pytest_are_there():
    ((_, text),) = blocks(PAGE, "toml")
    plugin = (ROOT / "xcompose" / "testing" / "plugin.py").read_text()
    for name in tomllib.loads(text)["tool"]["pytest"]["ini_options"]:
        assert name == "testpaths" or f'addini("{name}"' in plugin


def test_the_hook_is_the_one_that_is_offered():
    ((hook,),) = [repo["hooks"] for repo in yaml.safe_load(FILES[".pre-commit-config.yaml"])["repos"]]
    offered = next(other for other in HOOKS if other["id"] == hook["id"])

    assert hook["entry"] == " ".join([offered["entry"], *offered["args"]])
    assert (hook["files"], hook["require_serial"]) == (offered["files"], offered["require_serial"])


def test_the_workflow_uses_inputs_that_the_action_has():
    (step,) = [s for s in yaml.safe_load(FILES["check.yaml"])["jobs"]["specs"]["steps"] if "xcompose" in s["uses"]]

    assert set(step["with"]) <= set(ACTION["inputs"])


def test_the_command_for_gitlab_writes_its_reports(here):
    job = yaml.safe_load(FILES["gitlab-ci.yaml"])["specs"]
    called = call(job["script"][1].replace("specs/", "--stage schema bad.xc.yaml"))

    assert called.code == 1
    for report in job["artifacts"]["reports"].values():
        assert "3 heads do not divide dim 16" in (here / report).read_text()
