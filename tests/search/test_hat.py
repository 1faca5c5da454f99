"""A whole search with a super-network: inherited figures, a hard bound on latency, winners from scratch, going on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.search.spaces import REGISTRY
from tests.train.tiny import corpus
from xcompose.compose.build import plan_model
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.search.ground import Ground
from xcompose.search.run import search
from xcompose.search.supertrain import trained_super
from xcompose.spec import load
from xcompose.spec.bounds import Budget
from xcompose.verify.runner import check_spec

SPEC = """\
xcompose: 1
about: A base.
let: {c: 12, f: 20, l: 2}
model: {type: decoder, vocab: 256, length: 16, dim: "${c}", heads: 3, head_dim: 4, position: none,
  ffn: "mlp(width=${f})", layers: "${l}"}
task: lm
train: {budget: 3 steps, batch: 2, lr: 1e-2, eval: {every: 4, batches: 2}, save: {every: 2}}
search:
  strategy: hat(5, population=4, parents=2, retrain=2)
  choices: {let.c: [8, 12], let.f: [7, 20], let.l: [1, 2]}
  minimize: [bits_per_byte, params]
  within: {params: ..4700}
  budget: 5 trials
  seed: 3
"""
METRIC = "bits_per_byte"


def written(folder: Path, text: str = SPEC) -> tuple[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.xc.yaml").write_text(text)
    return str(folder / "tiny.xc.yaml"), corpus(folder)


def run(folder: Path, text: str = SPEC, **more):
    reference, data = written(folder, text)
    return search(reference, (), folder / "out", data=data, accelerator="cpu", registry=REGISTRY, **more)


def plain(result):
    return [(t.number, dict(t.chosen), t.state, dict(t.figures)) for t in result.trials], result.more


def test_figures_are_those_of_inherited_weights_and_winners_begin_anew(tmp_path):
    result = run(tmp_path)
    reference = str(tmp_path / "tiny.xc.yaml")
    spec = load(reference, catalogue=REGISTRY.catalogue)
    ground = Ground(
        spec=spec, reference=reference, choices=spec.search["choices"], seed=3, folder=tmp_path / "out" / "strategy",
        data=tmp_path / "text.txt", registry=REGISTRY, accelerator="cpu",
    )  # fmt: skip
    trained = trained_super(ground, 5)
    done = [t for t in result.trials if t.state == "done"]

    assert len(done) == 5
    for trial in done:
        assert trial.metrics == trained.measured(ground.resolve(trial.chosen), trial.chosen)
        assert trial.figures["params"] <= 4700
    for trial in result.trials:
        parameters = sum(p.numel() for p in plan_model(ground.resolve(trial.chosen), registry=REGISTRY).parameters())
        assert (trial.state == "rejected") == (parameters > 4700)
    assert 1 <= len(result.more) <= 2
    for number, figures in result.more.items():
        trial = next(t for t in done if t.number == number)
        assert set(figures) == {f"inherited_{METRIC}", f"retrained_{METRIC}"}
        assert figures[f"inherited_{METRIC}"] == trial.figures[METRIC]
        scratch = json.loads((ground.folder / "from-scratch" / str(number) / "result.json").read_text())
        assert scratch["steps"] == 3
        assert figures[f"retrained_{METRIC}"] == scratch["valid"][METRIC]
    assert result.remarks[0].startswith(
        "the super-network learnt for 5 steps; with inherited weights its largest model"
    )
    winner = tmp_path / "out" / "winner-1.xc.yaml"
    assert not check_spec(str(winner), stages=("compose",), registry=REGISTRY).findings


def test_a_search_that_was_stopped_goes_on_exactly(tmp_path):
    one = SPEC.replace("retrain=2", "retrain=1")
    whole = run(tmp_path / "whole", one)
    few = run(tmp_path / "parts", one, budget=Budget(2, "trials"))
    parts = run(tmp_path / "parts", one, resume=True)

    assert sum(t.state == "done" for t in few.trials) == 2
    assert plain(parts)[0] == plain(whole)[0]
    for number, figures in whole.more.items():
        assert parts.more[number] == figures


def test_latency_is_a_hard_bound(tmp_path, monkeypatch):
    def latency(self, spec, length):
        return 1e-3 * int(spec.let["l"])

    monkeypatch.setattr(Ground, "latency", latency)
    text = SPEC.replace("params]", "latency at 16]").replace("{params: ..4700}", "{latency: ..1500us at 16}")
    result = run(tmp_path, text.replace("retrain=2", "retrain=0"))

    for trial in result.trials:
        if trial.chosen["let.l"] == "2":
            assert trial.state in ("rejected", "repeat")
            assert trial.state == "repeat" or trial.reason == "expected latency ..1500us at 16, found 2 ms"
        else:
            assert trial.figures.get("latency at 16", 1e-3) == 1e-3


def test_choices_that_share_no_weights_are_refused_before_anything_is_trained(tmp_path):
    text = SPEC.replace("head_dim: 4,", 'head_dim: "${d}",').replace("let: {", "let: {d: 4, ")
    with pytest.raises(SpecError) as caught:
        run(tmp_path, text.replace("let.l: [1, 2]", "let.d: [4, 8]"))

    (found,) = caught.value.diagnostics
    assert found.message == ("'stack.layers.0.mixer.q' has heads of 4 with c=8, f=7, d=4, of 8 with c=8, f=7, d=8")
    assert found.span is not None
    assert found.fixes == ("write head_dim: N in the model; then more heads make it wider",)
    assert not (tmp_path / "out" / "strategy" / "super").exists()


def test_a_winner_that_cannot_be_trained_leaves_the_others_and_the_report(tmp_path, monkeypatch):
    numbers: list[int] = []

    def train(self, candidate, folder=None):
        numbers.append(candidate.number)
        if len(numbers) == 1:
            raise SpecError(Diagnostic("XC068", "training diverged"))
        return {METRIC: 1.0}

    monkeypatch.setattr(Ground, "train", train)
    result = run(tmp_path)

    assert len(numbers) == 2
    assert list(result.more) == numbers[1:]
    assert f"trial {numbers[0]} could not be trained from scratch: error[XC068]: training diverged" in result.remarks
    assert (tmp_path / "out" / "search.json").exists()
