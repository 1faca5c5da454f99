"""xcompose plugin new: what it says, what it refuses, and that nothing is left where it fails."""

from __future__ import annotations

import pytest

from tests.cli.calling import call

SAID = """\
wrote acme-mean/
  pyproject.toml                 entry point `acme_mean` in group xcompose.v1, xcompose>=0.1,<0.2, namespace acme
  acme_mean/__init__.py
  acme_mean/mean.py              the mechanism: card, options, how a block becomes a slot: LINES lines, runs as it is
  acme_mean/specs/mean.xc.yaml   a model that uses `acme/mean`, with @tiny
  tests/test_mean.py             the contract of every memory (inherited), and one oracle to write
  .github/workflows/check.yml    oldest and newest xcompose: pytest, check, doctor
  .github/workflows/publish.yml  a tag builds and publishes
  .pre-commit-config.yaml
  .gitignore
  README.md                      what it is and how to work on it; the license is yours to choose
next:  cd acme-mean && pip install -e '.[test]' && pytest"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def below(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_it_writes_a_package_and_says_what_each_file_is(here):
    called = call("xcompose plugin new acme-mean --kind memory")

    assert called.code == 0
    lines = len((here / "acme-mean" / "acme_mean" / "mean.py").read_text().splitlines())
    assert called.said == SAID.replace("LINES", str(lines))
    said = sorted(line.split()[0] for line in SAID.splitlines()[1:-1])
    assert below(here / "acme-mean") == said
    assert [path.name for path in here.iterdir()] == ["acme-mean"]


def test_it_writes_into_another_folder(here):
    (here / "work").mkdir()

    called = call("xcompose plugin new acme-mean --kind memory --output work")

    assert called.said.splitlines()[-1] == "next:  cd work/acme-mean && pip install -e '.[test]' && pytest"
    assert (here / "work" / "acme-mean" / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("acme-mean --kind patern", "error: there is no kind 'patern'\n  = fix: did you mean 'pattern'?"),
        (
            "Acme --kind pattern",
            "error: 'Acme' is no name of a package: lower-case words of letters and digits, joined by dashes\n"
            "  = fix: write acme-mean",
        ),
        (
            "acme-mean --kind memory --output no/where",
            "error: the folder no/where does not exist\n  = fix: mkdir -p no/where",
        ),
        (
            "typing-extensions --kind memory",
            "error: a distribution 'typing-extensions' is installed already, ...",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_mend(here, command, said):
    called = call(f"xcompose plugin new {command}")

    assert called.code == 2
    assert called.said == said or (said.endswith("...") and called.said.startswith(said[:-3]))
    assert below(here) == []


def test_a_name_that_another_distribution_offers_is_refused(here, monkeypatch):
    from xcompose import registry
    from xcompose.registry import Registry
    from xcompose.schema import ComponentSchema
    from xcompose.spec.catalogue import Catalogue

    offered = ComponentSchema("memory", "mean", "acme", distribution="acme-stats")
    known = Registry.of(())
    known.__dict__["catalogue"] = Catalogue([offered])
    monkeypatch.setattr(registry, "load", lambda: known)

    called = call("xcompose plugin new acme-mean --kind memory")

    assert called.code == 2
    assert called.said == "error: acme-stats offers the memory 'acme/mean' already\n  = fix: another name"
    assert below(here) == []


def test_what_is_there_stays_as_it_is(here):
    (here / "acme-mean").mkdir()
    (here / "acme-mean" / "mine.txt").write_text("mine")

    called = call("xcompose plugin new acme-mean --kind memory")

    assert called.code == 2
    assert called.said == ("error: acme-mean exists already and stays as it is\n  = fix: another name, or --output")
    assert below(here) == ["acme-mean/mine.txt"]


def test_a_disk_that_is_full_leaves_nothing(here, monkeypatch):
    from pathlib import Path

    written = Path.write_text

    def full(path, *arguments, **more):
        if path.name == "README.md":
            raise OSError(28, "No space left on device", str(path))
        return written(path, *arguments, **more)

    monkeypatch.setattr(Path, "write_text", full)

    called = call("xcompose plugin new acme-mean --kind memory")

    assert called.code == 2
    assert called.said.endswith("README.md: no space left on device")
    assert list(here.iterdir()) == []
