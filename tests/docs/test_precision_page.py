"""The page on precision: its examples run, and print what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import xcompose as xc
from tests.cli.calling import call
from tests.test_docs import ROOT, blocks, commands, fits
from xcompose.compose.build import plan_model
from xcompose.verify import precision

PAGE = ROOT / "docs" / "addons" / "precision.md"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    for title, text in blocks(PAGE, "yaml"):
        (tmp_path / title).write_text(text)
    return tmp_path


def test_the_example_prints_what_it_shows(here: Path):
    for command, expected in commands(PAGE):
        called = call(command)
        assert fits(expected.split("\n"), called.said.split("\n")), f"$ {command}\n{called.said}"
        assert called.code == 0


def test_the_programs_run(here: Path):
    names: dict = {}
    for _, code in blocks(PAGE, "python"):
        exec(code, names)
    q, k, v = (torch.randn(3, 5, 8, dtype=torch.bfloat16) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        assert names["attend"](q, k, v).dtype == torch.bfloat16


@pytest.mark.parametrize("addon", re.findall(r"`addons: \[\"?(precision.*?)\"?\]`", PAGE.read_text()))
def test_every_form_that_is_named_can_be_built(addon: str):
    spec = {"xcompose": 1, "model": {"type": "decoder", "dim": 64, "layers": 1}, "addons": [addon]}
    assert plan_model(xc.read(spec)).addons[0].node.name == "precision"


def test_bounds_are_those_of_the_certificate():
    text = PAGE.read_text()
    assert f"2^-6 = {100 * precision.BOUND:.2g} %" in text
    assert (precision.BOUND, precision.OF_CHOICES) == (2**-6, 2**-3)
    assert f"Parts get {precision.FAR} rows" in text
