"""xcompose plugin: what is listed, what the doctor finds, what a trace shows."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tests.cli.calling import call
from tests.registry.distributions import BROKEN, CARD, GOOD, Distribution, near
from tests.registry.installing import forget, install
from xcompose import registry
from xcompose.registry import loader
from xcompose.schema import TYPES


@pytest.fixture
def installed(tmp_path_factory, monkeypatch):
    """Installs distributions, in this process only, for one test."""
    folder = tmp_path_factory.mktemp("site")
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.syspath_prepend(folder)
    yield install(folder)
    forget(folder)


def count() -> int:
    return len(registry.built_in().catalogue)


def said(command: str, code: int = 0) -> str:
    """What it prints, without times, folders, and widths of columns."""
    called = call(command)
    assert (called.code, called.err) == (code, "")
    plain = re.sub(r"/\S*/(?=\w+\.py)", "", re.sub(r"\d+\.\d+ (m?s)", r"# \1", called.out))
    return "\n".join(re.sub(r"  +", "  ", line).strip() for line in plain.strip().splitlines())


def wrong(command: str = "xcompose plugin doctor --format json", code: int = 0) -> list[tuple[str, ...]]:
    """Code, message and fixes of what the doctor finds."""
    called = call(command)
    assert called.code == code, called.said
    [plugin] = json.loads(called.out)["plugins"]
    return [(f["code"], f["message"], *f["fixes"]) for f in plugin["findings"]]


@pytest.mark.parametrize("command", ["list", "doctor", "trace"])
def test_help_holds_an_example(command):
    called = call(f"xcompose plugin {command} --help")

    assert called.code == 0
    assert f"xcompose plugin {command}" in called.out.partition("Example:")[2]


def test_where_nothing_is_installed(installed):
    installed()

    assert said("xcompose plugin list") == (
        f"plugin  version  namespace  API  components  import  status\nxcompose  0.1.0  –  1  {count()}  –  built in"
    )
    assert said("xcompose plugin doctor") == (
        f"xcompose  0.1.0  –  {count()} components  fine\nno plugin is installed beside the built-in ones"
    )
    assert said("xcompose plugin trace") == "no plugin is installed beside the built-in ones: --built-in"


class TestList:
    def test_nothing_is_imported(self, installed):
        installed(Distribution("acme-a", "raise SystemExit"))

        assert said("xcompose plugin list").splitlines()[2:] == [
            "acme-a  0.1  acme  1  –  –  not imported yet", "acme_a.py"
        ]  # fmt: skip
        assert "acme_a" not in sys.modules

    def test_what_is_known_of_each(self, installed, monkeypatch):
        installed(
            Distribution("acme-a", near("far")),
            Distribution("beta-b", "raise RuntimeError('no luck')"),
            Distribution("gamma", near("far"), group="xcompose.v7"),
            Distribution("delta", near("far")),
        )
        monkeypatch.setenv("XCOMPOSE_PLUGINS", "acme-a,beta-b,gamma")
        call("xcompose list norm")

        assert said("xcompose plugin list").splitlines()[2:] == [
            "acme-a  0.1  acme  1  1  # s  in use", "acme_a.py",
            "beta-b  0.1  beta  1  –  # s  not loaded", "beta_b.py", "RuntimeError: no luck",
            "delta  0.1  delta  1  –  –  left out", "delta.py", "XCOMPOSE_PLUGINS=acme-a,beta-b,gamma",
            "gamma  0.1  gamma  7  –  –  not loaded", "gamma.py", "is written for API 7; this xcompose has API 1",
        ]  # fmt: skip

    def test_what_the_setting_names_and_nothing_has(self, installed, monkeypatch):
        installed(Distribution("acme-a", near("far")))
        monkeypatch.setenv("XCOMPOSE_PLUGINS", "acme-z")

        assert said("xcompose plugin list").splitlines()[2:] == [
            "acme-a  0.1  acme  1  –  –  left out", "acme_a.py", "XCOMPOSE_PLUGINS=acme-z",
            "XC055 XCOMPOSE_PLUGINS names 'acme-z', and no installed plugin is called that",
            "= fix: did you mean 'acme-a'?",
        ]  # fmt: skip
        assert json.loads(call("xcompose plugin list --format json").out)["findings"] == [
            {
                "code": "XC055", "severity": "warning", "where": "", "fixes": ["did you mean 'acme-a'?"],
                "message": "XCOMPOSE_PLUGINS names 'acme-z', and no installed plugin is called that",
            }
        ]  # fmt: skip

    def test_as_data(self, installed):
        installed(Distribution("acme-a", near("far")))
        call("xcompose list norm")

        data = json.loads(call("xcompose plugin list --format json").out)

        assert data["xcompose"] == {"version": "0.1.0", "api": 1, "components": count()}
        [one] = data["plugins"]
        assert one.pop("path").endswith("/acme_a.py")
        assert one.pop("seconds") >= 0
        assert one == {
            "distribution": "acme-a", "version": "0.1", "namespace": "acme", "entry_point": "acme_a",
            "group": "xcompose.v1", "api": 1, "module": "acme_a", "components": 1, "hooks": ["components"],
            "status": "in use", "why": "",
        }  # fmt: skip


def punctual(lines: list[str]) -> list[str]:
    """Without what a busy machine adds: that others than the slow plugin take long to import."""
    found, of = [], ""
    for line in lines:
        of = line.partition(" ")[0] if "  0.1  " in line else of
        late = "to import" in line or "where a component is built" in line
        found += [] if late and of != "slow-it" else [line]
    return found


class TestDoctor:
    def test_a_good_one_is_fine(self, installed):
        installed(Distribution("acme-a", near("far")))

        assert said("xcompose plugin doctor").splitlines()[1:] == ["acme-a  0.1  acme  1 component  # s  fine"]

    def test_everything_that_is_broken(self, installed, monkeypatch):
        monkeypatch.setattr(loader, "SLOW", 0.25)
        installed(*BROKEN)

        assert punctual(said("xcompose plugin doctor", code=1).splitlines()[1:]) == [
            "clash-one  0.1  clash  1 component  # s  broken",
            "XC051 two plugins offer the pattern 'clash/same': clash-one and clash-two",
            "= fix: uninstall one of them",
            "note: clash-two has the namespace 'clash', too",
            "clash-two  0.1  clash  1 component  # s  broken",
            "XC051 two plugins offer the pattern 'clash/same': clash-one and clash-two",
            "= fix: uninstall one of them",
            "note: clash-one has the namespace 'clash', too",
            "exiting-it  0.1  exiting  not loaded  # s  broken",
            "XC050 SystemExit: 3  (exiting_it.py:2)",
            "future-it  0.1  future  not loaded  broken",
            "XC054 is written for API 2; this xcompose has API 1",
            "= fix: take a newer xcompose from its repository",
            "lacking-it  0.1  lacking  not loaded  # s  broken",
            "XC050 ModuleNotFoundError: No module named 'not_here_at_all'  (lacking_it.py:1)",
            "= fix: pip install 'lacking-it[gpu]'",
            "misspelt-it  0.1  misspelt  not loaded  # s  broken",
            "XC052 there is no hook 'component'; did you mean 'components'?",
            "optioned-it  0.1  optioned  not loaded  # s  broken",
            "XC053 the options of pattern 'wrongly' are wrong: an option cannot have the type <class 'complex'>; "
            + TYPES,
            "plain-it  0.1  plain  not loaded  broken",
            "XC054 is announced in the entry-point group 'xcompose', which says no API version; this xcompose has "
            "API 1",
            "= fix: announce it in the group 'xcompose.v1'",
            "printing-it  0.1  printing  1 component  # s  needs a look",
            "XC056 it prints while it is imported: '{\"json\": broken'",
            "= fix: use the module `logging` instead",
            "raising-it  0.1  raising  not loaded  # s  broken",
            "XC050 RuntimeError: no luck  (raising_it.py:1)",
            "recursing-it  0.1  recursing  not loaded  # s  broken",
            "XC050 RecursionError: maximum recursion depth exceeded  (recursing_it.py:1)",
            "signed-it  0.1  signed  not loaded  # s  broken",
            "XC052 the hook components() is not given 'registry'",
            "slow-it  0.1  slow  1 component  # s  needs a look",
            "XC056 it takes # s to import",
            "= fix: import what is slow where a component is built",
        ]

    @pytest.mark.parametrize(
        ("source", "finding"),
        [
            (
                GOOD.replace('    """Keys on each side."""\n', ""),
                ("XC056", "option `size` has no sentence: `xcompose show acme/near` cannot explain it",
                 "write a docstring below it"),
            ),
            (
                GOOD.replace(CARD, CARD.replace("Cost  ", "Costs ").replace("Paper ", "Papers")),
                ("XC056", "the card of acme_a has no Cost, Paper", "say it in the docstring of the module"),
            ),
            (
                GOOD.replace('name="near"', 'name="window"'),
                ("XC056", "`window` means the built-in pattern: specs must write `acme/window`", "rename it"),
            ),
            (
                GOOD.replace("option(main=True)", "option(frozenset(), main=True)"),
                ("XC056", "an option's default is no plain data, so that every command has to import the plugin"),
            ),
            (
                "import warnings\nwarnings.warn('old', DeprecationWarning)\n" + GOOD.replace(f'"""{CARD}"""', ""),
                ("XC056", "it warns while it is imported: DeprecationWarning: old"),
            ),
            (
                "",
                ("XC056", "it offers no component and no spec", "write a hook: @hookimpl def components()"),
            ),
        ],
        ids=["no sentence", "no blocks", "shadows", "no plain data", "warns", "empty"],
    )  # fmt: skip
    def test_what_needs_a_look(self, installed, source, finding):
        installed(Distribution("acme-a", source))

        assert finding in wrong()

    @pytest.mark.parametrize(
        ("requires", "finding"),
        [
            (("torch",), [("XC056", "it does not say which versions of xcompose it works with",
              'dependencies = ["xcompose>=0.1.0"]')]),
            (("xcompose<0.1",), [("XC056", "acme-a 0.1 requires xcompose<0.1; this is xcompose 0.1.0",
              "pip install --upgrade acme-a")]),
            (("xcompose>=0.1,<0.2", "not a requirement !"), []),
        ],
    )  # fmt: skip
    def test_the_versions_that_it_says_it_works_with(self, installed, requires, finding):
        installed(Distribution("acme-a", near("far"), requires=requires))

        assert wrong() == finding

    def test_short_names_that_two_plugins_have(self, installed):
        installed(Distribution("acme-a", near("far")), Distribution("beta-b", near("far")))

        assert said("xcompose plugin doctor").splitlines()[1:] == [
            "acme-a  0.1  acme  1 component  # s  fine",
            "note: `far` could be acme/far or beta/far: specs must say whose",
            "beta-b  0.1  beta  1 component  # s  fine",
            "note: `far` could be acme/far or beta/far: specs must say whose",
        ]

    def test_what_it_offered_before_is_compared(self, installed, monkeypatch):
        source = near("far").replace('name="far"', 'name=__import__("os").environ["ACME_NAME"]')
        installed(Distribution("acme-a", source))
        monkeypatch.setenv("ACME_NAME", "far")
        wrong()
        del sys.modules["acme_a"]
        monkeypatch.setenv("ACME_NAME", "near")

        assert wrong()[0] == (
            "XC057", "it does not offer what it offered before, with the same code: pattern 'acme/far', pattern "
            "'acme/near'",
        )  # fmt: skip

    def test_what_is_kept_is_made_anew(self, installed):
        installed(Distribution("acme-a", near("far")))
        call("xcompose plugin doctor")
        del sys.modules["acme_a"]
        installed(Distribution("acme-a", near("farther")))

        assert wrong() == [("XC056", "what was known of it is out of date; it is known anew now")]
        assert wrong() == []

    def test_what_the_environment_leaves_out_is_not_imported(self, installed, monkeypatch):
        monkeypatch.setenv("XCOMPOSE_PLUGINS", "acme-b")
        installed(Distribution("acme-a", "raise SystemExit"))

        assert said("xcompose plugin doctor").splitlines()[1:] == [
            "acme-a  0.1  acme  not loaded  left out",
            "XC055 XCOMPOSE_PLUGINS names 'acme-b', and no installed plugin is called that",
            "= fix: did you mean 'acme-a'?",
        ]


class TestTrace:
    def test_every_step_in_its_order(self, installed):
        source = near("far") + "\n\n@hookimpl\ndef specs():\n    return ['acme_a', 'acme_b']\n"
        broken = GOOD.replace("return [Component", "raise RuntimeError('no luck')\n    return [Component")
        installed(Distribution("acme-a", source), Distribution("beta-b", broken))

        assert said("xcompose plugin trace").splitlines() == [
            "plugin  step  took  gave",
            "1  acme-a  import  # ms  acme_a",
            "2  acme-a  components  # ms  1 component",
            "3  acme-a  specs  # ms  2 specs",
            "4  beta-b  import  # ms  beta_b",
            "5  beta-b  components  # ms  error: RuntimeError: no luck",
        ]

    def test_one_of_them_as_data(self, installed):
        installed(Distribution("acme-a", near("far")), Distribution("beta-b", near("far")))

        calls = json.loads(call("xcompose plugin trace BETA_b --format json").out)

        assert [(c["distribution"], c["what"], c["result"]) for c in calls] == [
            ("beta-b", "import", "beta_b"), ("beta-b", "components", "1 component")
        ]  # fmt: skip
        assert all(c["seconds"] >= 0 for c in calls)

    def test_built_in_ones(self):
        [imported, asked] = json.loads(call("xcompose plugin trace window --built-in --format json").out)

        assert (imported["plugin"], imported["what"]) == ("window", "import")
        assert (asked["what"], asked["result"]) == ("components", "1 component")

    def test_a_name_that_nothing_has(self, installed):
        installed(Distribution("acme-a", near("far")))

        called = call("xcompose plugin trace acme-b")

        assert (called.code, called.said) == (
            2, "error: no plugin is called 'acme-b'\n  = fix: did you mean 'acme-a'?"
        )  # fmt: skip

    def test_a_name_that_is_left_out(self, installed, monkeypatch):
        installed(Distribution("acme-a", near("far")), Distribution("beta-b", near("far")))
        monkeypatch.setenv("XCOMPOSE_PLUGINS", "beta-b")

        called = call("xcompose plugin trace acme-a")

        assert (called.code, called.said) == (
            2, "error: plugin 'acme-a' is left out by XCOMPOSE_PLUGINS=beta-b\n  = fix: name it there, or unset "
            "XCOMPOSE_PLUGINS"
        )  # fmt: skip
