"""Plugins are found by what their distributions announce; nothing is imported for that."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from tests.registry.distributions import Distribution, near
from tests.registry.installing import fresh
from xcompose import registry
from xcompose.registry.discovery import announced, namespace_of, third_party, version_of, wanted
from xcompose.registry.listing import listed
from xcompose.registry.problems import unmatched
from xcompose.spec import check_text


@pytest.mark.parametrize(
    ("distribution", "namespace"),
    [("acme-mixers", "acme"), ("acme", "acme"), ("xcompose-nystrom", "nystrom"), ("Big_Lab", "big")],
)
def test_the_namespace_is_the_distributions(distribution, namespace):
    assert namespace_of(distribution) == namespace


@pytest.mark.parametrize(
    ("group", "version"),
    [("xcompose.v1", 1), ("xcompose.v12", 12), ("xcompose", None), ("xcompose.v", None), ("xcompose.v1.x", None)],
)
def test_a_group_names_the_version_of_the_api(group, version):
    assert version_of(group) == version


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        (None, None), ("", None), (" , ", None), ("none", set()), ("none,a", set()), ("a, b", {"a", "b"}),
        ("Acme_Mean", {"acme-mean"}),
    ],
)  # fmt: skip
def test_the_environment_chooses_plugins(monkeypatch, setting, names):
    monkeypatch.delenv("XCOMPOSE_PLUGINS", raising=False)
    if setting is not None:
        monkeypatch.setenv("XCOMPOSE_PLUGINS", setting)

    assert wanted() == names


@pytest.mark.parametrize(
    ("group", "message", "fix"),
    [
        ("xcompose.v2", "is written for API 2; this xcompose has API 1", "take a newer xcompose from its repository"),
        ("xcompose.v0", "is written for API 0; this xcompose has API 1", "pip install --upgrade acme-a"),
        (
            "xcompose",
            "is announced in the entry-point group 'xcompose', which says no API version; this xcompose has API 1",
            "announce it in the group 'xcompose.v1'",
        ),
        (
            "xcompose.plugins",
            "is announced in the entry-point group 'xcompose.plugins', which says no API version; "
            "this xcompose has API 1",
            "announce it in the group 'xcompose.v1'",
        ),
    ],
)
def test_a_plugin_for_another_api_is_refused_and_not_imported(installed, group, message, fix):
    installed(Distribution("acme-a", near("far"), group=group))

    [problem] = registry.third_party().problems

    assert (problem.code, problem.severity) == ("XC054", "warning")
    assert problem.message == f"plugin 'acme_a' of acme-a 0.1 {message}"
    assert problem.fixes[0] == fix
    assert "acme_a" not in sys.modules


def test_a_distribution_may_have_plugins_for_several_versions(installed):
    installed(Distribution("acme-a", near("far"), group="xcompose.v2]\nacme_a = acme_a_two\n[xcompose.v1"))

    assert [found.group for found in announced()] == ["xcompose.v1"]
    assert registry.third_party().problems == ()


UNREADABLE = {
    "METADATA": (None, "METADATA is not there, or says no name and version"),
    "METADATA ": (b"Name: acme-a\nVersion: \xff\n", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in "
                  "position 22: invalid start byte"),
    "entry_points.txt": (b"[xcompose.v1]\nacme_a = \xff\n", "entry_points.txt is not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("file", UNREADABLE)
def test_what_cannot_be_read_of_one_distribution_is_said_and_leaves_the_others(installed, file):
    data, why = UNREADABLE[file]
    installed(Distribution("acme-a", near("far")), Distribution("beta-b", near("near-by")))
    damage(file.strip(), data)

    known = registry.third_party()

    assert known.catalogue.names("pattern") == ("beta/near-by",)
    [problem] = known.problems
    assert (problem.code, problem.severity) == ("XC050", "warning")
    said = "plugin 'acme-a' of acme-a 0.1 is not loaded: what its distribution says of itself cannot be read: "
    assert problem.message == said + why
    assert problem.fixes[0] == "uninstall it, or install it anew"


def test_garbage_in_place_of_entry_points_is_said(installed):
    installed(Distribution("acme-a", near("far")), Distribution("beta-b", near("near-by")))
    damage("entry_points.txt", b"[xcompose.v1]\n=\x00\nthis is no entry\n")

    known = registry.third_party()

    assert known.catalogue.names("pattern") == ("beta/near-by",)
    assert [problem.code for problem in known.problems] == ["XC050"]


def test_unreadable_entry_points_of_somebody_else_are_none_of_ours(installed):
    installed(Distribution("acme-a", near("far"), group="others"))
    damage("entry_points.txt", b"[others]\nacme_a = \xff\n")

    assert announced() == ()


def test_where_no_plugin_is_wanted_nothing_is_read(installed, monkeypatch):
    installed(Distribution("acme-a", near("far")))
    monkeypatch.setenv("XCOMPOSE_PLUGINS", "none")
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: pytest.fail("read"))

    assert third_party() == ()
    assert unmatched() == []


def test_an_entry_point_names_a_module(installed):
    installed(Distribution("acme-a", near("far"), group="xcompose.v1]\nacme_a = acme_a:components\n[others"))

    [problem] = registry.third_party().problems

    assert problem.code == "XC053"
    assert problem.message == (
        "plugin 'acme_a' of acme-a 0.1 is not loaded: its entry point 'acme_a:components' names an object, and an "
        "entry point names a module"
    )
    assert problem.fixes[0] == 'write acme_a = "acme_a"'
    assert "acme_a" not in sys.modules


def test_a_clash_inside_one_distribution_names_its_entry_points(installed):
    group = "xcompose.v1]\none = acme_a\ntwo = acme_b\n[others"
    installed(Distribution("acme-a", near("far"), group=group), Distribution("acme-b", near("far"), group="others"))

    [problem] = registry.third_party().problems

    assert problem.code == "XC051"
    assert problem.message == "two plugins of acme-a offer the pattern 'acme/far': one (acme_a) and two (acme_b)"
    assert problem.fixes == ("rename one component, or take one plugin out of its entry points",)
    assert [(one.status, one.why) for one in listed()] == 2 * [("needs a look", problem.message)]


def damage(file: str, data: bytes | None) -> None:
    """Write a file of acme-a's metadata anew, or take it away."""
    [info] = Path(sys.path[0]).glob("acme_a-*.dist-info")
    if data is None:
        (info / file).unlink()
    else:
        (info / file).write_bytes(data)
    fresh()


class TestSetting:
    """XCOMPOSE_PLUGINS."""

    @pytest.fixture(autouse=True)
    def two(self, installed):
        self.again = installed
        installed(Distribution("acme-a", near("far")), Distribution("Beta_B", near("near-by")))

    def known(self, monkeypatch, setting: str):
        monkeypatch.setenv("XCOMPOSE_PLUGINS", setting)
        self.again()
        return registry.third_party()

    @pytest.mark.parametrize(
        ("setting", "names"),
        [("none", []), ("acme-a", ["acme/far"]), ("BETA.b", ["beta/near-by"]), ("acme_a, beta-b", ["acme/far",
         "beta/near-by"])],
    )  # fmt: skip
    def test_it_names_distributions_or_entry_points_however_they_are_spelled(self, monkeypatch, setting, names):
        known = self.known(monkeypatch, setting)

        assert [c.full_name for c in known.components()] == names
        assert known.problems == ()

    def test_a_name_that_matches_nothing_is_said(self, monkeypatch):
        known = self.known(monkeypatch, "acme-a,acme-b,xyz")

        assert [(p.code, p.severity, p.message, p.fixes) for p in known.problems] == [
            (
                "XC055", "warning", "XCOMPOSE_PLUGINS names 'acme-b', and no installed plugin is called that",
                ("did you mean 'acme-a'?",),
            ),
            (
                "XC055", "warning", "XCOMPOSE_PLUGINS names 'xyz', and no installed plugin is called that",
                ("installed are Beta_B, acme-a",),
            ),
        ]  # fmt: skip

    def test_none_stands_alone(self, monkeypatch):
        known = self.known(monkeypatch, "none,acme-a")

        assert known.components() == ()
        assert [(p.code, p.severity, p.message, p.fixes) for p in known.problems] == [
            (
                "XC055", "warning", "XCOMPOSE_PLUGINS=none,acme-a says 'none' beside names, and lets in no plugin",
                ("leave out 'none', or the names",),
            )
        ]  # fmt: skip

    def test_a_spec_that_needs_what_is_left_out_says_so(self, monkeypatch):
        monkeypatch.setenv("XCOMPOSE_PLUGINS", "none")
        self.again()
        spec = "xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 'attention(pattern=acme/far(3))'}\n"

        _, [finding] = check_text(spec, "f", catalogue=registry.load().catalogue)

        assert finding.message == "no pattern is called 'acme/far'"
        assert finding.label == "plugin 'acme_a' of acme-a 0.1 is left out by XCOMPOSE_PLUGINS=none"


def test_a_spec_that_needs_a_broken_plugin_hears_its_reason(installed):
    installed(Distribution("acme-a", "raise RuntimeError('no luck')"), Distribution("acme-b", near("far")))
    spec = "xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 'attention(pattern=acme/nystrom(3))'}\n"

    for _ in range(2):  # once loaded, once known
        _, [finding] = check_text(spec, "f", catalogue=registry.load().catalogue)
        assert finding.label == "plugin 'acme_a' of acme-a 0.1 is not loaded: RuntimeError: no luck"
        installed()


class TestShortNames:
    """`acme/far` may be called `far` while it is the only one."""

    def found(self, name: str):
        spec = f"xcompose: 1\nmodel: {{type: decoder, dim: 64, layers: 'attention(pattern={name}(3))'}}\n"
        return check_text(spec, "f", catalogue=registry.load().catalogue)

    def test_a_unique_one_is_a_warning_that_can_be_mended(self, installed):
        installed(Distribution("acme-a", near("far")))

        _, [finding] = self.found("far")

        assert (finding.code, finding.severity) == ("XC019", "warning")
        assert finding.message == "'far' is short for 'acme/far'"
        assert finding.label == "it stops working when a second plugin has that name"
        assert finding.fixes == ("write 'acme/far'",)
        assert [edit.text for edit in finding.edits] == ["acme/far"]

    def test_one_of_a_plugin_that_is_not_in_use_leads_to_the_plugins(self, installed):
        installed(Distribution("acme-a", "raise RuntimeError('no luck')"))

        _, [finding] = self.found("quux")

        assert finding.label == "none of the plugins in use has it, and there are others: xcompose plugin list"

    def test_an_ambiguous_one_lists_both(self, installed):
        installed(Distribution("acme-a", near("far")), Distribution("beta-b", near("far")))

        _, [finding] = self.found("far")

        assert (finding.code, finding.severity) == ("XC013", "error")
        assert finding.message == "pattern 'far' could be any of 2 components"
        assert finding.fixes == ("write 'acme/far'", "write 'beta/far'")

    def test_a_built_in_keeps_its_own(self, installed):
        installed(Distribution("acme-a", near("window")))

        short, findings = self.found("window")
        full, _ = self.found("acme/window")

        assert findings == []
        assert [spec.model.options["layers"][0].options["mixer"].options["pattern"].name for spec in (short, full)] == [
            "window", "acme/window"
        ]  # fmt: skip

    def test_one_namespace_of_two_distributions_clashes_only_by_name(self, installed):
        installed(Distribution("acme-a", near("far")), Distribution("acme-b", near("near-by")))
        assert registry.third_party().catalogue.names("pattern") == ("acme/far", "acme/near-by")
        assert registry.third_party().problems == ()

        installed(Distribution("acme-c", near("far")))

        for name in ("acme/far", "far"):
            _, [finding] = self.found(name)
            assert finding.message == f"no pattern is called '{name}'"
            assert finding.label == "two plugins offer the pattern 'acme/far': acme-a and acme-c"
        assert registry.third_party().catalogue.names("pattern") == ("acme/near-by",)
