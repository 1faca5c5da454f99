"""A whole search, with a formula in place of trainings."""

from __future__ import annotations

import itertools
import json

import pytest

from xcompose.compose.build import plan_model
from xcompose.diagnostics import SpecError
from xcompose.search.dominance import dominates
from xcompose.search.run import search
from xcompose.search.trial import vector
from xcompose.spec import load
from xcompose.spec.bounds import Budget
from xcompose.verify.runner import check_spec

from .small import formula, registry, written

REGISTRY = registry()


def told(reference, folder, **more):
    return search(reference, (), folder, registry=REGISTRY, **more)


def plain(result):
    return [(t.number, dict(t.chosen), t.state, t.reason, dict(t.figures)) for t in result.trials]


def test_a_search_measures_as_many_trials_as_its_budget_says(tmp_path):
    reference = written(tmp_path)
    result = told(reference, tmp_path / "out")

    assert sum(trial.state == "done" for trial in result.trials) == 11
    assert [trial.number for trial in result.trials] == list(range(len(result.trials)))
    for trial in result.trials:
        if trial.state == "done":
            assert trial.metrics == formula(trial.chosen)
            assert trial.figures["accuracy"] == trial.metrics["accuracy"]
            sets = [f"{path}={value}" for path, value in trial.chosen.items()]
            model = plan_model(load(reference, sets, catalogue=REGISTRY.catalogue), registry=REGISTRY)
            assert trial.figures["params"] == sum(p.numel() for p in model.parameters())


def test_winners_are_what_nothing_beats(tmp_path):
    result = told(written(tmp_path), tmp_path / "out")
    done = [trial for trial in result.trials if trial.state == "done"]
    pairs = [(-round(t.figures["accuracy"], 6), t.figures["params"]) for t in done]
    wanted = {t.number for t, p in zip(done, pairs, strict=True) if not any(dominates(q, p) for q in pairs)}

    assert {trial.number for trial in result.winners} == wanted
    accuracies = [trial.figures["accuracy"] for trial in result.winners]
    assert accuracies == sorted(accuracies, reverse=True)
    assert vector(result.winners[0], result.aims)[0] == -float(f"{accuracies[0]:.6g}")


def test_equal_seeds_give_equal_searches(tmp_path):
    first = told(written(tmp_path), tmp_path / "a")
    second = told(written(tmp_path), tmp_path / "b")

    assert plain(first) == plain(second)


def test_a_larger_budget_goes_on_where_the_smaller_one_ended(tmp_path):
    whole = told(written(tmp_path), tmp_path / "a")
    told(written(tmp_path), tmp_path / "b", budget=Budget(7, "trials"))
    both = told(written(tmp_path), tmp_path / "b", resume=True, budget=Budget(11, "trials"))

    assert plain(both) == plain(whole)


def test_a_search_that_the_user_stops_goes_on_exactly(tmp_path):
    whole = told(written(tmp_path), tmp_path / "a")
    reference = written(tmp_path, strategy="formula(interrupts=5)")
    folder = tmp_path / "b"
    first = told(reference, folder)
    sampler = json.loads((folder / "sampler.json").read_text())
    sampler["strategy"]["interrupts"] = -1
    (folder / "sampler.json").write_text(json.dumps(sampler))
    second = told(written(tmp_path), folder, resume=True)

    assert first.interrupted
    assert sum(trial.state == "done" for trial in first.trials) == 4
    assert not second.interrupted
    assert plain(second) == plain(whole)


def test_every_combination_of_a_small_space_is_tried(tmp_path):
    reference = written(tmp_path, minimize="params, state at 1Ki", budget="1000 trials")
    text = (tmp_path / "base.xc.yaml").read_text().replace("16, 20, 24, 28]", "16]").replace("[1, 2, 3]", "[1, 2]")
    (tmp_path / "base.xc.yaml").write_text(text.replace("[mlp(2x), gated]", "[gated]"))
    result = told(reference, tmp_path / "out")

    assert result.ended == "all 18 combinations were tried"
    assert len(result.trials) == 18
    chosen = {tuple(t.chosen.values()) for t in result.trials}
    search_of = load(reference, catalogue=REGISTRY.catalogue).search
    assert chosen == set(itertools.product(*search_of["choices"].values()))
    assert not any((tmp_path / "out" / "trials").rglob("run"))


def test_bounds_are_kept_before_anything_is_measured(tmp_path):
    result = told(written(tmp_path, within="params: ..4k, latency: ..0.5ms at 32"), tmp_path / "out")

    for trial in result.trials:
        if trial.state == "done":
            assert trial.figures["params"] <= 4000
            assert int(trial.chosen["let.n"]) < 2
    reasons = {trial.reason for trial in result.trials if trial.state == "rejected"}
    assert any(reason.startswith("expected params ..4k, found ") for reason in reasons)
    assert "expected latency ..0.5ms at 32, found 0.64 ms" in reasons


def test_what_breaks_a_bound_of_quality_is_no_winner(tmp_path):
    result = told(written(tmp_path, within="loss: ..2.0"), tmp_path / "out")

    broken = [t for t in result.trials if t.state == "done" and t.metrics["loss"] > 2]
    assert broken
    assert all(t.reason == "expected loss ..2.0" for t in broken)
    assert all(t.violations == {"loss ..2.0": t.metrics["loss"] - 2.0} for t in broken)
    assert all(t.metrics["loss"] <= 2 for t in result.winners)


def test_illegal_combinations_say_why_and_cost_no_budget(tmp_path):
    reference = written(tmp_path)
    text = (tmp_path / "base.xc.yaml").read_text().replace("[8, 12, 16, 20,", "[9, 11, 13, 8,")
    (tmp_path / "base.xc.yaml").write_text(text)
    result = told(reference, tmp_path / "out")

    rejected = {t.reason for t in result.trials if t.state == "rejected"}
    assert rejected <= {f"2 heads do not divide dim {w}" for w in (9, 11, 13)}
    assert rejected
    assert sum(t.state == "done" for t in result.trials) == 11


def test_a_trial_that_fails_fails_alone(tmp_path):
    result = told(written(tmp_path, strategy="formula(fails=gated)"), tmp_path / "out")

    failed = [t for t in result.trials if t.state == "failed"]
    assert failed
    assert all(t.reason == "training diverged: no number" and t.chosen["ffn"] == "gated" for t in failed)
    assert len(failed) + sum(t.state == "done" for t in result.trials) == 11


def test_equal_candidates_are_measured_once(tmp_path):
    reference = written(tmp_path, budget="1000 trials")
    text = (tmp_path / "base.xc.yaml").read_text()
    text = text.replace("[8, 12, 16, 20, 24, 28]", "[8, 16]").replace("let.n: [1, 2, 3]", "let.n: [1]")
    (tmp_path / "base.xc.yaml").write_text(text.replace("[mlp(2x), gated]", "[mlp(2x), mlp(16)]"))
    result = told(reference, tmp_path / "out")

    same = [t for t in result.trials if t.state == "same"]
    assert len(same) == 3
    for trial in same:
        first = result.trials[trial.like]
        assert (first.state, first.key, trial.figures) == ("done", trial.key, first.figures)
        assert trial.reason == f"as trial {first.number}"
        assert trial.chosen["let.w"] == "8"
    assert sum(t.state == "done" for t in result.trials) == 9
    assert not {t.number for t in same} & {t.number for t in result.winners}


def test_each_winner_is_a_spec_that_stands_by_itself(tmp_path):
    out = tmp_path / "out"
    result = told(written(tmp_path, within="params: ..4k"), out)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    assert sorted(out.glob("winner-*.xc.yaml")) == sorted(
        out / f"winner-{i}.xc.yaml" for i in range(1, len(result.winners) + 1)
    )
    (elsewhere / "one.xc.yaml").write_text((out / "winner-1.xc.yaml").read_text())
    report = check_spec(str(elsewhere / "one.xc.yaml"), stages=("build",), registry=REGISTRY)
    spec = load(str(elsewhere / "one.xc.yaml"), catalogue=REGISTRY.catalogue)
    first = result.winners[0]
    assert report.ok
    assert spec.name == "base-winner-1"
    accuracy, params = first.figures["accuracy"], first.figures["params"]
    assert spec.about == (
        f"Winner 1 of {len(result.winners)} of the search of base: accuracy {accuracy:.4g}, "
        f"params {params / 1000:.3g}k. A base."
    )
    assert spec.task is not None
    assert spec.train["budget"] == Budget(3, "steps")
    assert not spec.search


def test_the_result_is_written_for_programs_and_for_people(tmp_path):
    out = tmp_path / "out"
    result = told(written(tmp_path, budget="6 trials"), out)

    data = json.loads((out / "search.json").read_text())
    assert data["counts"] == result.counts
    assert [w["trial"] for w in data["winners"]] == [t.number for t in result.winners]
    assert data["objectives"] == [
        {"name": "accuracy", "larger is better": True}, {"name": "params", "larger is better": False},
    ]  # fmt: skip
    assert {"processor", "cores", "system", "torch", "python", "threads"} == set(data["machine"])
    page = (out / "pareto.html").read_text()
    assert "<svg" in page
    assert "Figures are made up." in page
    assert "<script" not in page


def test_nothing_in_a_folder_is_unpickled(tmp_path):
    told(written(tmp_path, budget="3 trials"), tmp_path / "out")

    found = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").iterdir() if p.is_file())
    assert [name for name in found if not name.startswith("winner-")] == [
        "facts.json", "pareto.html", "sampler.json", "search.db", "search.json", "search.lock",
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "sampler.json").read_text()) == {
        "strategy": {"is": ["strategy", "formula"], "seconds": 0.0, "fails": "", "interrupts": -1}, "seed": 3,
    }  # fmt: skip


def refused(*given, **more):
    with pytest.raises(SpecError) as error:
        told(*given, **more)
    return [(d.code, d.message, d.fixes) for d in error.value.diagnostics]


def test_a_folder_is_never_overwritten_by_chance(tmp_path):
    reference, out = written(tmp_path, budget="2 trials"), tmp_path / "out"
    told(reference, out)
    ways = "--resume goes on with it, --overwrite starts afresh, --out chooses another folder"

    assert refused(reference, out) == [("XC087", f"'{out}' holds a search", (ways,))]
    assert told(reference, out, overwrite=True).counts
    assert refused(reference, tmp_path / "no", resume=True) == [
        ("XC087", f"'{tmp_path / 'no'}' holds no search", ("start one without --resume",))
    ]
    assert refused(reference, tmp_path) == [
        ("XC087", f"'{tmp_path}' holds other files: base.xc.yaml", ("choose another folder with --out",))
    ]
    assert not (tmp_path / "search.lock").exists()


def test_a_search_goes_on_only_as_it_began(tmp_path):
    out = tmp_path / "out"
    told(written(tmp_path, budget="2 trials"), out)
    fix = "go on with the spec and the data as they were, or start afresh with --overwrite"

    changed = written(tmp_path, minimize="loss, params", budget="2 trials", strategy="formula(seconds=0.5)")
    assert refused(changed, out, resume=True) == [
        ("XC087", f"'{out}' cannot go on: the spec and strategy changed since the search began", (fix,))
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (dict(minimize="acuracy"), ("XC060", "the task has no metric 'acuracy'")),
        (dict(within="bits: ..3"), ("XC060", "the task has no metric 'bits'")),
        (dict(minimize=""), ("XC012", "a search needs something to make small")),
        (dict(budget="200 steps"), ("XC030", "a search lasts for trials or for a time, found '200 steps'")),
    ],
)
def test_words_that_mean_nothing_are_refused(tmp_path, words, found):
    reference = written(tmp_path, **words)

    assert [d[:2] for d in refused(reference, tmp_path / "out")] == [found]
    report = check_spec(reference, stages=("compose",), registry=REGISTRY)
    assert [(d.code, d.message) for d in report.findings] == [found]


def test_a_spec_without_a_search_is_refused(tmp_path):
    path = tmp_path / "plain.xc.yaml"
    path.write_text("xcompose: 1\nmodel: {type: decoder, dim: 8, heads: 2, layers: 1}\n")

    fix = "add one, for example: search: {choices: {model.dim: [64, 128]}, minimize: [loss, params]}"
    assert refused(str(path), tmp_path / "out") == [("XC030", "'plain' does not say what to search", (fix,))]
