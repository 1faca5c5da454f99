"""Specs through every stage: what runs, what fails where, and what is said."""

from __future__ import annotations

import pytest

from xcompose import registry
from xcompose.diagnostics import Diagnostic
from xcompose.registry import Component, Registry
from xcompose.schema import options
from xcompose.verify.results import Report, SpecReport, Stage
from xcompose.verify.runner import check_files, check_spec

GOOD = """\
xcompose: 1
let: {w: 256}
model:
  type: decoder
  dim: 512
  heads: 8
  layers: attention(pattern=window(${w}) | global(2)), attention(score=linear)
expect: {causal: strict, decode: exact, time: O(n), state: O(1)}
variants:
  tiny: {let: {w: 4}, model: {dim: 32, heads: 4}}
  wide: {model: {dim: 1024, heads: 16}, expect: {params: 1M}}
"""


@pytest.fixture
def good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.xc.yaml").write_text(GOOD)
    return "good.xc.yaml"


def stages(report: SpecReport) -> str:
    return "  ".join(map(str, report.stages))


def test_a_file_is_checked_with_all_its_variants(good):
    seen = []
    report = check_files([good], done=lambda one: seen.append(one.name))

    assert seen == ["good", "good@tiny", "good@wide"]
    whole, tiny, wide = report.specs
    passed = "parse ✓  schema ✓  compose ✓  build ✓  contracts ✓  numerics ✓"
    assert stages(whole) == stages(tiny) == passed
    assert stages(wide) == "parse ✓  schema ✓  compose ✓  build ✗ (expect)"
    assert (whole.measured, tiny.measured, wide.measured) == ("@tiny, n = 33", "n = 33", "")
    assert tiny.results == {"causal": "strict", "decode": "exact", "deterministic": True}
    assert not report.ok
    assert report.summary() == "1 spec, 3 with variants: 1 finding in 1 spec"
    assert report.table().splitlines()[0].startswith("good@wide   parse ✓  schema ✓  compose ✓  build ✗ (expect)   ")
    assert report.table().splitlines()[1] == "2 others    ✓"


def test_only_the_stages_asked_for_run(good):
    assert stages(check_spec(good, stages=["schema"])) == "parse ✓  schema ✓"
    assert stages(check_spec(f"{good}@tiny", stages=["build"])) == "parse ✓  schema ✓  compose ✓  build ✓"


def test_overrides_are_repeated_in_the_command_that_repeats_the_measurement(good, tmp_path):
    report = check_spec(f"{good}@tiny", ["let.w=3"], seed=5, suggest=True)

    assert report.ok
    assert report.suggestion.startswith("expect:\n  params: ")
    assert "causal: strict" in report.suggestion


def test_what_cannot_be_read_stops_at_its_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torn.xc.yaml").write_text("xcompose: 1\nmodel: {type: decoder\n")
    (tmp_path / "wrong.xc.yaml").write_text("xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 1, depth: 3}\n")
    (tmp_path / "refused.xc.yaml").write_text(
        "xcompose: 1\nmodel:\n  type: decoder\n  dim: 64\n  layers: attention(pattern=global(1, last=2))\n"
    )
    report = check_files(["torn.xc.yaml", "wrong.xc.yaml", "refused.xc.yaml", "absent.xc.yaml"])

    assert [stages(one) for one in report.specs] == [
        "parse ✗", "parse ✓  schema ✗", "parse ✓  schema ✓  compose ✗", "parse ✗",
    ]  # fmt: skip
    assert all(f.stage in ("parse", "schema", "compose") for f in report.findings)


def test_a_recipe_has_no_model_to_check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.xc.yaml").write_text("xcompose: 1\ntrain: {budget: 10 steps}\n")
    report = check_spec("recipe.xc.yaml")

    assert report.ok
    assert stages(report).startswith("parse ✓  schema ✓  compose – (no model)")


def test_a_spec_without_tiny_is_measured_on_a_shrunken_copy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "big.xc.yaml").write_text(GOOD.partition("variants")[0])
    report = check_spec("big.xc.yaml", stages=["contracts"])

    assert report.ok
    assert report.measured == "dim 64 of 512, spans / 8, n = 53"


def faulty(monkeypatch, fault: str) -> Registry:
    """Everything installed, and a mixer of this kind that is broken."""
    from small_models import Raises, Windowed

    @options
    class FaultyOptions:
        """A mixer that is broken."""

    def build(_, context):
        if fault == "cannot be built":
            raise KeyError("weights")
        made = Raises() if fault == "raises" else Windowed(fault=fault)
        assert context.dim == made.dim
        return made

    found = registry.load()
    component = Component(kind="mixer", name="faulty", options=FaultyOptions, build=build, namespace="acme")
    return Registry.of([*found.components(), component])


FAULTY = "xcompose: 1\nmodel:\n  type: decoder\n  dim: 6\n  heads: 1\n  vocab: 11\n  layers: 2*acme/faulty\n"


@pytest.mark.parametrize(
    ("fault", "code", "message", "label"),
    [
        ("leaks by one", "XC070", "layer 0: mixer 'acme/faulty' sees the future",
         "when the rows from"),
        ("hides one", "XC072", "layer 0: mixer 'acme/faulty' hides what it declares visible", "may read row"),
        ("dead parameter", "XC075", "layer 0: mixer 'acme/faulty' has parameters that nothing depends on",
         "no gradient reaches unused.weight, unused.bias"),
        ("raises", "XC053", "layer 0: mixer 'acme/faulty' fails where it should answer",
         "RuntimeError: no kernel for this shape"),
        ("cannot be built", "XC053", "a part of this model cannot be built", "KeyError: 'weights'"),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_named_with_its_layer(tmp_path, monkeypatch, fault, code, message, label):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.xc.yaml").write_text(FAULTY)
    report = check_spec("mine.xc.yaml", registry=faulty(monkeypatch, fault), seed=7)
    finding = report.findings[0]

    assert (finding.code, finding.message) == (code, message)
    assert label in finding.label
    assert finding.span is not None
    assert finding.span.line == (3 if fault == "cannot be built" else 7)
    if fault not in ("cannot be built", "raises"):
        assert finding.notes[-1].text == "again: xcompose check mine.xc.yaml --seed 7 --no-cache"


def test_reports_are_data_too():
    finding = Diagnostic("XC061", "expected state O(1), found O(n)", spec="a")
    one = SpecReport(
        "a", "a.xc.yaml", (Stage("parse", "passed", 0.5), Stage("build", "failed", 1.0, "expect")), (finding,)
    )
    report = Report((one, SpecReport("b", "b.xc.yaml", (Stage("parse", "passed"),))), 2.0)

    data = report.as_data()
    assert data["ok"] is False
    assert data["specs"][0]["stages"][1] == {"name": "build", "status": "failed", "seconds": 1.0, "remark": "expect"}
    assert one.line() == "a   parse ✓  build ✗ (expect)   1.5 s"
    assert report.table() == "a   parse ✓  build ✗ (expect)   1.5 s\n1 other   ✓"
    assert report.summary() == "2 specs: 1 finding in 1 spec"
