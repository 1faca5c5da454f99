"""The code in the docs runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def blocks(path: Path, language: str) -> list[tuple[str, str]]:
    """(title, code) of each fenced block of a language, in order."""
    found = re.findall(rf'^```{language}(?: title="([^"]+)")?\n(.*?)^```$', path.read_text(), re.MULTILINE | re.DOTALL)
    return [(title, code) for title, code in found]


@pytest.fixture
def plugin_folder(tmp_path) -> Path:
    page = ROOT / "docs" / "write-a-plugin.md"
    for language in ("toml", "python", "yaml"):
        for title, code in blocks(page, language):
            if title:
                (tmp_path / title).write_text(code)
    return tmp_path


def test_the_plugin_of_the_docs_works(plugin_folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(plugin_folder)], check=True)
    program = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(target)!r}); sys.argv[0] = 'xcompose';"]
    program[-1] += "from xcompose.cli.main import main; main()"

    checked = subprocess.run(
        [*program, "check", "logsparse.xc.yaml"], cwd=plugin_folder, capture_output=True, text=True
    )
    shown = subprocess.run([*program, "show", "acme/log-sparse"], cwd=plugin_folder, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Keys on each side that are read whatever their distance." in shown.stdout


def test_the_test_of_the_docs_is_green(plugin_folder, monkeypatch):
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_logsparse.py"],
        cwd=plugin_folder,
        capture_output=True,
        text=True,
    )

    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/write-a-plugin.md"])
def test_python_without_a_title_runs(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    codes = [code for title, code in blocks(ROOT / page, "python") if not title]

    assert codes
    for code in codes:
        exec(compile(code, page, "exec"), {})


def test_the_spec_of_the_readme_is_the_one_that_ships():
    from xcompose import registry
    from xcompose.spec import load, load_text

    catalogue = registry.load().catalogue
    shown = load_text(blocks(ROOT / "README.md", "yaml")[0][1], "readme", catalogue=catalogue)
    shipped = load(str(ROOT / "specs/beyond/window-then-linear.xc.yaml"), catalogue=catalogue)

    assert shown.model == shipped.model
    assert shown.expect == shipped.expect


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]), ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []
