"""The hooks for pre-commit and the action for GitHub: well formed, and their commands do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
SCRIPTS = {step["name"]: step for step in STEPS if "run" in step}
GOOD = "xcompose: 1\nmodel: {type: decoder, dim: 16, heads: 2, layers: attention}\n"
BAD = GOOD.replace("heads: 2", "heads: 3")
SAID = "bad.xc.yaml:2:40: XC015 3 heads do not divide dim 16"
MARKED = (
    "::error file=bad.xc.yaml,line=2,col=40,endColumn=41,title=XC015::3 heads do not divide dim 16. "
    "Fix: write head_dim, or another number of heads\n"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good and a bad spec, where this xcompose is the one that is found."""
    folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "good.xc.yaml").write_text(GOOD)
    (tmp_path / "bad.xc.yaml").write_text(BAD)
    return tmp_path


def ran(words: list[str], folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, **settings})


def test_the_manifest_of_hooks_is_valid():
    clientlib = pytest.importorskip("pre_commit.clientlib", reason="pip install 'xcompose[dev]'")
    hooks = clientlib.load_manifest(str(ROOT / ".pre-commit-hooks.yaml"))

    assert [hook["id"] for hook in hooks] == ["xcompose-check", "xcompose-check-static"]
    for hook in hooks:
        assert re.search(hook["files"], "specs/chat.xc.yaml")
        assert re.search(hook["files"], "specs/misnamed.xc.yml")
        assert not re.search(hook["files"], ".github/workflows/check.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_stops_a_commit_of_a_bad_spec(hook, here):
    pytest.importorskip("pre_commit", reason="pip install 'xcompose[dev]'")
    local = {"repo": "local", "hooks": [{**hook, "language": "system"}]}
    (here / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [local]}))
    settings = {
        "PRE_COMMIT_HOME": str(here / ".home"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    ran(["git", "init", "--quiet"], here, **settings)
    ran(["git", "add", "good.xc.yaml", ".pre-commit-config.yaml"], here, **settings)
    hooks = [sys.executable, "-m", "pre_commit", "run", "--color=never", hook["id"]]

    fine = ran(hooks, here, **settings)
    ran(["git", "add", "bad.xc.yaml"], here, **settings)
    wrong = ran(hooks, here, **settings)

    assert fine.returncode == 0, fine.stdout + fine.stderr
    assert wrong.returncode == 1
    assert "error[XC015]: 3 heads do not divide dim 16\n --> bad.xc.yaml:2:40" in wrong.stdout


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_the_command_of_a_hook_is_one(hook, here, monkeypatch):
    from tests.cli.calling import call

    monkeypatch.chdir(here)
    command = " ".join([hook["entry"], *hook["args"], "--format concise"])

    assert call(command, "good.xc.yaml").code == 0
    wrong = call(command, "good.xc.yaml", "bad.xc.yaml")
    assert wrong.code == 1
    assert SAID in wrong.said


def test_the_action_has_what_a_forge_demands():
    assert (
        {"name", "description", "inputs", "runs"}
        <= set(ACTION)
        <= {"name", "description", "author", "branding", "inputs", "outputs", "runs"}
    )
    assert set(ACTION["branding"]) == {"icon", "color"}
    assert set(ACTION["runs"]) == {"using", "steps"}
    assert ACTION["runs"]["using"] == "composite"
    for name, facts in ACTION["inputs"].items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
        assert set(facts) == {"description", "default"}
        assert all(isinstance(value, str) for value in facts.values())
    for step in STEPS:
        assert set(step) <= {
            "name",
            "id",
            "if",
            "uses",
            "with",
            "run",
            "shell",
            "env",
            "working-directory",
            "continue-on-error",
        }
        assert ("run" in step) != ("uses" in step)
        assert ("shell" in step) == ("run" in step)
        assert re.fullmatch(r"[\w-]+/[\w-]+(/[\w-]+)?@v\d+", step.get("uses", "a/b@v1"))
        assert all(isinstance(value, str) for value in (*step.get("env", {}).values(), *step.get("with", {}).values()))


def test_every_input_is_used_and_every_input_used_is_there():
    used = set(re.findall(r"inputs\.([\w-]+)", yaml.safe_dump(STEPS, width=1000)))

    assert used == set(ACTION["inputs"])


def test_nothing_that_somebody_typed_becomes_part_of_a_script():
    assert [name for name, step in SCRIPTS.items() if "${{" in step["run"]] == []
    for step in SCRIPTS.values():
        read = set(re.findall(r"(?:\$\{?|\")(XC_\w+)", step["run"]))
        assert read == {name for name in step["env"] if name.startswith("XC_")}


def settings_of(step: dict[str, Any], runner: Path, **inputs: str) -> dict[str, str]:
    """The environment of a step, as the runner makes it."""
    known = {f"inputs.{name}": facts["default"] for name, facts in ACTION["inputs"].items()}
    known |= {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
    known |= {"runner.temp": str(runner), "github.action_path": str(ROOT)}
    return {
        name: re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: known[found[1]], text)
        for name, text in step["env"].items()
    }


def run_step(name: str, folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    step = SCRIPTS[name]
    (folder / "step.sh").write_text(step["run"])
    bash = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "step.sh"]
    settings = {"GITHUB_OUTPUT": str(folder / "output"), **settings_of(step, folder / "runner", **inputs)}
    return ran(bash, folder, **settings)


def test_the_action_marks_lines(here):
    """With the file of findings for code scanning; names of files may look like options."""
    (here / "--seed.xc.yaml").write_text(GOOD)
    inputs = {"paths": "good.xc.yaml\n  bad.xc.yaml --seed.xc.yaml", "stage": "schema", "sarif": "found.sarif"}
    step = run_step("Check specs", here, **inputs)

    assert (step.returncode, step.stdout) == (1, MARKED), step.stderr
    assert '"ruleId": "XC015"' in (here / "found.sarif").read_text()
    assert (here / "runner" / "xcompose-cache").is_dir()


@pytest.mark.slow
def test_the_action_is_green_and_red_where_the_command_is(here):
    assert run_step("Check specs", here, paths="good.xc.yaml", stage="compose").returncode == 0
    wrong = run_step("Check specs", here, paths="good.xc.yaml", stage="nope", sarif="found.sarif")

    assert wrong.returncode == 2
    assert "there is no stage 'nope'" in wrong.stderr
    assert not (here / "found.sarif").exists()
    more = run_step("Check specs", here, paths="bad.xc.yaml", stage="schema", args="--format concise=found.txt")
    assert (more.returncode, more.stdout) == (1, MARKED)
    assert (here / "found.txt").read_text() == f"{SAID}\n"
    two = run_step("Check specs", here, paths="bad.xc.yaml", args="--format concise")
    assert two.returncode == 2
    assert "2 formats for one place" in two.stderr


@pytest.mark.parametrize(
    ("inputs", "installed"),
    [
        ({}, [str(ROOT)]),
        ({"plugins": "acme-mean"}, [str(ROOT), "acme-mean"]),
        ({"install": "xcompose==0.1.0", "plugins": "acme-mean\nother"}, ["xcompose==0.1.0", "acme-mean", "other"]),
        ({"install": "-e .[test]"}, ["-e", ".[test]"]),
        ({"install": "none", "plugins": "acme-mean"}, ["acme-mean"]),
    ],
)
def test_the_action_installs_what_it_is_told_to(here, monkeypatch, inputs, installed):
    (here / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (here / "python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")
    step = run_step("Install xcompose", here, **inputs)

    assert step.stdout.splitlines() == ["-m", "pip", "install", "--disable-pip-version-check", *installed]


def test_packages_are_kept_under_what_was_asked_for(here):
    def named(**inputs: str) -> dict[str, str]:
        output = here / "output"
        output.write_text("")
        step = run_step("Name packages", here, **inputs)
        assert step.returncode == 0, step.stderr
        return dict(line.split("=", 1) for line in output.read_text().splitlines())

    plain, other = named(), named(install="xcompose>=0.1,<2", plugins="acme-mean\nother")

    assert Path(plain["folder"]).is_absolute()
    assert plain["folder"] == other["folder"]
    assert plain["key"] != other["key"]
    assert all(re.fullmatch(r"\d{4}-\d\d-[0-9a-f]{64}", facts["key"]) for facts in (plain, other))


def test_nothing_is_installed_where_nothing_is_wanted():
    (step,) = [step for step in STEPS if step["name"] == "Install xcompose"]

    assert step["if"] == "inputs.install != 'none' || inputs.plugins != ''"
