"""Every spec that ships: it passes every certificate, as it is and in every variant; survey models can be tried.

The usual run takes each spec as it is, its small form and one more variant; all of them are taken by the slow one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from xcompose import registry
from xcompose.diagnostics import render
from xcompose.spec import load
from xcompose.spec.files import variants_of
from xcompose.verify.results import STAGES
from xcompose.verify.runner import Checker, check_files

ROOT = Path(__file__).parents[1]
SPECS = sorted((ROOT / "specs").rglob("*.xc.yaml"))
SURVEY = [path for path in SPECS if path.parent.name == "survey"]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT / "specs")).removesuffix(".xc.yaml")


def sample(path: Path) -> list[str]:
    """The spec as it is, which its small form is measured for, and one of its other variants."""
    variants = [name for name in variants_of(path) if name != "tiny"]
    drawn = sorted(variants, key=lambda name: hashlib.sha256(f"{path.name}@{name}".encode()).digest())[:1]
    small = ["tiny"] if "tiny" in variants_of(path) else []
    return [str(path), *(f"{path}@{name}" for name in (*small, *drawn))]


@pytest.mark.parametrize("path", SPECS, ids=named)
def test_it_passes_every_certificate(path):
    checker = Checker(registry.load(), 0, STAGES)
    reports = [checker.check(reference) for reference in sample(path)]

    assert [render.text(report.findings) for report in reports if report.findings] == []
    assert all(report.ok for report in reports)


@pytest.mark.slow
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
