"""A super-network is trained once, goes on exactly where it was stopped, and measures what inherits its weights."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import attrs
import pytest
import torch

from tests.search.spaces import REGISTRY
from tests.train.tiny import corpus
from xcompose.diagnostics import SpecError
from xcompose.search.ground import Ground
from xcompose.search.supertrain import _measurer, trained_super
from xcompose.spec import load
from xcompose.train.learner import Learner

SPEC = """\
xcompose: 1
let: {c: 12, f: 20, l: 2}
model: {type: decoder, vocab: 256, length: 16, dim: "${c}", heads: 3, head_dim: 4, position: none, dropout: 0.1,
  ffn: "mlp(width=${f})", layers: "${l}"}
task: lm
train: {batch: 2, lr: 1e-2, eval: {every: 4, batches: 2}, save: {every: 3}}
search:
  choices: {let.c: [8, 12], let.f: [7, 20], let.l: [1, 2]}
  minimize: [bits_per_byte, params]
  seed: 3
"""


def ground(folder: Path, text: str = SPEC, **more) -> Ground:
    path = folder / "tiny.xc.yaml"
    path.write_text(text)
    spec = load(str(path), catalogue=REGISTRY.catalogue)
    given = {"choices": spec.search["choices"], "seed": spec.search["seed"], "accelerator": "cpu"} | more
    return Ground(
        spec=spec, reference=str(path), folder=folder / "strategy", data=corpus(folder), registry=REGISTRY, **given
    )  # fmt: skip


def test_it_is_trained_once_and_read_after_that(tmp_path):
    heard: list[tuple[str, float]] = []
    made = ground(tmp_path, show=lambda text, share: heard.append((text, share)))
    first = trained_super(made, 5)
    lines = len(heard)
    again = trained_super(made, 5)

    assert heard[0] == ("looks at the choices", 0.0)
    assert heard[1] == ("trains the super-network", 0.0)
    text, share = heard[-2]
    assert text.startswith("trains the super-network: step 5, ")
    assert " bits per byte, its largest model " in text
    assert share == 1.0
    assert lines == 2 + 5
    assert len(heard) == lines + 1
    assert set(first.valid) == {"loss", "bits_per_byte", "smallest_loss", "smallest_bits_per_byte"}
    assert first.valid == again.valid
    for (name, p), (_, q) in zip(first.model.named_parameters(), again.model.named_parameters(), strict=True):
        assert torch.equal(p, q), name


def test_it_goes_on_exactly(tmp_path, monkeypatch):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = trained_super(ground(tmp_path / "whole"), 8)
    stop = 4

    def stopping(text: str, share: float) -> None:
        if share * 8 == stop:
            raise RuntimeError("the power went off")

    with pytest.raises(RuntimeError, match="the power went off"):
        trained_super(ground(tmp_path / "parts", show=stopping), 8)
    parts = trained_super(ground(tmp_path / "parts"), 8)

    assert parts.valid == whole.valid
    for (name, p), (_, q) in zip(whole.model.named_parameters(), parts.model.named_parameters(), strict=True):
        assert torch.equal(p, q), name
    assert int(parts.model.drawn) == int(whole.model.drawn) == 8


def test_ctrl_c_is_handed_on(tmp_path, monkeypatch):
    monkeypatch.setattr(threading, "Event", lambda: Set())
    with pytest.raises(KeyboardInterrupt):
        trained_super(ground(tmp_path), 8)
    assert (tmp_path / "strategy" / "super" / "checkpoints" / "last.ckpt").exists()


class Set:
    """An event that somebody has set already."""

    def is_set(self) -> bool:
        return True


def test_what_is_measured_is_what_a_copy_gives(tmp_path):
    made = ground(tmp_path)
    found = trained_super(made, 3)
    chosen = {"let.c": "8", "let.f": "20", "let.l": "1"}
    measured = found.measured(made.resolve(chosen), chosen)

    copy = attrs.evolve(found.work, model=found.model.extracted(chosen))
    assert measured == pytest.approx(Learner(copy).evaluate(), rel=1e-6)
    largest = {"let.c": "12", "let.f": "20", "let.l": "2"}
    inherited = found.measured(made.resolve(largest), largest)
    assert inherited == pytest.approx({name: found.valid[name] for name in ("loss", "bits_per_byte")}, rel=1e-6)


def test_the_smallest_figures_stand_in_the_result(tmp_path):
    trained_super(ground(tmp_path), 2)
    result = json.loads((tmp_path / "strategy" / "super" / "result.json").read_text())
    assert result["steps"] == 2
    assert result["valid"]["smallest_loss"] > 0


class TestRefusals:
    def refusal(self, made: Ground, steps: int = 2):
        with pytest.raises(SpecError) as caught:
            trained_super(made, steps)
        (found,) = caught.value.diagnostics
        return found

    @pytest.mark.parametrize("path", ["train.lr", "task", "search.seed"])
    def test_choices_that_are_none_of_a_model(self, tmp_path, path):
        found = self.refusal(ground(tmp_path, choices={path: ("1",)}))

        assert (found.code, found.path, found.stage) == ("XC031", "search.strategy", "search")
        assert found.message == f"a super-network has no choice '{path}'"
        assert found.label == "its models differ in what they are, not in what they learn or how"
        assert found.fixes == ("leave it out of search.choices", "search without a super-network")

    def test_choices_that_share_no_weights(self, tmp_path):
        found = self.refusal(ground(tmp_path, choices={"model.head_dim": ("4", "8")}))

        assert found.message == "'stack.layers.0.mixer.q' has heads of 4 with head_dim=4, of 8 with head_dim=8"
        assert found.path == "search.strategy"

    def test_the_folder_of_another_search(self, tmp_path):
        trained_super(ground(tmp_path), 2)
        found = self.refusal(ground(tmp_path, seed=4), steps=3)

        assert found.code == "XC087"
        assert found.message == (
            f"'{tmp_path / 'strategy' / 'super'}' holds the super-network of another search: the steps and the seed "
            "changed"
        )
        assert found.fixes == ("go on with what it began with, or search in another folder",)

    def test_a_candidate_with_another_task(self, tmp_path):
        text = SPEC.replace("task: lm", "task: lm(binary=${b})").replace("let: {", "let: {b: false, ")
        made = ground(tmp_path, text, choices={"let.b": ("true", "false"), "let.c": ("8", "12")})
        found = trained_super(made, 1)
        chosen = {"let.b": "true", "let.c": "8"}
        with pytest.raises(SpecError) as caught:
            found.measured(made.resolve(chosen), chosen)
        (finding,) = caught.value.diagnostics

        assert finding.message == "this candidate learns another task than the super-network"
        assert finding.label == "its weights know nothing of it"
        assert finding.fixes == ("a task that depends on no choice",)


def test_addons_of_training_are_left_to_the_winners(tmp_path):
    """They know one model, and here are many; this one would ask for the weights of its teacher."""
    text = SPEC.replace("train: {", "train: {addons: [{type: distill, teacher: tiny.xc.yaml}], ")
    made = ground(tmp_path, text)
    assert len(made.spec.train["addons"]) == 1
    assert trained_super(made, 1).work.addons == ()


def test_what_measures_moves_batches_to_where_the_weights_are():
    made = _measurer()

    assert "on_device" in vars(made)
    assert not [name for name, value in vars(made).items() if callable(value) and name not in vars(Learner)]
