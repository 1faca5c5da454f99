"""Every hostile or broken spec ends in a finding, soon, in little memory, and without touching anything else."""

from __future__ import annotations

import importlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.places import FILES, GIGANTIC, OVERRIDES, SPEC, Case
from tests.hostile.texts import LIMIT, ONE, ROWS
from tests.hostile.watching import Watched, watching
from xcompose.compose.build import plan_model
from xcompose.diagnostics import Diagnostic, SpecError, gitlab, render, sarif
from xcompose.diagnostics.codes import CODES
from xcompose.registry import load
from xcompose.spec import check, check_text

HERE = Path(__file__).parent
FINDINGS = HERE / "findings.txt"
WRITE = bool(os.environ.get("XC_WRITE_FINDINGS"))
SECONDS, MEBIBYTES, CHARACTERS, SHOWN = 1.0, 200, 60_000, 100
WITHOUT_A_PLACE = {"XC001", "XC002", "XC026", "XC040"}
"""About a file as a whole, a name on the command line, or a model."""
GROUPS: dict[str, list[Case]] = {
    **{group: [Case(name, text) for name, text in rows] for group, rows in ROWS.items()},
    "files": FILES, "overrides": OVERRIDES, "gigantic": GIGANTIC,
}  # fmt: skip
CASES = [(group, case) for group, cases in GROUPS.items() for case in cases]
SAMPLED = 4
"""Of so many, one is tried in the usual run."""
PARAMETERS = [
    pytest.param(group, case, id=f"{group}-{number}", marks=[pytest.mark.slow] if number % SAMPLED else [])
    for number, (group, case) in enumerate(CASES)
]
SEVERAL = {"XC003": ("UTF-16", "UTF-32"), "XC008": ("the limit",)}
WARM = (
    ONE
    + 'addons: ["lora(2)", "adapter(2)"]\ntrain: {lr: 1}\nexpect: {params: 1..}\nsearch: {choices: {model.dim: [8]}}\n'
)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """What is imported once and for all."""
    catalogue = load().catalogue
    spec, found = check_text(WARM, "warm", ("model.heads=1",), catalogue)
    assert spec is not None, render.text(found)
    plan_model(spec)
    _, found = check_text("xcompose: 1\nmodel: {type: decodr}\n", "warm", catalogue=catalogue)
    shown(found)


@pytest.fixture(scope="module")
def expected() -> Iterator[dict[str, str]]:
    known = dict(line.split(" | ", 1) for line in FINDINGS.read_text().splitlines()) if FINDINGS.exists() else {}
    yield known
    if WRITE:
        FINDINGS.write_text("".join(f"{name} | {said}\n" for name, said in known.items()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inside = tmp_path / "x"
    inside.mkdir()
    (inside / "pyproject.toml").write_text("")
    monkeypatch.chdir(inside)
    return inside


def written(case: Case, folder: Path) -> None:
    for name, text in {SPEC: case.text, **case.files}.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    case.make(folder)


def findings_of(case: Case, plan: bool) -> list[Diagnostic]:
    spec, found = check(case.reference, case.sets, load().catalogue)
    if spec is not None and plan:
        try:
            plan_model(spec)
        except SpecError as error:
            return list(error.diagnostics)
    return found


def shown(found: list[Diagnostic]) -> str:
    """As every renderer shows them; the text for people."""
    render.concise(found)
    render.github(found)
    render.as_json(found)
    gitlab.gitlab(found, str)
    sarif.sarif(found, str, "0")
    return render.text(found)


def tried(case: Case, plan: bool) -> tuple[list[Diagnostic], str, Watched]:
    for _ in range(3):  # the machine may be busy with something else
        with watching() as seen:
            found = findings_of(case, plan)
            said = shown(found)
        if seen.seconds < SECONDS:
            break
    return found, said, seen


def first_of(found: list[Diagnostic]) -> Diagnostic:
    errors = [d for d in found if d.severity == "error"]
    return next((d for d in errors if d.span is not None), errors[0])


def in_short(found: Diagnostic) -> str:
    span = found.span
    where = f"{span.file}:{span.line}:{span.column} " if span else ""
    return render.visible(f"{where}{found.code} {found.message}")[:SHOWN].strip()


@pytest.mark.parametrize(("group", "case"), PARAMETERS)
def test_it_ends_in_a_finding(group, case, folder, expected):
    written(case, folder)
    found, said, seen = tried(case, group == "gigantic")
    name = render.visible(f"{group}: {case.name}").strip()

    assert any(d.severity == "error" for d in found)
    first = first_of(found)
    if WRITE:
        expected[name] = in_short(first)
    assert in_short(first) == expected[name]
    whole = first.code in WITHOUT_A_PLACE or any(word in case.name for word in SEVERAL.get(first.code, ()))
    assert first.span is not None or whole
    assert {d.code for d in found} <= set(CODES)
    assert len(said) < CHARACTERS
    assert all(c.isprintable() or c == "\n" for c in said)
    untouched(seen, folder, builds=group == "gigantic")


def untouched(seen: Watched, folder: Path, builds: bool) -> None:
    assert [path for path in seen.opened if not Path(path).resolve().is_relative_to(folder)] == []
    assert [module for module in seen.imported if not builds and not module.startswith("xcompose.")] == []
    assert [key for key in seen.asked if not builds] == []
    assert seen.done == []
    assert seen.seconds < SECONDS
    assert seen.mebibytes < MEBIBYTES


def test_there_are_enough_of_them_and_no_two_are_called_the_same():
    names = [(group, case.name) for group, case in CASES]

    assert len(names) == len(set(names)) >= 400


def test_a_spec_of_exactly_the_limit_is_read(folder):
    (folder / SPEC).write_bytes(ONE.encode() + b"#" * (LIMIT - len(ONE)))
    spec, found = check(SPEC, (), load().catalogue)

    assert spec is not None
    assert found == []


def test_the_watch_sees_what_it_is_for(folder, monkeypatch):
    (folder / "a.txt").write_text("")
    monkeypatch.setenv("HOSTILE", "1")
    with watching() as seen:
        (folder / "a.txt").read_text()
        os.environ.get("HOSTILE")
        os.getenv("ABSENT")
        os.mkdir("b")
        importlib.import_module("this")
        held = mmap.mmap(-1, 64 << 20)  # from the system: an allocator may have kept as much
        held.write(b"x" * (64 << 20))

    assert seen.opened[0] == str(folder / "a.txt")
    assert seen.asked == ["HOSTILE", "ABSENT"]
    assert seen.done[0] == "os.mkdir"
    assert seen.imported == ["this"]
    assert seen.mebibytes > 60
