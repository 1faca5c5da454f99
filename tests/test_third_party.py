"""A third-party package is installed with pip, found, and used in a spec; its own tests run green."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "third_party" / "acme-mean"

SPEC = """\
xcompose: 1
model:
  type: decoder
  dim: 32
  heads: 2
  layers: 2*attention(pattern=window(4), memory=acme/mean(3))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """The environment of a process that has acme-mean installed."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "acme-mean"
    subprocess.run(["cp", "-r", str(PACKAGE), str(source)], check=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", "--target", str(target), str(source)], check=True)
    return {**os.environ, "PYTHONPATH": str(target)}


def run(environment, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )


def xcompose(environment, *arguments, cwd=None):
    return run(environment, "-m", "xcompose.cli.main", *arguments, cwd=cwd)


def test_its_component_is_listed_and_shown(installed):
    listed = xcompose(installed, "list", "memory")
    shown = xcompose(installed, "show", "acme/mean")

    assert "acme/mean" in listed.stdout
    assert "acme-mean, version 1" in shown.stdout
    assert "Tokens in a block, f." in shown.stdout


def test_a_spec_that_uses_it_passes_every_certificate(installed, tmp_path):
    (tmp_path / "mine.xc.yaml").write_text(SPEC)

    checked = xcompose(installed, "check", "mine.xc.yaml", cwd=tmp_path)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "numerics ✓" in checked.stdout


def test_its_own_tests_are_green(installed, tmp_path):
    tested = run(installed, "-m", "pytest", "-p", "no:cacheprovider", str(PACKAGE / "tests"), cwd=tmp_path)

    assert tested.returncode == 0, tested.stdout
    assert int(re.findall(r"(\d+) passed", tested.stdout)[-1]) > 40  # two of its own, and the contract of memories


def test_without_it_the_spec_is_refused_by_name(tmp_path):
    (tmp_path / "mine.xc.yaml").write_text(SPEC)

    checked = xcompose({**os.environ, "XCOMPOSE_PLUGINS": "none"}, "check", "mine.xc.yaml", cwd=tmp_path)

    assert checked.returncode == 1
    assert "no memory is called 'acme/mean'" in checked.stderr
    assert "mine.xc.yaml:6:" in checked.stderr
