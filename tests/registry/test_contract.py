"""A plugin that gives something wrong is told what, before anything is done with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.registry.distributions import GOOD, Distribution
from xcompose import api, registry
from xcompose.registry.listing import module_file
from xcompose.schema import KINDS, TYPES, Part

HEAD = "from xcompose.api import Component, Pattern, hookimpl, options\n\n\n@options\nclass O(Pattern):\n    pass\n\n\n"


def returning(answer: str, hook: str = "components") -> str:
    return f"{HEAD}@hookimpl\ndef {hook}():\n    {answer}\n"


ONE = "Component(kind='pattern', name='near', options=O{})"


@pytest.mark.parametrize(
    ("source", "code", "error"),
    [
        (returning("pass"), "XC053", "components() returns nothing; return a list"),
        (returning(f"return {ONE.format('')}"), "XC053", "components() must return a list, found Component"),
        (returning("return 'acme_a'", "specs"), "XC053", "specs() must return a list, found str"),
        (returning("return [3]", "specs"), "XC053", "specs() must return names of packages, found int"),
        (
            returning(f"return 2 * [{ONE.format('')}]"), "XC053", "it offers the pattern 'acme/near' twice",
        ),
        (
            returning(f"return [{ONE.format(', also=str()')}]"), "XC053",
            "`also` of pattern 'near' is wrong: str is not a tuple",
        ),
        (
            returning(f"return [{ONE.format(', also=(1,)')}]"), "XC053",
            "`also` of pattern 'near' is wrong: item 0 of tuple is not an instance of str",
        ),
        (
            returning(f"return [{ONE.format(', build=lambda options: options')}]"), "XC053",
            "`build` of pattern 'near' is wrong: function has too few arguments in its declaration; expected 2 but 1 "
            "argument(s) declared",
        ),
        (
            returning(f"return [{ONE.format(', build=3')}]"), "XC053", "`build` of pattern 'near' is wrong: int is not "
            "callable",
        ),
        (
            returning(f"return [{ONE.format(', version=1.5')}]"), "XC053",
            "`version` of pattern 'near' is wrong: float is not an instance of int",
        ),
        (
            returning(f"return [{ONE.format('').replace('=O', '=3')}]"), "XC053",
            "`options` of pattern 'near' is wrong: int is not a class",
        ),
        (
            returning(f"return [{ONE.format('')}]").replace("@options\n", ""), "XC053",
            "the options of pattern 'near' are wrong: O is not marked with @options",
        ),
        (
            returning("return []").replace("@hookimpl\n", ""), "XC052",
            "components() is not marked with @hookimpl, so it would never be called",
        ),
        (
            returning(f"return [{ONE.format('')}]").replace("'near'", "None"), "XC053",
            "'None' is no name of a component: lower-case words joined by dashes",
        ),
    ],
)  # fmt: skip
def test_what_a_plugin_gives_is_looked_at(installed, source, code, error):
    installed(Distribution("acme-a", source))

    [plugin] = registry.third_party().plugins

    assert (plugin.code, plugin.error) == (code, error)


@pytest.mark.parametrize("wrong", ["'old'", "(1,)"])
def test_old_names_of_an_option_are_a_tuple_of_names(installed, wrong):
    installed(Distribution("acme-a", GOOD.replace("main=True", f"main=True, renamed_from={wrong}")))

    [plugin] = registry.third_party().plugins

    assert plugin.error == f'TypeError: `renamed_from` takes a tuple of names, such as ("old",), found {wrong}'
    assert (plugin.code, plugin.where.rpartition("/")[2]) == ("XC050", "acme_a.py:14")


def test_the_types_that_a_message_lists_are_those_of_the_api():
    named = {word.strip(",") for word in TYPES.partition("xcompose.api ")[2].split()} - {"and"}
    there = {name for name in vars(api) if hasattr(getattr(api, name), "__metadata__")}

    assert named == {*there, "Part.KIND"}
    assert all(getattr(Part, kind).__metadata__ for kind in KINDS)


def test_a_generator_will_do(installed):
    installed(Distribution("acme-a", GOOD.replace("return [", "yield from [")))

    assert [c.full_name for c in registry.third_party().components()] == ["acme/near"]


def test_two_plugins_of_one_module_are_told_apart(installed):
    installed(
        Distribution("acme-a", GOOD, group="xcompose.v1]\nagain = acme_a\n[xcompose.v1"),
    )

    assert sorted(plugin.error for plugin in registry.third_party().plugins) == [
        "", "another plugin announces its module 'acme_a', too"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("requires", "extras", "fix"),
    [
        (["not-here-at-all"], [], "pip install 'not-here-at-all'"),
        (["not-here-at-all>2; extra == 'gpu'"], ["gpu"], "pip install 'acme-a[gpu]'"),
        (["other"], [], ""),
    ],
)
def test_a_missing_package_is_named_as_it_is_installed(installed, requires, extras, fix):
    installed(Distribution("acme-a", "import not_here_at_all.kernels", requires=requires, extras=extras))

    [plugin] = registry.third_party().plugins

    assert (plugin.error, plugin.fix) == ("ModuleNotFoundError: No module named 'not_here_at_all'", fix)
    assert plugin.where.endswith("acme_a.py:1")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("x = 1\nimport json\njson.loads('{')\n", 3),
        ("def f(:\n", 1),
        ("import sys\n\n\ndef f():\n    sys.exit()\n\nf()", 5),
    ],
)
def test_the_last_place_inside_the_plugin_is_named(installed, source, line):
    installed(Distribution("acme-a", source))

    assert registry.third_party().plugins[0].where.endswith(f"/acme_a.py:{line}")


def test_a_place_inside_a_package_without_init_is_named(installed):
    installed(Distribution("acme-a", "", group="xcompose.v1]\nfar = acme_space.inner.far\n[others"))
    inner = Path(sys.path[0]) / "acme_space" / "inner"
    inner.mkdir(parents=True)
    (inner / "far.py").write_text("\nraise RuntimeError('no luck')\n")

    [plugin] = registry.third_party().plugins

    assert (plugin.error, plugin.where) == ("RuntimeError: no luck", f"{inner / 'far.py'}:2")
    assert module_file("acme_space.inner.far") == str(inner / "far.py")
    assert module_file("acme_space.other") == str(inner.parent)


@pytest.mark.parametrize("end", ["", "\n\nraise RuntimeError('no luck')\n"])
def test_a_plugin_that_changes_the_folder_changes_nothing(installed, tmp_path, end):
    here = Path.cwd()
    installed(Distribution("acme-a", f"import os\n\nos.chdir({str(tmp_path)!r})\n\n{GOOD}{end}"))

    [plugin] = registry.third_party().plugins

    assert Path.cwd() == here
    assert plugin.nuisances == (
        (
            f"changes the working folder while it is imported, to {tmp_path}; that was undone",
            "leave out os.chdir(), and write whole paths",
        ),
    )
    assert plugin.error == ("RuntimeError: no luck" if end else "")
