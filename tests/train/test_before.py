"""What a model is worth in each of its forms, in a run's result and on the screen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.train.tiny import corpus
from xcompose import registry
from xcompose.compose.quantized import quantized
from xcompose.compose.weights import bytes_of_weights, plain_tensors
from xcompose.spec import load
from xcompose.train import RunResult, load_run, run, train
from xcompose.train.before import Standing, table

pytest.importorskip("torchao", reason="pip install 'xcompose[quantize]'")

SPEC = """\
xcompose: 1
model: {type: decoder, dim: 32, heads: 2, layers: 2, length: 64}
addons: [ADDON]
task: lm
train: {budget: 4 steps, batch: 2, length: 16, eval: {every: 3, batches: 2}, save: {every: 2}, lr: 1e-2}
"""


def go(folder: Path, addon: str) -> RunResult:
    corpus(folder)
    (folder / "small.xc.yaml").write_text(SPEC.replace("ADDON", json.dumps(addon)))
    spec = load(str(folder / "small.xc.yaml"), catalogue=registry.load().catalogue)
    return train(spec, folder / "run", data=folder / "text.txt", accelerator="cpu")


@pytest.mark.parametrize("addon", ["quantize(int8)", "quantize(int4)", "quantize(int8-dynamic, aware=true)"])
def test_a_run_says_what_its_last_step_cost_and_brought(addon, tmp_path):
    result = go(tmp_path, addon)
    model, _ = load_run(tmp_path / "run")

    assert result.before is not None
    assert result.after is not None
    assert result.after.metrics == result.valid
    assert result.before.metrics.keys() == result.valid.keys()
    assert result.after.bytes == bytes_of_weights(model) < result.before.bytes == 4 * result.parameters
    assert min(result.before.tokens_per_second, result.after.tokens_per_second) > 0
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["before"]["bytes"] == result.before.bytes
    assert written["after"] == {
        "bytes": result.after.bytes, "tokens_per_second": result.after.tokens_per_second, "metrics": dict(result.valid),
    }  # fmt: skip


def test_the_model_of_a_run_is_loaded_bit_for_bit(tmp_path, monkeypatch):
    kept, finish = [], run.finish

    def watched(folder, work, result):
        kept.append(work.model)
        finish(folder, work, result)

    monkeypatch.setattr(run, "finish", watched)
    go(tmp_path, "quantize(int4)")
    trained, (loaded, _) = kept[0].eval(), load_run(tmp_path / "run")
    tokens = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(2))

    assert len(list(quantized(loaded))) == 12
    there = plain_tensors(loaded)
    assert all(torch.equal(tensor, there[name]) for name, tensor in plain_tensors(trained).items())
    assert torch.equal(trained(tokens).logits, loaded(tokens).logits)


def test_learning_what_is_stored_changes_nothing_at_the_end(tmp_path):
    result = go(tmp_path, "quantize(int8, aware=true)")

    assert result.before is not None
    assert abs(result.before.metrics["loss"] - result.valid["loss"]) < 1e-6


def test_a_run_in_one_form_stands_after_it_alone(tmp_path):
    result = go(tmp_path, "share(all)")

    assert result.before is None
    assert result.after is not None
    assert result.after.metrics == result.valid


def test_two_forms_side_by_side():
    before = Standing(4 * 1024 * 1024, 10_240.0, {"bits_per_byte": 2.34567, "loss": 1.0})
    after = Standing(1024 * 1024 + 512, 9_800.0, {"bits_per_byte": 2.4, "loss": 1.1})

    assert table(before, after, "bits_per_byte", "bytes") == [
        "                        before         after",
        "  weights              4.0 MiB       1.0 MiB",
        "  forward pass   10.2k bytes/s  9.8k bytes/s",
        "  bits per byte         2.3457        2.4000",
    ]
