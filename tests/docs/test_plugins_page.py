"""The page about installed plugins prints what it shows."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.calling import ROOT, call
from tests.registry.distributions import GOOD, Distribution
from tests.registry.installing import forget, install
from tests.test_docs import commands, fits

PAGE = ROOT / "docs" / "plugins.md"
INSTALLED = (
    Distribution(
        "acme-mean", "", version="0.3.1", requires=("xcompose>=0.1,<0.2",),
        group="xcompose.v1]\nacme_mean = acme_mean.mean\n[others",
    ),
    Distribution(
        "broken-thing", "import triton_kernels", version="0.9", extras=("gpu",),
        requires=("xcompose>=0.1", "triton-kernels; extra == 'gpu'"),
    ),
    Distribution("old-mixers", GOOD, version="0.2", group="xcompose.v0"),
)  # fmt: skip


@pytest.fixture
def installed(tmp_path, monkeypatch):
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path)(*INSTALLED)
    (tmp_path / "acme_mean.py").unlink()
    shutil.copytree(ROOT / "tests" / "third_party" / "acme-mean" / "acme_mean", tmp_path / "acme_mean")
    yield
    forget(tmp_path)


def test_the_page_prints_what_it_shows(installed):
    for command, expected in commands(PAGE):
        called = call(command)
        assert fits(expected.split("\n"), called.said.split("\n")), f"$ {command}\n{called.said}"
        assert called.code == int(command.endswith("doctor"))
