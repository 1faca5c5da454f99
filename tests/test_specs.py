"""Every spec that ships: it passes every certificate, as it is and in every variant; survey models can be tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from xcompose import registry
from xcompose.diagnostics import render
from xcompose.spec import load
from xcompose.spec.files import variants_of
from xcompose.verify.runner import check_files

ROOT = Path(__file__).parents[1]
SPECS = sorted((ROOT / "specs").rglob("*.xc.yaml"))
SURVEY = [path for path in SPECS if path.parent.name == "survey"]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT / "specs")).removesuffix(".xc.yaml")


@pytest.mark.parametrize("path", SPECS, ids=named)
def test_it_passes_every_certificate_in_every_variant(path):
    report = check_files([path])

    assert render.text(report.findings) == ""
    assert report.ok


@pytest.mark.parametrize("path", SURVEY, ids=named)
def test_a_survey_model_names_its_paper_and_has_a_small_form_to_train(path):
    catalogue = registry.load().catalogue
    spec = load(str(path), catalogue=catalogue)

    assert spec.about
    assert spec.paper
    assert "tiny" in variants_of(str(path))
    tiny = load(f"{path}@tiny", catalogue=catalogue)
    assert tiny.task is not None
    assert tiny.train
