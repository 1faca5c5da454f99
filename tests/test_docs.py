"""The code in the docs runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.calling import call

ROOT = Path(__file__).parent.parent


def blocks(path: Path, language: str) -> list[tuple[str, str]]:
    """(title, code) of each fenced block of a language, in order."""
    found = re.findall(rf'^```{language}(?: title="([^"]+)")?\n(.*?)^```$', path.read_text(), re.MULTILINE | re.DOTALL)
    return [(title, code) for title, code in found]


def commands(page: Path) -> list[tuple[str, str]]:
    """(command, expected output) of each `console` block of a page, in order."""
    found = []
    for _, block in blocks(page, "console"):
        for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = piece.partition("\n")
            found.append((command, output.strip("\n")))
    return found


def fits(expected: list[str], said: list[str]) -> bool:
    """Whether lines are as expected; `...` stands for anything, on a line of its own for any lines."""
    if not expected:
        return not said
    first, *rest = expected
    if first == "...":
        return any(fits(rest, said[count:]) for count in range(len(said) + 1))
    wanted = ".*".join(re.escape(piece.strip()) for piece in first.strip().split("..."))
    return bool(said) and re.fullmatch(wanted, said[0].strip()) is not None and fits(rest, said[1:])


def test_lines_fit_as_a_reader_understands_them():
    said = ["one", "  two    three", "four"]

    assert fits(["one", "...", "four"], said)
    assert fits(["...", "  two ... three", "..."], said)
    assert fits(["one", "two ...", "four"], said)
    assert not fits(["one", "four"], said)
    assert not fits(["one", "..."], ["another"])
    assert not fits(["one", "two ... four", "four"], said)


def test_the_quickstart_prints_what_it_shows(tmp_path, monkeypatch):
    page, code = ROOT / "docs" / "quickstart.md", 0
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    for title, text in blocks(page, "yaml"):
        (tmp_path / title).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    for command, expected in commands(page):
        if command == "echo $?":
            assert expected == str(code)
            continue
        called = call(command)
        code = called.code
        assert fits(expected.split("\n"), called.said.split("\n")), f"$ {command}\n{called.said}"
        assert code < 2 or expected.startswith("error: "), called.said
    for file in ("picture.png", "bench.svg", "runs/mine/model.safetensors", "runs/layers/report.html"):
        assert (tmp_path / file).stat().st_size > 0


def test_the_quickstart_shows_every_command():
    from xcompose.cli import main

    main.add_commands()
    names = {command.name for command in main.app.registered_commands}
    shown = {command.split()[1] for command, _ in commands(ROOT / "docs" / "quickstart.md") if command != "echo $?"}

    assert names - shown == {"quickstart"}  # which `make quickstart` runs


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md", "docs/write-a-plugin.md"])
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


def test_the_page_about_the_survey_links_every_spec_of_it_and_shows_a_true_refusal(monkeypatch):
    page = ROOT / "docs" / "survey.md"
    linked = set(re.findall(r"\]\(\.\./specs/survey/([^)]+)\.xc\.yaml\)", page.read_text()))
    command, expected = commands(page)[-1]
    monkeypatch.chdir(ROOT)

    called = call(command)

    assert linked == {path.name.removesuffix(".xc.yaml") for path in (ROOT / "specs" / "survey").glob("*.xc.yaml")}
    assert called.code == 1
    assert fits(expected.splitlines(), called.said.splitlines())


def test_the_page_about_combinations_links_every_spec_and_shows_true_refusals(monkeypatch):
    page = ROOT / "docs" / "combinations.md"
    linked = set(re.findall(r"\]\(\.\./specs/beyond/([^)]+)\.xc\.yaml\)", page.read_text()))
    there = {path.name.removesuffix(".xc.yaml") for path in (ROOT / "specs" / "beyond").glob("*.xc.yaml")}
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "200")

    assert {name for name in there - linked if not name.endswith("-12m")} == set()
    assert linked <= there
    refused = [(command, expected) for command, expected in commands(page) if expected]
    assert len(refused) == 5
    for command, expected in refused:
        called = call(command)
        assert called.code == 1
        assert fits(expected.splitlines(), called.said.splitlines()), f"$ {command}\n{called.said}"
