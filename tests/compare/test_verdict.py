"""What is said about rows that were made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from xcompose import registry
from xcompose.compare.candidates import candidates
from xcompose.compare.compare import Comparison, Counted, Row, file_name
from xcompose.compare.table import text
from xcompose.compare.verdict import agreement, alike, remarks, unlike
from xcompose.train.run import RunResult


def counted(parameters: int = 826_112, work: int | None = 445_000_000_000) -> Counted:
    return Counted(
        parameters=parameters, work=work, state=3 * 2**20, activations=40 * 2**20, work_over_length={},
        state_over_length={},
    )  # fmt: skip


def run(value: float, steps: int, speed: float) -> RunResult:
    return RunResult(
        name="x", folder=Path("x"), steps=steps, tokens=0, seconds=1.0, parameters=1, tokens_per_second=speed,
        metric="bits_per_byte", valid={"bits_per_byte": value}, train={},
    )  # fmt: skip


def row(label: str, *values: float, steps: int = 1000, speed: float = 1900.0, **more) -> Row:
    return Row(label=label, counted=counted(**more), runs=tuple(run(v, steps, speed) for v in values))


def test_neighbours_within_their_spread_are_named_together():
    rows = [row("a", 3.00, 3.04), row("b", 3.02, 3.06), row("c", 3.04, 3.08), row("d", 3.5, 3.51)]

    assert [[r.label for r in group] for group in alike(rows)] == [["a", "b", "c"]]
    assert remarks(rows) == ("a, b and c do not differ by more than their spread.",)


def test_clear_differences_need_no_remark():
    assert remarks([row("a", 3.0, 3.01), row("b", 3.5, 3.51)]) == ()


def test_one_seed_says_nothing_about_spread():
    assert remarks([row("a", 3.0), row("b", 3.0)]) == (
        "One seed: how far chance alone would spread the results is not known (--seeds 3).",
    )


def test_few_steps_are_not_enough_to_rank():
    assert remarks([row("a", 3.0, 3.01), row("b", 3.5, 3.51, steps=29)]) == (
        "29 steps are too few to rank by quality: a longer --budget, or smaller models (@tiny).",
    )


def test_sizes_that_agree_are_said_to():
    assert agreement([counted(), counted()]) == "parameters agree: 826,112 in all 2"
    assert agreement([counted(1000), counted(1004)]) == "parameters agree within 0.4 %: 1,000 to 1,004"


def test_another_size_is_a_warning_with_the_width_that_would_mend_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name, dim in (("a", 64), ("b", 80)):
        Path(f"{name}.xc.yaml").write_text(
            f"xcompose: 1\nmodel: {{type: decoder, dim: {dim}, heads: 4, layers: 1, ffn: mlp(4x)}}\n"
        )
    known = registry.load()
    found = candidates(["a.xc.yaml", "b.xc.yaml", "a.xc.yaml"], (), known.catalogue)

    assert unlike(found, [counted(66_496), counted(99_200), counted(66_700)], known) == (
        "b has 99,200 parameters, a #1 66,496 (+49 %): dim=64 would give 66,496",
    )


def test_labels_become_folders():
    assert file_name("dense@tiny let.w=5") == "dense@tiny-let.w=5"
    assert file_name("a/b: c") == "a-b--c"


def test_the_table_ranks_and_warns():
    rows = (row("window-then-linear", 3.00, 3.04), row("dense", 3.2, 3.24, work=None, speed=1610.0))
    found = Comparison(
        recipe="bytes-2min", recipe_line="2min a run", metric="bits_per_byte", higher_is_better=False, seeds=2,
        rows=rows, warnings=(), remarks=remarks(rows), folder=Path("runs/compare-3"),
    )  # fmt: skip

    assert text(found) == (
        "recipe bytes-2min for all (their own `train` sections are not used): 2min a run\n"
        "parameters agree: 826,112 in all 2\n"
        "\n"
        " spec                 bits per byte ↓   train        steps   work at 16Ki   memory          state at 64Ki"
        "   parameters\n"
        "                      mean ± sd of 2    tokens/s ↑           ↓              activations ↓   ↓\n"
        " window-then-linear   3.020 ± 0.028     1,900        1,000   445 GFLOP      40.0 MiB        3.0 MiB      "
        "   826,112\n"
        " dense                3.220 ± 0.028     1,610        1,000   –              40.0 MiB        3.0 MiB      "
        "   826,112\n"
        "\n"
        "report: runs/compare-3/report.html (curves, cost over length, pattern pictures)"
    )
