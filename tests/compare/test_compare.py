"""A whole comparison, of models that are as small as can be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import xcompose as xc
from xcompose import registry
from xcompose.compare.candidates import candidates, recipe_of
from xcompose.compare.compare import WORK_AT, Comparison, compare
from xcompose.compare.table import headings, lines
from xcompose.compose.addons import Given
from xcompose.compose.spelling import Speller
from xcompose.compose.weights import save_weights
from xcompose.diagnostics import SpecError
from xcompose.spec import load

SMALL = "xcompose: 1\nmodel:\n  type: {type}\n  dim: 32\n  heads: 2\n  layers: {layers}\ntask: lm\n"
RECIPE = (
    "xcompose: 1\ntask: lm\ntrain: {budget: 2 steps, batch: 2, length: 16, lr: 1e-2, eval: {every: 1, batches: 1}}\n"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("dense.xc.yaml").write_text(SMALL.format(type="decoder", layers="1"))
    Path("linear.xc.yaml").write_text(SMALL.format(type="decoder", layers="1*attention(score=linear)"))
    Path("encoder.xc.yaml").write_text(SMALL.format(type="encoder", layers="1"))
    Path("recipe.xc.yaml").write_text(RECIPE)
    Path("text.txt").write_text("".join(f"{i} is followed by {i + 1}.\n" for i in range(100)))
    return tmp_path


def go(*names: str, **options) -> Comparison:
    known = registry.load()
    found = candidates([f"{name}.xc.yaml" for name in names], (), known.catalogue)
    recipe = recipe_of(load("recipe.xc.yaml", catalogue=known.catalogue), found, known.catalogue)
    return compare(found, recipe, Path("out"), data=Path("text.txt"), accelerator="cpu", **options)


def test_specs_are_trained_alike_counted_and_ranked(here: Path):
    found = go("dense", "linear", seeds=2)

    assert sorted(p.name for p in Path("out").iterdir()) == [
        "compare.json", "dense-seed0", "dense-seed1", "linear-seed0", "linear-seed1", "report.html"
    ]  # fmt: skip
    assert [row.quality for row in found.rows] == sorted(row.quality for row in found.rows)
    assert {run.steps for row in found.rows for run in row.runs} == {2}
    by_name = {row.label: row.counted for row in found.rows}
    assert by_name["dense"].parameters == by_name["linear"].parameters
    assert by_name["dense"].state == 64 * 2**10 * 32 * 2 * 4 + 64 * 2**10 * 8
    assert by_name["linear"].state < 10_000
    assert by_name["dense"].work > 2 * by_name["linear"].work
    assert by_name["dense"].work == by_name["dense"].work_over_length[WORK_AT]
    data = json.loads(Path("out/compare.json").read_text())
    assert data == json.loads(json.dumps(found.as_json()))
    assert [spec["name"] for spec in data["specs"]] == [row.label for row in found.rows]


def test_the_report_needs_nothing_beside_it(here: Path):
    go("dense", "linear")

    html = Path("out/report.html").read_text()

    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<>)]+", html)) <= names
    assert not re.search(r"<(script|link|iframe|img)\b|@import|url\((?!#)", html)
    assert re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"", html) == []
    assert html.count("<svg") == html.count("</svg>") == 4
    assert html.count("<h3>") == 2
    assert "2 steps are too few to rank by quality" in html
    for label in ("dense", "linear"):
        assert f"</span>{label}</h3>" in html
    assert "<th>executor</th>" in html


def test_names_are_written_into_the_page_as_text(here: Path):
    Path("dense.xc.yaml").write_text("name: dense &amp\n" + SMALL.format(type="decoder", layers="1"))

    go("dense", "linear")

    assert "dense &amp;amp" in Path("out/report.html").read_text()
    assert "dense &amp<" not in Path("out/report.html").read_text()


def test_what_does_not_fit_the_recipe_is_refused_before_any_run(here: Path):
    with pytest.raises(SpecError) as error:
        go("dense", "encoder")

    assert [d.message for d in error.value.diagnostics] == ["task 'lm' needs a causal model"]
    assert not Path("out").exists()


def test_short_models_are_counted_up_to_their_length(here: Path):
    for name, layers in (("near", "1"), ("far", "1*attention(pattern=window(4))")):
        text = SMALL.format(type="decoder", layers=layers).replace("  dim", "  length: 40\n  dim")
        Path(f"{name}.xc.yaml").write_text(text)

    found = go("near", "far")

    assert [list(row.counted.work_over_length) for row in found.rows] == [[5, 10, 20, 40]] * 2
    assert [row.counted.work for row in found.rows] == [None, None]
    assert "<svg" in Path("out/report.html").read_text()


def test_add_ons_show_size_and_speed_before_and_after(here: Path):
    text = SMALL.format(type="decoder", layers="2") + "addons: [share(ffn), quantize(int8)]\n"
    Path("small.xc.yaml").write_text(text)
    known = registry.load()
    found = candidates(["small.xc.yaml"], (), known.catalogue, spelled=Speller(known).spelled)
    recipe = recipe_of(load("recipe.xc.yaml", catalogue=known.catalogue), found, known.catalogue)
    result = compare(found, recipe, Path("out"), data=Path("text.txt"), accelerator="cpu")
    rows = {row.label: row for row in result.rows}
    plain, shared, small = rows["small without add-ons"], rows["small with share(ffn) alone"], rows["small"]

    assert result.changed
    assert plain.before is shared.before is None
    assert plain.after.bytes > shared.after.bytes == small.before.bytes > small.after.bytes
    assert shared.quality == pytest.approx(small.before.metrics["bits_per_byte"], abs=1e-6)
    assert all(one.tokens_per_second > 0 for one in (plain.after, small.before, small.after))
    shown = [line for row in result.rows for line in lines(row, sizes=True)]
    assert len(shown) == 4
    assert shown[1 + [line[0] for line in shown].index("small")][0] == "  as it was trained"
    assert {len(line) for line in shown} == {len(headings(result))}
    assert "as it was trained" in Path("out/report.html").read_text()


def test_a_teacher_is_for_those_who_learn_from_one(here: Path):
    text = SMALL.format(type="decoder", layers="1")
    Path("taught.xc.yaml").write_text(text + "train: {addons: ['distill(\"dense.xc.yaml\")']}\n")
    known = registry.load()
    save_weights(xc.build("dense.xc.yaml", seed=3), Path("teacher.safetensors"))
    found = candidates(["taught.xc.yaml"], (), known.catalogue, spelled=Speller(known).spelled)
    recipe = recipe_of(load("recipe.xc.yaml", catalogue=known.catalogue), found, known.catalogue)
    given = Given(teacher=Path("teacher.safetensors"))
    result = compare(found, recipe, Path("out"), data=Path("text.txt"), accelerator="cpu", given=given)

    assert {row.label for row in result.rows} == {"taught", "taught without add-ons"}
    assert result.rows[0].quality != result.rows[1].quality
