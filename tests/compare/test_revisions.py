"""Specs as they were are read from git as it names them, whatever else its repository holds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from xcompose import registry
from xcompose.compare.diff import Change, changes
from xcompose.compare.revisions import committed, opened
from xcompose.diagnostics import Diagnostic, Note, SpecError
from xcompose.spec import check

BASE = "xcompose: 1\nmodel: {type: decoder, dim: 32, heads: 2, layers: 2}\n"
MINE = "xcompose: 1\nextends: ../base.xc.yaml\nmodel: {dim: 64}\n"
FILES = {
    "base.xc.yaml": BASE,
    "specs/mine.xc.yaml": MINE,
    "specs/bad.xc.yaml": "xcompose: 1\nmodel: {type: decoder, dmi: 32, layers: 2}\n",
    "specs/astray.xc.yaml": "xcompose: 1\nextends: ../bsae.xc.yaml\n",
    "specs/outside.xc.yaml": "xcompose: 1\nextends: ../../base.xc.yaml\n",
    "specs/circle.xc.yaml": "xcompose: 1\nextends: circle.xc.yaml\n",
    "part/pyproject.toml": "",
    "part/mine.xc.yaml": MINE,
}
Git = Callable[..., None]


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a repository, which is the current one."""
    folder = tmp_path / "top"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def git(top: Path) -> Git:
    def run(*arguments: str) -> None:
        name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *name, *arguments], cwd=top, check=True, capture_output=True)

    run("init", "-q")
    return run


@pytest.fixture
def commit(top: Path, git: Git) -> Callable[[dict[str, str]], None]:
    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            (top / name).parent.mkdir(exist_ok=True)
            (top / name).write_text(text)
        git("add", ".")
        git("commit", "-q", "-m", "files")

    return write


@pytest.fixture
def repository(top: Path, commit) -> Path:
    """A repository whose HEAD has specs with a base, and whose working tree has changed that."""
    commit(FILES)
    (top / "base.xc.yaml").write_text(BASE.replace("heads: 2, layers: 2", "heads: 4, layers: 3"))
    return top


def heads(reference: str) -> int:
    with opened(reference, catalogue=registry.load().catalogue) as found:
        assert found.spec.model is not None
        return found.spec.model.options["heads"]


def findings(reference: str) -> list[Diagnostic]:
    with pytest.raises(SpecError) as caught, opened(reference, catalogue=registry.load().catalogue):
        pass
    return list(caught.value.diagnostics)


def test_a_spec_as_it_was_has_the_base_that_it_had(repository):
    catalogue = registry.load().catalogue
    names = "HEAD:specs/mine.xc.yaml", "specs/mine.xc.yaml"
    with opened(names[0], catalogue=catalogue) as old, opened(names[1], catalogue=catalogue) as new:
        found = changes(old.spec, new.spec, registry.load())

    assert (old.spec.file, old.spec.name) == ("HEAD:specs/mine.xc.yaml", "mine")
    assert found == (
        Change("layers 0 to 1", "heads", "2", "4"),
        Change("layer 2", "", "", "attention, mlp(256)"),
    )


def test_a_file_is_named_as_git_does(repository, monkeypatch):
    monkeypatch.chdir(repository / "specs")

    assert [heads(f"HEAD:{name}") for name in ("specs/mine.xc.yaml", "./mine.xc.yaml", "../base.xc.yaml")] == [2, 2, 2]
    assert committed("mine.xc.yaml@a+b") == "HEAD:specs/mine.xc.yaml@a+b"
    assert committed("../base.xc.yaml") == "HEAD:base.xc.yaml"
    assert findings("HEAD:mine.xc.yaml")[0].message == "there is no file HEAD:mine.xc.yaml"


@pytest.mark.parametrize("name", ["bad", "astray", "outside", "circle"])
def test_findings_are_those_of_check_with_the_revision_before_each_file(repository, name):
    catalogue = registry.load().catalogue
    expected = check(f"specs/{name}.xc.yaml", catalogue=catalogue)[1]

    found = findings(f"HEAD:specs/{name}.xc.yaml")

    assert str(SpecError(found)).replace("HEAD:", "") == str(SpecError(expected))
    assert str(SpecError(found)).count("HEAD:") == len(found)


def test_a_project_ends_where_it_does_for_check(repository):
    expected = check("part/mine.xc.yaml", catalogue=registry.load().catalogue)[1]

    found = findings("HEAD:part/mine.xc.yaml")

    assert (found[0].message, found[0].label) == (
        "'../base.xc.yaml' is outside the project",
        "the project ends at part/",
    )
    assert str(SpecError(found)).replace("HEAD:", "") == str(SpecError(expected))


@pytest.mark.parametrize(
    ("reference", "message", "fix"),
    [
        ("nowhere:specs/mine.xc.yaml", "git knows no revision 'nowhere'", "git log --oneline names revisions"),
        ("HEAD:../mine.xc.yaml", "'../mine.xc.yaml' is not in this repository", "name a file below it"),
        ("HEAD:bsae.xc.yaml", "there is no file HEAD:bsae.xc.yaml", "did you mean HEAD:base.xc.yaml?"),
        ("HEAD:no/x.xc.yaml", "there is no file HEAD:no/x.xc.yaml: no folder HEAD:no", ""),
        ("HEAD:x.yaml", "a spec's file name ends in .xc.yaml, found HEAD:x.yaml", "write HEAD:x.xc.yaml"),
        ("--list:base.xc.yaml", "'--list' is no revision of git", "git log --oneline names revisions"),
        (":base.xc.yaml", "'' is no revision of git", "git log --oneline names revisions"),
    ],
)  # fmt: skip
def test_what_git_does_not_have_is_refused(repository, reference, message, fix):
    assert [(one.message, "".join(one.fixes)) for one in findings(reference)] == [(message, fix)]


def test_a_revision_gives_git_no_options(repository):
    kept = repository / "kept"
    kept.write_text("mine")

    assert findings(f"--output={kept}:base.xc.yaml")[0].message == f"'--output={kept}' is no revision of git"
    assert kept.read_text() == "mine"


def test_no_command_of_a_repository_is_run(repository, commit, git):
    """Filters, attributes and the helpers of remotes are a stranger's."""
    commit({".gitattributes": "*.xc.yaml filter=evil diff=evil\n", "again.xc.yaml": BASE})
    for name in ("filter.evil.smudge", "filter.evil.process", "diff.evil.textconv", "core.fsmonitor", "core.pager"):
        git("config", name, "touch ran")

    assert heads("HEAD:again.xc.yaml") == 2
    assert not (repository / "ran").exists()


def test_nothing_is_fetched(repository, git):
    """A clone that lacks files asks a remote for them, whose command is a stranger's."""
    git("config", "remote.origin.url", "ext::touch ran")
    git("config", "remote.origin.promisor", "true")
    git("config", "protocol.ext.allow", "always")
    name = subprocess.run(["git", "rev-parse", "HEAD:base.xc.yaml"], capture_output=True, text=True, check=True).stdout
    (repository / ".git/objects" / name[:2] / name[2:].strip()).unlink()

    assert [(one.message, one.fixes) for one in findings("HEAD:base.xc.yaml")] == [
        ("this clone has not got every file of the revision", ("fetch the rest: git fetch --refetch --no-filter",))
    ]
    assert not (repository / "ran").exists()


def test_what_is_left_out_of_archives_is_read(repository, commit):
    commit({".gitattributes": "*.xc.yaml export-ignore\n", "again.xc.yaml": BASE})

    assert heads("HEAD:specs/mine.xc.yaml") == 4
    assert heads("HEAD~1:specs/mine.xc.yaml") == 2


def test_links_do_no_harm_to_the_others(repository, git, tmp_path):
    (tmp_path / "secret.xc.yaml").write_text(BASE.replace("heads: 2", "heads: 1"))
    (repository / "away.xc.yaml").symlink_to(tmp_path / "secret.xc.yaml")
    (repository / "up.xc.yaml").symlink_to("../secret.xc.yaml")
    (repository / "round.xc.yaml").symlink_to("round.xc.yaml")
    (repository / "specs/near.xc.yaml").symlink_to("../nearer.xc.yaml")
    (repository / "nearer.xc.yaml").symlink_to("base.xc.yaml")
    (repository / "specs/on.xc.yaml").write_text("xcompose: 1\nextends: ../up.xc.yaml\n")
    git("add", ".")
    git("commit", "-q", "-m", "links")

    assert heads("HEAD:specs/mine.xc.yaml") == 4
    assert heads("HEAD:specs/near.xc.yaml") == 4
    for name, target in (
        ("away", str(tmp_path / "secret.xc.yaml")),
        ("up", "../secret.xc.yaml"),
        ("round", "round.xc.yaml"),
    ):
        assert [(one.message, one.notes) for one in findings(f"HEAD:{name}.xc.yaml")] == [
            (f"there is no file HEAD:{name}.xc.yaml", (left(name, target),))
        ]
    [based] = findings("HEAD:specs/on.xc.yaml")
    assert based.span is not None
    assert based.span.file == "HEAD:specs/on.xc.yaml"
    assert (based.message, based.notes) == ("there is no file '../up.xc.yaml'", (left("up", "../secret.xc.yaml"),))


def left(name: str, target: str) -> Note:
    return Note(f"HEAD:{name}.xc.yaml is a link to '{target}', no spec of this revision, and is not followed")


def test_names_that_lead_out_of_a_folder_are_not_written(repository):
    """Git itself makes no such tree, but reads one."""

    def made(kind: str, data: bytes) -> str:
        command = ["git", "hash-object", "-w", "--literally", "-t", kind, "--stdin"]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode().strip()

    blob = bytes.fromhex(made("blob", BASE.encode()))
    inner = bytes.fromhex(made("tree", b"100644 out.xc.yaml\0" + blob))
    tree = made("tree", b"40000 ..\0" + inner + b"100644 a.xc.yaml\0" + blob)
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit-tree", tree, "-m", "hostile"]
    hostile = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    with opened(f"{hostile}:a.xc.yaml", catalogue=registry.load().catalogue) as found:
        assert found.folder is not None
        assert not (found.folder.parent / "out.xc.yaml").exists()


def test_a_spec_too_large_is_said_to_be(repository, commit):
    commit({"large.xc.yaml": "#" * (1 << 20) + BASE})

    expected = "HEAD:large.xc.yaml is larger than 1 MiB, the most a spec may have"
    assert [one.message for one in findings("HEAD:large.xc.yaml")] == [expected]
