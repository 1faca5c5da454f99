"""Broken plugins are kept apart, clashes and misspelt hooks are named, names are the distribution's own."""

from __future__ import annotations

import textwrap

import pytest

from xcompose.registry import Registry
from xcompose.registry.clash import Clash
from xcompose.registry.discovery import Found, built_in, namespace_of
from xcompose.schema import TYPES

GOOD = """
    from xcompose.api import Component, Count, Pattern, hookimpl, option, options

    @options
    class Near(Pattern):
        size: Count = option(main=True)
        def allows(self, q, k):
            return q.at == k.at

    @hookimpl
    def components():
        return [Component(kind="pattern", name="near", options=Near)]
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a module that is a plugin, and return what discovery would say of it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, source: str, distribution: str = "acme-patterns") -> Found:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        return Found(name, distribution, "0.1", namespace_of(distribution), name)

    return write


def error_of(found: Found) -> str:
    return Registry.from_found([found]).plugins[0].error


def test_every_built_in_plugin_loads():
    plugins = Registry.from_found(built_in()).plugins

    assert [(p.found.module, p.error) for p in plugins if p.error] == []
    assert len(plugins) > 40


def test_a_third_party_component_carries_its_namespace(plugin):
    registry = Registry.from_found([plugin("good_one", GOOD)])

    assert [c.full_name for c in registry.components("pattern")] == ["acme/near"]
    assert registry.component("pattern", "acme/near").distribution == "acme-patterns"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import triton_that_is_not_here", "ModuleNotFoundError: No module named 'triton_that_is_not_here'"),
        (
            "from xcompose.api import hookimpl\n@hookimpl\ndef component():\n    return []",
            "there is no hook 'component'; did you mean 'components'?",
        ),
        (
            "from xcompose.api import hookimpl\n@hookimpl\ndef components():\n    return [3]",
            "components() must return Component objects, found int",
        ),
        (
            GOOD.replace("size: Count", "size: complex"),
            "the options of pattern 'near' are wrong: an option cannot have the type <class 'complex'>; " + TYPES,
        ),
        (
            GOOD.replace('name="near"', 'name="Near By"'),
            "'Near By' is no name of a component: lower-case words joined by dashes",
        ),
    ],
    ids=["raises", "exits", "missing dependency", "misspelt hook", "no component", "bad option type", "bad name"],
)
def test_a_broken_plugin_is_named_and_left_out(plugin, request, source, error):
    name = "broken_" + request.node.callspec.id.replace(" ", "_")

    registry = Registry.from_found([plugin(name, source), plugin("good_beside_" + name, GOOD)])

    assert registry.plugins[0].error == error
    assert [c.full_name for c in registry.components()] == ["acme/near"]
    assert registry.problems[0].message == f"plugin '{name}' of acme-patterns 0.1 is not loaded: {error}"


def test_a_hook_with_a_wrong_argument_is_named(plugin):
    error = error_of(
        plugin("wrong_argument", "from xcompose.api import hookimpl\n@hookimpl\ndef components(registry): return []")
    )

    assert "components" in error
    assert "registry" in error


def test_two_distributions_with_one_name_lose_it_both(plugin):
    registry = Registry.from_found([plugin("one", GOOD, "acme-a"), plugin("two", GOOD, "acme-b")])

    assert registry.components() == ()
    assert registry.absent == {
        ("pattern", "acme/near"): Clash(
            "two plugins offer the pattern 'acme/near': acme-a and acme-b", "uninstall one of them"
        )
    }
    assert [(p.code, p.severity) for p in registry.problems] == [("XC051", "warning")]


def test_interrupting_a_load_is_not_swallowed(plugin):
    with pytest.raises(KeyboardInterrupt):
        Registry.from_found([plugin("interrupted", "raise KeyboardInterrupt")])
