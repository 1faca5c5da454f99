"""The site of the docs builds strictly, without a network, and its pages hold what they should."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import ROOT

pytest.importorskip("material", reason="pip install -e '.[docs]'")


def built(folder: Path, *, sample: bool) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder))
    config.extra["sample"] = sample
    build(config)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.syspath_prepend(str(ROOT / "docs" / "tools"))
        return built(tmp_path_factory.mktemp("site"), sample=True)


def fetched(folder: Path) -> list[str]:
    """What a browser would fetch from elsewhere."""
    found = []
    for page in folder.rglob("*.html"):
        text = page.read_text()
        found += re.findall(r"<(?:script|img|iframe|source)[^>]*\bsrc=[\"']?((?:https?:)?//[^\"' >]+)", text)
        found += re.findall(
            r"<link[^>]*\brel=[\"']?(?:stylesheet|preconnect|icon|preload)[^>]*(https?://[^\"' >]+)", text
        )
    for sheet in folder.rglob("*.css"):
        found += re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", sheet.read_text())
    return found


def test_nothing_is_fetched_from_elsewhere(site):
    assert (site / "index.html").is_file()
    assert fetched(site) == []


def test_it_can_be_searched_without_a_server(site):
    """The index is a script, and what starts its worker is ours: a browser reads neither from elsewhere."""
    page = (site / "index.html").read_text()

    assert 'data-md-component="search-query"' in page
    assert '<script src="javascripts/iframe-worker.js"></script>' in page
    assert (site / "javascripts/iframe-worker.js").is_file()
    index = (site / "search/search_index.js").read_text()
    assert json.loads(index.removeprefix("var __index = "))["docs"]


def test_what_is_fetched_would_be_found(tmp_path):
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="https://fonts.example/a.css"><script src=https://cdn.example/a.js></script>'
        '<img src="//cdn.example/a.png"><a href="https://arxiv.org">fine</a>'
    )

    assert sorted(fetched(tmp_path)) == [
        "//cdn.example/a.png", "https://cdn.example/a.js", "https://fonts.example/a.css",
    ]  # fmt: skip


def test_a_pattern_has_its_picture_formula_options_example_and_costs(site):
    page = (site / "components/pattern/window.html").read_text()

    assert page.count('<svg class="xc-grid"') == 3
    assert "<math" in page
    assert "Keys on each side of the query, itself not counted." in page
    assert "attention(pattern=window(4))" in re.sub(r"<[^>]+>", "", page)
    assert "in a decoder" in page
    assert "../../specs/beyond/window-then-linear.html" in page
    assert "https://arxiv.org/abs/2004.05150" in page


def test_a_component_without_a_picture_shows_nothing_empty(site):
    page = (site / "components/score/favor.html").read_text()

    assert "Who reads whom" not in page
    assert "xc-pictures" not in page
    assert "<math" in page


def test_a_code_has_its_finding_and_mend(site):
    page = re.sub(r"<[^>]+>", "", (site / "diagnostics/XC011.html").read_text())

    assert "error[XC011]: 'decoder' has no option 'hed'" in page
    assert "= fix: did you mean 'heads'?" in page
    assert "What mends it" in page


def test_links_to_specs_lead_to_their_pages(site):
    assert 'href="specs/beyond/window-then-linear.html"' in (site / "combinations.html").read_text()


@pytest.mark.slow
def test_the_whole_site_builds(tmp_path):
    """In a process of its own, because pages are kept from build to build."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert fetched(tmp_path / "site") == []
