"""A package of every kind: formatted, typed, valid, and green in an environment that has nothing but xcompose."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import xcompose.api as api
import xcompose.testing as testing
from tests.scaffold.fresh import fresh
from xcompose.scaffold import files_of, names_of, write
from xcompose.scaffold.kinds import slots
from xcompose.schema import KINDS
from xcompose.testing import assert_valid, registry_with

ROOT = Path(__file__).parent.parent.parent
LONG = "acmecorporation-abcdefghi-jklmnopq-rstuv"
DRAWN = ("schedule",)
"""Kinds whose tests run in the usual run; those of all kinds run in the slow one."""


def name_for(kind: str) -> str:
    return f"acme-my-{kind}"


def make(folder: Path, kind: str, name: str = "") -> Path:
    """A package below a folder; returns its own."""
    names = names_of(name or name_for(kind))
    package = folder / kind / names.distribution
    package.parent.mkdir(exist_ok=True)
    write(files_of(names, kind), package)
    return package


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> dict[str, Path]:
    """A package of every kind."""
    folder = tmp_path_factory.mktemp("packages")
    return {kind: make(folder, kind) for kind in KINDS}


def tool(*words: str, cwd: Path) -> str:
    """What a tool finds; nothing where all is well."""
    ran = subprocess.run([sys.executable, "-m", *words], cwd=cwd, capture_output=True, text=True, check=False)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def test_there_is_a_package_for_every_kind():
    assert tuple(slots()) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_owes_is_what_its_base_asks_for(kind):
    owed = slots()[kind]
    base = getattr(api, owed.base)

    assert getattr(testing, owed.contract).kind == kind
    if not inspect.isclass(base):
        assert (owed.must, owed.may) == ((), ())
        return
    assert [name for name in (*owed.must, *owed.may) if name not in dir(base)] == []
    assert set(getattr(base, "__abstractmethods__", ())) <= set(owed.must)


def test_every_file_is_formatted_whatever_it_is_called(tmp_path):
    for kind in KINDS:
        for name in ("a-b", name_for(kind), f"acme-{kind}", LONG):
            make(tmp_path, kind, name)

    assert tool("ruff", "check", "--no-cache", ".", cwd=tmp_path) == ""
    assert tool("ruff", "format", "--no-cache", "--check", ".", cwd=tmp_path) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_may_be_called_like_anything_in_its_template(kind):
    _, _, mechanism, *_ = files_of(names_of(name_for(kind)), kind)
    words = set(re.findall(r"\b[A-Z]\w+", mechanism.text)) | {"None", "True", "False", "List", "Of", "ListOf"}
    for word in words:
        name = "acme-" + "-".join(re.findall("[A-Z][a-z0-9]*", word)).lower()
        _, _, file, *_ = files_of(names_of(name), kind)
        module = ast.parse(file.text)
        own = [node.name for node in module.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        imported = [a.name for node in module.body if isinstance(node, ast.ImportFrom) for a in node.names]

        assert len({*own, *imported}) == len(own) + len(imported), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_can_be_read(packages, kind):
    folder = packages[kind]
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    package = project["tool"]["setuptools"]["packages"][0]

    assert project["project"]["entry-points"] == {"xcompose.v1": {package: f"{package}.my_{kind}"}}
    assert project["project"]["dependencies"] == ["xcompose>=0.1,<0.2"]
    for file in folder.rglob("*"):
        if file.suffix in (".yml", ".yaml"):
            assert yaml.safe_load(file.read_text())
        if file.is_file():
            assert re.findall(r"\$(?!\{\{|schema|XCOMPOSE\b)", file.read_text().replace("xc\\.yaml$", "")) == []


def test_the_workflow_meets_the_oldest_and_the_newest_core(packages):
    workflow = yaml.safe_load((packages["norm"] / ".github" / "workflows" / "check.yml").read_text())
    job = workflow["jobs"]["check"]

    assert [one["core"] for one in job["strategy"]["matrix"]["include"]] == [
        "${{ vars.XCOMPOSE_OLDEST }}",
        "${{ vars.XCOMPOSE_NEWEST }}",
    ]
    ran = " && ".join(step.get("run", "") for step in job["steps"])
    assert all(command in ran for command in ("pytest", "xcompose check", "xcompose plugin doctor", "ruff check"))


def test_the_publishing_workflow_keeps_no_password(packages):
    workflow = yaml.safe_load((packages["norm"] / ".github" / "workflows" / "publish.yml").read_text())
    publish = workflow["jobs"]["publish"]

    assert workflow[True] == {"push": {"tags": ["v*"]}}  # `on` is true in YAML 1.1
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["steps"][-1]["uses"] == "pypa/gh-action-pypi-publish@release/v1"


@pytest.mark.parametrize("kind", KINDS)
def test_its_spec_is_valid(packages, kind, monkeypatch):
    package = packages[kind] / f"acme_my_{kind}"
    monkeypatch.syspath_prepend(str(packages[kind]))
    registry = registry_with(f"acme_my_{kind}.my_{kind}")

    for variant in ("", "@tiny"):
        assert_valid(f"{package}/specs/my-{kind}.xc.yaml{variant}", registry=registry)


def announce(folder: Path) -> None:
    """What pip would put beside the package of a folder, without pip."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    for group, entries in project["entry-points"].items():
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))


def test_the_tests_of_one_of_them_are_green(tmp_path):
    folders = [make(tmp_path, kind) for kind in DRAWN]
    for folder in folders:
        announce(folder)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--import-mode=importlib", "-q", "-rs"]

    ran = subprocess.run(
        [*command, *(f"{folder}/tests" for folder in folders)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout
    for kind in DRAWN:
        assert f"write this oracle: until then nothing compares the {kind} with its formula" in ran.stdout


@pytest.mark.slow
def test_the_packages_are_typed(packages):
    folder = packages["norm"].parent.parent
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "basic"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))

    assert tool("pyright", "--pythonpath", sys.executable, "-p", ".", cwd=folder) == ""


@pytest.mark.slow
def test_all_of_them_are_green_in_a_fresh_environment(packages, tmp_path):
    environment, folder = fresh(tmp_path / "env"), packages["norm"].parent.parent
    paths = [path.relative_to(folder).as_posix() for path in packages.values()]

    installed = environment.run(f"pip install -q --no-deps {' '.join(f'./{path}' for path in paths)}", folder)
    assert installed.returncode == 0, installed.stderr
    for path in paths:
        shutil.rmtree(folder / path / "build", ignore_errors=True)  # where pip leaves a copy of each spec
    doctor = environment.run("xcompose plugin doctor", folder)
    assert doctor.returncode == 0, doctor.stdout
    assert "needs a look" not in doctor.stdout
    checked = environment.run("xcompose check -j 2 .", folder)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(KINDS)} specs" in checked.stdout
    assert " 0 findings" in checked.stdout
    tests = " ".join(f"{path}/tests" for path in paths)
    tested = environment.run(f"pytest -q -rs -n 2 -p no:cacheprovider --import-mode=importlib {tests}", folder)
    assert tested.returncode == 0, tested.stdout
    assert len(re.findall("write this oracle", tested.stdout)) == len(KINDS)


@pytest.mark.slow
def test_what_is_published_holds_the_spec(packages, tmp_path):
    environment = fresh(tmp_path / "env")

    built = environment.run(f"python -m build --no-isolation -o {tmp_path}/dist", packages["memory"])

    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,), (source,) = (list((tmp_path / "dist").glob(end)) for end in ("*.whl", "*.tar.gz"))
    spec = "acme_my_memory/specs/my-memory.xc.yaml"
    with zipfile.ZipFile(wheel) as held, tarfile.open(source) as kept:
        assert spec in held.namelist()
        names = kept.getnames()
    assert f"acme_my_memory-0.1.0/{spec}" in names
    assert "******" not in built.stdout + built.stderr, "setuptools warns of something"
