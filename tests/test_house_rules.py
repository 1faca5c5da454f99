"""The rules of the house, kept by tests and not by reviewers."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from xcompose import registry
from xcompose.spec.catalogue import canonical

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "xcompose").rglob("*.py"))
PLUGINS = sorted(p for p in (ROOT / "plugins").rglob("*.py") if p.name != "__init__.py")
SECTIONS = ("Maths", "Shapes", "Cost", "Limits", "Paper")
FREE_TO_IMPORT = {"torch", "einops", "attrs", "numpy", "xcompose.api", "jaxtyping"}
MECHANISMS = ("pattern", "score", "memory", "recurrence", "position", "mixer", "ffn", "residual", "addon", "task")
WORDS_OF_THE_LANGUAGE = {
    "union", "intersection", "difference",  # what | & - stand for
    "none", "all", "heads", "learned", "random", "linear", "sum", "global", "blocks", "dense", "segments", "window",
    "gate", "parallel", "chain", "attention", "single", "rows", "prefix", "adapter",
    "summary",
}  # fmt: skip
"""Component names that are ordinary words, too. The core may use the word, which the import rule keeps harmless."""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(("." * node.level) + (node.module or ""))
    return found


def strings(tree: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def components_of(path: Path):
    module = "xcompose_plugins." + ".".join(path.relative_to(ROOT / "plugins").with_suffix("").parts)
    found = [p for p in registry.load().plugins if p.found.module == module]
    assert found, f"{module} was not found by scanning"
    return [registry.load().component(schema.kind, canonical(schema)) for schema in found[0].schemas]


@pytest.mark.parametrize("path", CORE, ids=named)
def test_the_core_imports_no_plugin(path):
    tree = ast.parse(path.read_text())

    assert not [name for name in imports(tree) if name.startswith("xcompose_plugins")]


@pytest.mark.parametrize("path", [p for p in CORE if p.name != "options.py"], ids=named)
def test_the_core_names_no_mechanism(path):
    names = {c.name for kind in MECHANISMS for c in registry.load().components(kind)} - WORDS_OF_THE_LANGUAGE

    assert strings(ast.parse(path.read_text())) & names == set()


@pytest.mark.parametrize("path", PLUGINS, ids=named)
def test_a_plugin_imports_the_api_only(path):
    allowed = FREE_TO_IMPORT | set(sys.stdlib_module_names)
    foreign = {n for n in imports(ast.parse(path.read_text())) if n not in allowed and n.split(".")[0] not in allowed}

    assert foreign == set()


@pytest.mark.parametrize("path", PLUGINS, ids=named)
def test_a_plugin_has_a_card(path):
    card = ast.get_docstring(ast.parse(path.read_text())) or ""
    at = [re.search(rf"^{section}\s+\S", card, re.MULTILINE) for section in SECTIONS]

    assert all(at), f"missing: {[s for s, found in zip(SECTIONS, at, strict=True) if not found]}"
    places = [found.start() for found in at if found]
    assert places == sorted(places)


@pytest.mark.parametrize("path", PLUGINS, ids=named)
def test_a_plugin_has_a_test(path):
    kind = path.parent.name
    wanted = ROOT / "tests" / "plugins" / kind / f"test_{path.stem.rstrip('_')}.py"

    assert wanted.exists(), f"write {named(wanted)}"


@pytest.mark.parametrize("path", PLUGINS, ids=named)
def test_a_plugin_stands_in_a_spec(path):
    text = "\n".join(p.read_text() for p in (ROOT / "specs").rglob("*.xc.yaml"))
    operators = {"union": "|", "intersection": "&", "difference": " - "}
    defaults = (ROOT / "xcompose" / "compose" / "options.py").read_text()
    for component in components_of(path):
        words = [component.name, operators.get(component.name, component.name)]
        pattern = "|".join(rf"(?<![\w-]){re.escape(w)}(?![\w-])" if w[0].isalpha() else re.escape(w) for w in words)
        used = re.search(pattern, text) or f'"{component.name}' in defaults
        assert used, f"no spec uses the {component.kind} '{component.name}'"


@pytest.mark.parametrize("path", PLUGINS, ids=named)
def test_every_option_has_a_sentence(path):
    silent = [f"{c.name}.{o.name}" for c in components_of(path) for o in c.schema.options if not o.note]

    assert silent == []


def test_every_package_ships():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    core = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "xcompose").rglob("__init__.py")}
    plugins = {
        ".".join(("xcompose_plugins", *p.parent.relative_to(ROOT / "plugins").parts))
        for p in (ROOT / "plugins").rglob("__init__.py")
    }

    assert listed == core | plugins


def test_the_contract_fits_a_screen():
    assert len((ROOT / "xcompose" / "hookspecs.py").read_text().splitlines()) <= 50


def test_nothing_names_a_machine():
    texts = [p for folder in ("xcompose", "plugins", "specs", "docs", "tests") for p in (ROOT / folder).rglob("*")]
    found = [
        named(p)
        for p in texts
        if p.suffix in {".py", ".md", ".yaml", ".toml"}
        and re.search(r"(?<![\w.])/(?:wor" + r"k|roo" + r"t)/", p.read_text())
    ]

    assert found == []
