"""Specs are tests of pytest."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from xcompose.registry import load
from xcompose.verify.runner import Run

pytest_plugins = ["pytester"]

GOOD = """\
xcompose: 1
model: {type: decoder, vocab: 31, dim: 8, heads: 2, layers: attention}
expect: {causal: strict}
variants:
  wide: {model: {dim: 16}}
"""
BAD = """\
xcompose: 1
model: {type: decoder, dim: 8, heads: 3, layers: "2*attention(pattern=windw(4))"}
"""
FINDINGS = """\
error[XC015]: 3 heads do not divide dim 8
 --> bad.xc.yaml:2:39   model.layers.0
  |
2 | model: {type: decoder, dim: 8, heads: 3, layers: "2*attention(pattern=windw(4))"}
  |                                       ^
 ::: bad.xc.yaml:2:29
  |
2 | model: {type: decoder, dim: 8, heads: 3, layers: "2*attention(pattern=windw(4))"}
  |                             - the width
  = fix: write head_dim, or another number of heads

error[XC013]: no pattern is called 'windw'
 --> bad.xc.yaml:2:71   model.layers.0.mixer.pattern
  |
2 | model: {type: decoder, dim: 8, heads: 3, layers: "2*attention(pattern=windw(4))"}
  |                                                                       ^^^^^
  = fix: did you mean 'window'?"""
IDLE = (
    "xcompose_specs names 'bad.xc.yaml', 'more/*.xc.yaml', but no spec that pytest found fits: "
    "a spec ends in .xc.yaml, lies in `testpaths`, and not in `norecursedirs`"
)
LATER = ("compose", "build", "contracts", "numerics")


@pytest.fixture(autouse=True, scope="module")
def everything_is_imported():
    """Pytester forgets what is imported while it runs, and torch cannot be imported twice."""
    import torch._inductor  # noqa: F401

    import xcompose.verify.stages  # noqa: F401

    assert load().catalogue


@pytest.fixture
def specs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    for name in ("CI", "BUILD_NUMBER"):  # there, summaries are never cut
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "xcompose.testing.plugin")
    pytester.path.joinpath("good.xc.yaml").write_text(GOOD)
    pytester.path.joinpath("bad.xc.yaml").write_text(BAD)
    return pytester


def collected(specs: pytest.Pytester, *words: str) -> list[str]:
    lines = specs.runpytest_inprocess("--collect-only", "-q", *words).outlines
    return [line for line in lines if "::" in line]


def test_a_spec_has_a_test_for_each_stage_of_itself_and_of_each_variant(specs):
    stages = ("parse", "schema", "compose", *LATER[1:])

    assert collected(specs, "good.xc.yaml") == [
        *(f"good.xc.yaml::{stage}" for stage in stages),
        *(f"good.xc.yaml::@wide::{stage}" for stage in stages),
    ]


def test_a_variant_may_have_the_name_of_a_stage(specs):
    (specs.path / "good.xc.yaml").write_text(GOOD.replace("wide:", "parse:"))
    result = specs.runpytest_inprocess("good.xc.yaml::@parse::schema", "good.xc.yaml::parse", "-v")

    result.assert_outcomes(passed=2)
    assert [line.split()[0] for line in result.outlines if "PASSED" in line] == [
        "good.xc.yaml::@parse::schema",
        "good.xc.yaml::parse",
    ]


def test_nothing_is_a_test_that_nobody_named(specs):
    assert collected(specs) == []


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("some/", {"some/one.xc.yaml", "some/more/two.xc.yaml"}),
        ("some", {"some/one.xc.yaml", "some/more/two.xc.yaml"}),
        ("some/*.xc.yaml", {"some/one.xc.yaml"}),
        ("some/**", {"some/one.xc.yaml", "some/more/two.xc.yaml"}),
        ("./some/../some/o?e.xc.yaml", {"some/one.xc.yaml"}),
        ("**/two.xc.yaml", {"some/more/two.xc.yaml"}),
        ("**/some/**/[ot]*.xc.yaml", {"some/one.xc.yaml", "some/more/two.xc.yaml"}),
        ("good.xc.yaml", {"good.xc.yaml"}),
        ("som", set()),
    ],
)
def test_a_setting_names_files_folders_and_patterns(specs, named, found):
    for name in ("some/one.xc.yaml", "some/more/two.xc.yaml"):
        place = specs.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(GOOD)
    specs.makeini(f"[pytest]\nxcompose_specs = {named}\nxcompose_stage = parse\n")

    assert {line.partition("::")[0] for line in collected(specs)} == found


def test_patterns_look_nothing_up(specs, monkeypatch):
    specs.makeini("[pytest]\ntestpaths = .\nxcompose_specs = **/*.xc.yaml\nxcompose_stage = parse\n")
    glob, looked = Path.glob, []
    monkeypatch.setattr(Path, "glob", lambda path, pattern: looked.append(pattern) or glob(path, pattern))

    assert collected(specs)
    assert "**/*.xc.yaml" not in looked


@pytest.fixture
def idle(specs: pytest.Pytester) -> pytest.Pytester:
    """A wrong spec that the settings name, in a folder that pytest does not walk."""
    specs.makeini("[pytest]\ntestpaths = tests\nxcompose_specs = bad.xc.yaml\n  more/*.xc.yaml\n  tests/\n")
    tests = specs.mkdir("tests")
    (tests / "test_one.py").write_text("def test_one(): pass\n")
    (tests / "one.xc.yaml").write_text(GOOD)
    return specs


def test_a_run_of_everything_is_never_green_where_a_setting_comes_to_nothing(idle):
    result = idle.runpytest_inprocess("--xc-stage=parse")

    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert IDLE in result.outlines


@pytest.mark.slow
def test_nor_is_it_where_workers_share_it_out(idle):
    result = idle.runpytest_subprocess("--xc-stage=parse", "-n", "1", "-p", "xdist.plugin")

    result.assert_outcomes(passed=3, errors=1)
    assert IDLE in result.outlines


@pytest.mark.parametrize("words", [("tests",), ("--rootdir=.", "tests/test_one.py")], ids=" ".join)
def test_a_run_of_a_part_needs_no_spec(idle, words):
    result = idle.runpytest_inprocess("--xc-stage=parse", *words)

    assert result.ret == pytest.ExitCode.OK
    assert "xcompose_specs names" not in "\n".join(result.outlines)


def test_a_run_below_the_settings_needs_no_spec(idle, monkeypatch):
    monkeypatch.chdir(idle.path / "tests")
    idle.runpytest_inprocess("--xc-stage=parse").assert_outcomes(passed=3)


def test_a_run_that_leaves_files_out_warns(idle):
    result = idle.runpytest_inprocess("--xc-stage=parse", "--ignore-glob=*bad*")

    result.assert_outcomes(passed=3)
    assert any(line.endswith(f"PytestWarning: {IDLE}") for line in result.outlines)


def test_pytest_leaves_out_what_it_is_told_to(specs):
    specs.makeini("[pytest]\nxcompose_specs = .\n")

    assert {line.partition("::")[0] for line in collected(specs, "--ignore-glob=*bad*")} == {"good.xc.yaml"}


def test_a_failure_is_the_located_finding_and_later_stages_are_skipped(specs):
    result = specs.runpytest_inprocess("bad.xc.yaml", "-rA", "--junitxml=junit.xml")
    said = "\n".join(result.outlines)

    result.assert_outcomes(passed=1, failed=1, skipped=4)
    assert f" bad.xc.yaml: schema {60 * '_'}\n{FINDINGS}\n==" in said
    assert "FAILED bad.xc.yaml::schema - XC015: 3 heads do not divide dim 8 (and 1 more)" in result.outlines
    assert "bad.xc.yaml: schema failed" in said
    assert "Traceback" not in said
    assert "collect.py" not in said.partition("short test summary")[0]
    cases = {case.get("name"): case for case in ElementTree.parse(specs.path / "junit.xml").iter("testcase")}
    assert cases["schema"].get("classname") == "bad.xc.yaml"
    (failure,) = cases["schema"]
    assert failure.get("message") == "XC015: 3 heads do not divide dim 8 (and 1 more)"
    assert failure.text == FINDINGS
    assert [cases[stage][0].get("message") for stage in LATER] == ["bad.xc.yaml: schema failed"] * 4


def test_a_line_for_each_failure_says_where(specs):
    result = specs.runpytest_inprocess("bad.xc.yaml", "--tb=line", "--xc-stage=schema")

    assert "bad.xc.yaml:2: XC015: 3 heads do not divide dim 8 (and 1 more)" in result.outlines


def test_a_stage_alone_fails_with_what_an_earlier_one_finds(specs):
    result = specs.runpytest_inprocess("bad.xc.yaml", "-k", "contracts")

    result.assert_outcomes(failed=1, deselected=5)
    assert FINDINGS in "\n".join(result.outlines)


def test_words_choose_variants_and_stages(specs):
    result = specs.runpytest_inprocess("good.xc.yaml", "-k", "wide and schema", "-v")

    result.assert_outcomes(passed=1, deselected=11)
    assert any(line.startswith("good.xc.yaml::@wide::schema PASSED") for line in result.outlines)


def test_stages_are_run_once_whichever_tests_are_chosen(specs, monkeypatch):
    through, ran = Run.through, []
    monkeypatch.setattr(Run, "through", lambda run, name: ran.append(name) or through(run, name))
    result = specs.runpytest_inprocess("good.xc.yaml::contracts", "good.xc.yaml::build", "good.xc.yaml::numerics")

    result.assert_outcomes(passed=3)
    assert ran == ["parse", "schema", *LATER]


def test_warnings_are_shown_where_asked_for_and_fail_nothing(specs):
    text = GOOD.replace("attention}", "attention, length: 4k}")
    (specs.path / "good.xc.yaml").write_text(text)
    result = specs.runpytest_inprocess("good.xc.yaml::schema", "-rP")

    result.assert_outcomes(passed=1)
    assert "4k is 4,000; 4Ki is 4,096" in "\n".join(result.outlines)


def test_a_file_that_cannot_be_read_fails_as_a_test(specs):
    (specs.path / "broken.xc.yaml").write_text("xcompose: 1\nmodel: {dim: 8\n")
    result = specs.runpytest_inprocess("broken.xc.yaml", "--xc-stage=schema")

    result.assert_outcomes(failed=1, skipped=1)
    assert any(line.startswith("FAILED broken.xc.yaml::parse - XC004: ") for line in result.outlines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--xc-stage=contract"], f"there is no stage 'contract' of specs: parse, schema, {', '.join(LATER)}"),
        (["-o", "xcompose_seed=x"], "a seed is a whole number, found 'x'"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_before_anything_runs(specs, words, said):
    result = specs.runpytest_inprocess("good.xc.yaml", *words)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {said}" in [line.strip() for line in result.errlines]


HEAVY = """
import sys
import pytest

class After:
    def pytest_collection_finish(self, session):
        heavy = {name.partition(".")[0] for name in sys.modules} & {"torch", "xcompose_plugins", "omegaconf", "numpy"}
        print("collected", len(session.items), "heavy", sorted(heavy))

pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[After()])
"""


def test_collecting_imports_nothing_heavy(specs):
    program = [sys.executable, "-c", HEAVY, "good.xc.yaml"]
    run = subprocess.run(program, cwd=specs.path, capture_output=True, text=True, check=True)

    assert "collected 12 heavy []" in run.stdout


def test_workers_share_the_tests_out(specs):
    words = ["-n", "1", "--dist", "worksteal", "--xc-stage=schema", "--junitxml=junit.xml", "-p", "xdist.plugin"]
    result = specs.runpytest_subprocess("good.xc.yaml", "bad.xc.yaml", *words)

    result.assert_outcomes(passed=5, failed=1)
    assert FINDINGS in "\n".join(result.outlines)
    assert "FAILED bad.xc.yaml::schema - XC015: 3 heads do not divide dim 8 (and 1 more)" in result.outlines
    (failure,) = ElementTree.parse(specs.path / "junit.xml").iter("failure")
    assert failure.text == FINDINGS
