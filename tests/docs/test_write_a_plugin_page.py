"""The page that leads from nothing to a published plugin: what it shows is so, and what it says to type works."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.calling import call
from tests.scaffold.fresh import fresh
from tests.scaffold.page import Step, follow, steps
from tests.test_docs import fits
from xcompose.testing import assert_valid, registry_with

PAGE = Path(__file__).parent.parent.parent / "docs" / "write-a-plugin.md"
PLUGINS = {"acme-log-sparse": "acme_log_sparse.log_sparse", "acme-ema": "acme_ema.ema"}


@pytest.fixture(scope="module")
def typed(tmp_path_factory) -> Path:
    """A folder in which the packages of the page were made, and its files written."""
    folder = tmp_path_factory.mktemp("page")
    at = folder
    with pytest.MonkeyPatch.context() as patch:
        for step in steps(PAGE):
            if step.file:
                (at / step.file).write_text(step.text)
            elif step.command.startswith("cd "):
                at = at / step.command.removeprefix("cd ")
            elif step.command.startswith("xcompose plugin new"):
                patch.chdir(at)
                called = call(step.command)
                assert fits(step.text.splitlines(), called.said.splitlines()), called.said
    return folder


def test_its_files_are_as_ruff_likes_them(typed):
    for command in (["check"], ["format", "--check"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
            cwd=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("package", PLUGINS)
def test_its_mechanisms_equal_their_formulas(typed, package, monkeypatch):
    module = PLUGINS[package]
    monkeypatch.syspath_prepend(str(typed / package))
    monkeypatch.syspath_prepend(str(typed / package / "tests"))
    short = module.rpartition(".")[2]
    tests = importlib.import_module(f"test_{short}")
    contract = getattr(tests, f"Test{short.title().replace('_', '')}")()
    contract.registry, contract.seed = registry_with(module), 0
    contract._request = SimpleNamespace(node=SimpleNamespace(name="oracle", originalname="oracle"))

    contract.test_it_equals_its_formula()
    for spec in (typed / package).rglob("*.xc.yaml"):
        assert_valid(f"{spec}@tiny" if spec.parent.name == "specs" else str(spec), registry=contract.registry)


def test_what_it_mends_it_has_broken_before():
    """Each `sed` changes something, and the last state is the one that the page shows."""
    text = next(step.text for step in steps(PAGE) if step.file == "acme_ema/ema.py")
    shown = text
    commands = [step.command for step in steps(PAGE) if "acme_ema/ema.py" in step.command]

    for command in commands:
        ran = subprocess.run(
            ["sed", *re.findall(r"'([^']*)'", command)], input=text, capture_output=True, text=True, check=True
        )
        assert ran.stdout != text, command
        text = ran.stdout
    assert len(commands) == 3
    assert text == shown.replace(
        "longest: Real = option(64.0, main=True, at_least=1)",
        'half_life: Real = option(64.0, main=True, at_least=1, renamed_from=("longest",))',
    ).replace("options.longest", "options.half_life")


def test_it_shows_every_command_about_plugins():
    said = [step.command for step in steps(PAGE) if step != Step()]

    for name in ("new", "list", "doctor"):
        assert any(command.startswith(f"xcompose plugin {name}") for command in said)


@pytest.mark.slow
def test_whoever_types_all_of_it_sees_what_it_shows(tmp_path):
    (tmp_path / "here").mkdir()

    assert follow(PAGE, tmp_path / "here", fresh(tmp_path / "env")) == []
