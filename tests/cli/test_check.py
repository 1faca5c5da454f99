"""What `check` keeps from run to run, writes, and imports."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from tests.cli.calling import ROOT, call
from xcompose import registry
from xcompose.cli import check, workers
from xcompose.cli.formats import FORMATS
from xcompose.cli.workers import Job
from xcompose.diagnostics import Diagnostic
from xcompose.verify.runner import Checker

BAD = """\
xcompose: 1
model:
  type: decoder
  dim: 64
  layers: 1
  nrom: layer
  norm: lyer
variants: {wide: {model.dim: 128}}
"""
PROBLEM = Diagnostic("XC050", "plugin 'mean' of acme-mean 1.0 is not in use", fixes=("mend it",), severity="warning")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of the test's own: what is kept of plugins is not there, but this process knows them."""
    registry.load()
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XCOMPOSE_CACHE", str(folder))
    return folder


@pytest.fixture
def bad(here) -> str:
    (here / "bad.xc.yaml").write_text(BAD)
    return "bad.xc.yaml"


@pytest.fixture
def count(monkeypatch) -> list[str]:
    """The specs that are checked and not looked up."""
    seen: list[str] = []
    whole = Checker.check

    def counted(self, reference, *rest, **more):
        seen.append(reference)
        return whole(self, reference, *rest, **more)

    monkeypatch.setattr(Checker, "check", counted)
    return seen


def timeless(said: str) -> str:
    """Without seconds, and without what says that something was kept."""
    said = re.sub(r'\d+\.\d+ s\b|"(seconds|unchanged)": [\w.]+|(time)="[\d.]+"', "~", said)
    return re.sub(r"; \d unchanged since the last run|\bunchanged$", "~", said, flags=re.MULTILINE).replace("~", "")


class TestKept:
    def test_a_second_run_measures_nothing(self, count):
        first = call("xcompose check mine.xc.yaml --stage compose")
        assert count == ["mine.xc.yaml", "mine.xc.yaml@dense"]
        assert re.fullmatch(r"2 specs   ✓\n1 spec, 2 with variants: 0 findings   \d+\.\d s\n", first.out), first.out

        second = call("xcompose check mine.xc.yaml --stage compose")
        assert len(count) == 2
        assert re.fullmatch(
            r"2 specs   ✓\n1 spec, 2 with variants: 0 findings; 2 unchanged since the last run   \d+\.\d s\n",
            second.out,
        ), second.out

    def test_what_was_asked_otherwise_is_checked(self, count):
        call("xcompose check mine.xc.yaml --stage schema")
        for words in ("--stage parse", "--seed 1", "--set dim=32", "--no-cache", ""):
            count.clear()
            call(f"xcompose check mine.xc.yaml --stage schema {words}")
            assert len(count) == (2 if words else 0), words
        call("xcompose check mine.xc.yaml@dense --stage schema")
        assert count == []

    def test_only_what_has_changed_is_checked(self, here, count):
        (here / "base.xc.yaml").write_text("xcompose: 1\nmodel: {type: decoder, dim: 32, layers: 2}\n")
        (here / "heir.xc.yaml").write_text("xcompose: 1\nextends: base.xc.yaml\n")
        call("xcompose check . --stage schema")
        count.clear()

        (here / "base.xc.yaml").write_text("xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 2}\n")
        said = call("xcompose check . --stage schema").out

        assert count == ["base.xc.yaml", "heir.xc.yaml"]
        assert "; 2 unchanged since the last run" in said

    @pytest.mark.parametrize("format", FORMATS)
    def test_every_format_shows_the_same_from_the_cache(self, bad, format):
        first = call(f"xcompose check {bad} --stage schema --format {format}")
        second = call(f"xcompose check {bad} --stage schema --format {format}")

        assert (first.code, second.code) == (1, 1)
        assert timeless(second.out) == timeless(first.out)
        assert second.err == first.err
        assert "nrom" in first.err + first.out

    def test_a_spec_that_failed_says_that_it_is_unchanged(self, bad):
        call(f"xcompose check {bad}@wide --stage schema")

        assert call(f"xcompose check {bad}@wide --stage schema").out.splitlines()[0] == (
            "bad@wide   parse ✓  schema ✗   unchanged"
        )

    def test_a_damaged_cache_is_no_error(self, count, cache):
        call("xcompose check mine.xc.yaml --stage schema")
        for entry in (cache / "checks").iterdir():
            entry.write_bytes(b"\0{")
        assert call("xcompose check mine.xc.yaml --stage schema").code == 0
        assert len(count) == 4

    def test_a_process_that_died_is_not_kept(self, count, monkeypatch):
        Path("b.xc.yaml").write_text("xcompose: 1\n")
        job = Job((), ("parse", "schema", "compose"), 0, circumstances="now")

        def dead(rest, *given):
            return {one: workers._dead(one, -9) for task in rest for one in task}

        with monkeypatch.context() as patch:
            patch.setattr(check, "reasonable", lambda *given: 2)
            patch.setattr(check, "check_at_once", dead)
            assert not check.check(["mine.xc.yaml", "b.xc.yaml"], job).ok
        report = check.check(["mine.xc.yaml", "b.xc.yaml"], job, 1)

        assert report.ok
        assert report.unchanged == 0


class TestOutputs:
    def test_a_file_gets_the_format_and_the_terminal_the_text(self, bad):
        called = call(f"xcompose check {bad} --stage schema --format sarif -o check.sarif")

        assert called.code == 1
        assert "1 spec, 2 with variants: 2 findings in 2 specs" in called.out
        log = json.loads(Path("check.sarif").read_text())
        assert [one["ruleId"] for one in log["runs"][0]["results"]] == ["XC011", "XC013"]

    def test_several_formats_at_once(self, bad):
        called = call(
            f"xcompose check {bad} --stage schema --format concise --format junit=a.xml --format gitlab=b.json"
        )

        assert called.out.splitlines()[0].startswith("bad.xc.yaml:6:3: XC011 ")
        assert Xml.parse("a.xml").getroot().get("failures") == "2"
        assert len(json.loads(Path("b.json").read_text())) == 2

    def test_the_text_goes_to_a_file_without_colours(self, bad):
        called = call(f"xcompose check {bad} --stage schema -o said.txt")

        said = Path("said.txt").read_text()
        assert said.startswith("error[XC011]: ")
        assert timeless(said) == timeless(called.err.rstrip("\n") + "\n\n" + called.out)

    def test_a_line_of_json_for_each_spec(self, bad):
        lines = call(f"xcompose check {bad} --stage schema --format jsonl").out.splitlines()

        assert [json.loads(line)["spec"] for line in lines] == ["bad", "bad@wide"]

    def test_the_summary_of_a_job(self, bad, here, monkeypatch):
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "summary.md"))
        (here / "summary.md").write_text("before\n")
        called = call(f"xcompose check {bad} --stage schema --format github")

        assert [line.partition(",")[0] for line in called.out.splitlines()] == ["::error file=bad.xc.yaml"] * 2
        said = (here / "summary.md").read_text()
        assert said.startswith("before\n### ✗ xcompose check\n")
        assert "| bad\\@wide | ✓ | ✗ |" in said

        call(f"xcompose check {bad} --stage schema --format concise")
        assert (here / "summary.md").read_text() == said

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("--format sarf", "there is no format 'sarf'"),
            ("--format sarif=", "--format sarif= names no file"),
            ("--format sarif --format json", "2 formats for one place"),
            ("--format sarif -o absent/x", "there is no folder absent"),
            ("--stage biuld", "there is no stage 'biuld'"),
        ],
    )
    def test_wrong_use(self, words, said):
        called = call(f"xcompose check mine.xc.yaml {words}")

        assert called.code == 2
        assert called.err.splitlines()[0] == f"error: {said}"
        assert called.err.splitlines()[1].startswith("  = fix: ")


class TestNoSpec:
    """What cannot be a spec is a finding among the others, in every report."""

    def test_a_file_that_is_not_there(self):
        called = call("xcompose check nope.xc.yaml mine.xc.yaml --stage schema --format junit=o.xml")

        assert called.code == 1
        assert "error[XC001]: there is no file nope.xc.yaml\n" in called.err
        assert called.out.startswith("nope   parse ✗   ")
        assert Xml.parse("o.xml").getroot().get("failures") == "1"

    def test_a_file_with_another_ending_hides_nothing(self, bad, here):
        (here / "sub").mkdir()
        (here / "sub" / "old.xc.yml").write_text("xcompose: 1\n")
        said = call("xcompose check . --stage schema --format concise").out

        assert "XC002 a spec's file name ends in .xc.yaml, found sub/old.xc.yml" in said
        assert "bad.xc.yaml:6:3: XC011 " in said

    def test_links_in_a_circle(self, here):
        (here / "loop.xc.yaml").symlink_to("loop.xc.yaml")
        called = call("xcompose check loop.xc.yaml --stage schema")

        assert called.code == 1
        assert "error[XC001]: cannot read loop.xc.yaml: " in called.err


class TestPlugins:
    @pytest.fixture(autouse=True)
    def broken(self, monkeypatch):
        broken = registry.Registry.of([])
        broken.__dict__["problems"] = (PROBLEM,)
        monkeypatch.setattr(registry, "third_party", lambda: broken)

    @pytest.mark.parametrize("format", FORMATS)
    def test_a_broken_plugin_is_in_every_format(self, format):
        called = call(f"xcompose check mine.xc.yaml --stage schema --format {format}")

        assert called.code == 0
        if format != "jsonl":  # a line is about a spec
            assert "acme-mean" in (called.err if format == "text" else called.out)
        assert called.err.count("acme-mean") == 1, "people read it once"

    def test_it_fails_the_check_where_plugins_are_strict(self):
        called = call("xcompose check mine.xc.yaml --stage schema --strict-plugins --format github")

        assert called.code == 1
        assert called.out == f"::error title=XC050::{PROBLEM.message}. Fix: mend it\n"

    def test_it_stands_in_the_settings_of_the_project_where_a_place_is_needed(self, here):
        def path() -> str:
            return json.loads(call("xcompose check mine.xc.yaml --stage schema --format gitlab").out)[0]["location"][
                "path"
            ]

        assert path() == "mine.xc.yaml"
        (here / "pyproject.toml").touch()
        assert path() == "pyproject.toml"


STATIC = """
import sys
sys.argv = ["xcompose", "check", "--stage", "schema", "mine.xc.yaml"]
from xcompose.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "numpy") or "xcompose_plugins." in name)
print("loaded:", loaded)
"""


@pytest.fixture
def schemas():
    """What is kept of plugins, in the test's own cache."""
    registry.load.cache_clear()
    registry.load()


def test_the_stages_that_read_import_neither_torch_nor_a_plugin(schemas):
    ran = subprocess.run([sys.executable, "-c", STATIC], capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines()[-1] == "loaded: []"
    assert "1 spec, 2 with variants: 0 findings" in ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "most"), [(str(ROOT / "specs"), 3.0), (str(ROOT / "specs/beyond/window-then-linear.xc.yaml"), 1.0)]
)
def test_reading_takes_seconds(what, most):
    command = [sys.executable, "-m", "xcompose.cli.main", "check", "--stage", "schema", "--no-cache", what]
    spent = []
    for _ in ("cold", "warm"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    assert spent[1] < most, "seconds of one core"


def test_findings_fail_the_check_though_nobody_reads_them(bad, schemas):
    command = [sys.executable, "-m", "xcompose.cli.main", "check", "--stage", "schema", "--format", "json", bad]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()

    assert (process.wait(), process.stderr.read() if process.stderr else "") == (1, "")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_an_interrupt_ends_everything_at_once_without_a_word_from_the_processes(here):
    for name in "abcdef":
        (here / f"{name}.xc.yaml").write_text((here / "mine.xc.yaml").read_text())
    command = [sys.executable, "-m", "xcompose.cli.main", "check", ".", "-j", "2", "--no-cache"]
    for wait in (1.5, 4.0):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGINT)
        began = time.monotonic()
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (130, "", "")
        assert time.monotonic() - began < 10
