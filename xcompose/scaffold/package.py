"""A package from templates: its files, and the folder they are written to as a whole or not at all."""

from __future__ import annotations

import ast
import builtins
import importlib.metadata
import keyword
import os
import shutil
import string
import tempfile
import textwrap
from pathlib import Path

import attrs

from xcompose.registry.discovery import GROUP
from xcompose.scaffold.kinds import TEMPLATES, Slot, slot
from xcompose.scaffold.names import Names

ROOM = 120 - len("    expressions = (")
"""Letters that a line of a test has for calls of the component."""

STAND_IN = "NoSuchNameAnywhere"
"""A class of this name shows which other names a template has."""


@attrs.frozen
class File:
    """One file of a package."""

    path: str
    """Below the package's folder."""
    text: str
    phrase: str = ""
    """What it is, for people; empty where its name says it."""


def files_of(names: Names, kind: str) -> tuple[File, ...]:
    """Every file of the package, in the order in which people look at them."""
    owed = slot(kind)
    mechanism = _mechanism(names, kind)
    names = mechanism.names
    values = {**attrs.asdict(names), "full": names.full, "test": names.test, **_facts(names, owed)}
    lines = len(mechanism.text.splitlines())
    group, bounds = values["group"], f"xcompose>={values['oldest']},<{values['newest']}"
    return (
        _file(
            "pyproject.toml",
            values,
            f"entry point `{names.package}` in group {group}, {bounds}, namespace {names.namespace}",
        ),
        File(f"{names.package}/__init__.py", _filled("package/init.py", values)),
        File(
            f"{names.package}/{names.module}.py",
            mechanism.text,
            f"the mechanism: card, {owed.pieces}: {lines} lines, runs as it is",
        ),
        File(
            f"{names.package}/specs/{names.component}.xc.yaml",
            _filled("package/spec.xc.yaml", values),
            f"a model that uses `{names.full}`, with @tiny",
        ),
        File(
            f"tests/test_{names.module}.py",
            _filled("package/test.py", values),
            f"the contract of every {kind} (inherited), and one oracle to write",
        ),
        File(
            ".github/workflows/check.yml",
            _filled("package/check.yml", values),
            "oldest and newest xcompose: pytest, check, doctor",
        ),
        File(".github/workflows/publish.yml", _filled("package/publish.yml", values), "a tag builds and publishes"),
        File(".pre-commit-config.yaml", _filled("package/pre-commit-config.yaml", values)),
        File(".gitignore", _filled("package/gitignore", values)),
        _file("README.md", values, "what it is and how to work on it; the license is yours to choose"),
    )


def write(files: tuple[File, ...], folder: Path) -> None:
    """Write all files, or none.

    Args:
        folder: what will hold them; it must not exist, and its parent must.

    Raises:
        FileExistsError: it does exist.
        OSError: it cannot be written.
    """
    if os.path.lexists(folder):
        raise FileExistsError(folder)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for file in files:
            path = beside / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text, encoding="utf-8")
        beside.chmod(0o777 & ~_umask())
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside)
        raise


def versions() -> tuple[str, str]:
    """The oldest xcompose that a new package works with, and the first that it does not: this minor version."""
    major, minor = importlib.metadata.version("xcompose").split(".")[:2]
    return f"{major}.{minor}", f"{major}.{int(minor) + 1}"


@attrs.frozen
class _Mechanism:
    text: str
    names: Names


def _mechanism(names: Names, kind: str) -> _Mechanism:
    """The file of the mechanism. Its class is called by its namespace, too, where the short name is taken: by a word
    of Python, by what the file imports, or by another class or function in it."""
    others = ast.parse(_filled(f"kinds/{kind}/mechanism.py", {**attrs.asdict(names), "cls": STAND_IN}))
    imported = {alias.name for node in ast.walk(others) for alias in getattr(node, "names", ())}
    defined = {node.name for node in ast.walk(others) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    assigned = {node.id for node in ast.walk(others) if isinstance(node, ast.Name)}
    taken = imported | defined | assigned | set(vars(builtins)) | set(keyword.kwlist)
    if len(names.cls) == 1 or not taken.isdisjoint({names.cls, f"{names.cls}Options"}):
        names = attrs.evolve(names, cls=names.namespace.capitalize() + names.cls)
    return _Mechanism(_filled(f"kinds/{kind}/mechanism.py", attrs.asdict(names)), names)


def _facts(names: Names, owed: Slot) -> dict[str, str]:
    oldest, newest = versions()
    lone = {"full": names.full}
    expressions = [string.Template(e).substitute(lone) for e in owed.expressions]
    oracle = string.Template(owed.oracle.strip("\n")).substitute(lone)
    imports = ["import pytest", *(["import torch"] if "torch." in oracle else [])]
    imports += [f"from xcompose.api import {', '.join(owed.imports)}"] if owed.imports else []
    return {
        "kind": owed.kind,
        "article": "An" if owed.kind[0] in "aeiou" else "A",
        "group": GROUP,
        "oldest": oldest,
        "newest": newest,
        "extras": owed.extras,
        "contract": owed.contract,
        "imports": "\n".join(imports),
        "expressions": _listed(expressions),
        "attributes": _attributes(owed),
        "oracle": textwrap.indent(oracle, " " * 8),
        "body": _filled(f"kinds/{owed.kind}/spec.yaml", lone).rstrip("\n"),
    }


def _attributes(owed: Slot) -> str:
    """What the class of tests says beside the expressions."""
    types = f"    types = ({_listed(list(owed.types))})\n" if owed.types else ""
    return types + (f"    model = {owed.model}\n" if owed.model else "")


def _listed(expressions: list[str]) -> str:
    """Inside the brackets of a tuple, on one line where there is room for it."""
    quoted = [f'"{e}"' for e in expressions]
    line = ", ".join(quoted) + ("," if len(quoted) == 1 else "")
    return line if len(line) < ROOM else "".join(f"\n        {one}," for one in quoted) + "\n    "


def _file(path: str, values: dict[str, str], phrase: str) -> File:
    return File(path, _filled(f"package/{path}", values), phrase)


def _filled(template: str, values: dict[str, str]) -> str:
    text = (TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")
    return string.Template(text).substitute(values)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
