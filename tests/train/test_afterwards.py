"""Add-ons behind a run that was trained without them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.cli.calling import call
from tests.train.tiny import corpus
from xcompose import registry
from xcompose.compose.quantized import quantized
from xcompose.diagnostics import SpecError
from xcompose.spec import load
from xcompose.train import load_run, train
from xcompose.train.afterwards import change_run

pytest.importorskip("torchao", reason="pip install 'xcompose[quantize]'")

SPEC = """\
xcompose: 1
model: {type: decoder, dim: 32, heads: 2, layers: 2, length: 64}
addons: [share(ffn)]
task: lm
train: {budget: 4 steps, batch: 2, length: 16, eval: {every: 3, batches: 2}, save: {every: 2}, lr: 1e-2}
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory) -> Path:
    """A folder with a trained run."""
    folder = tmp_path_factory.mktemp("runs")
    corpus(folder)
    (folder / "small.xc.yaml").write_text(SPEC)
    spec = load(str(folder / "small.xc.yaml"), catalogue=registry.load().catalogue)
    train(spec, folder / "run", data=folder / "text.txt", accelerator="cpu")
    return folder


def refusal(there: Path, *addons: str, source: str = "run", folder: str = "other") -> str:
    with pytest.raises(SpecError) as error:
        change_run(there / source, addons, there / folder)
    (found,) = error.value.diagnostics
    assert folder == "run" or not (there / folder).exists()
    return "; ".join([found.message.replace(f"{there}/", ""), *([found.label] if found.label else []), *found.fixes])


def test_the_new_run_is_the_old_one_in_few_bits(there):
    found = change_run(there / "run", ["quantize(int8, keep=[q, k])"], there / "small")
    old, _ = load_run(there / "run")
    new, spec = load_run(there / "small")
    tokens = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(2))

    assert [node.name for node in spec.addons] == ["share", "quantize"]
    assert len(list(quantized(new))) == 6, "v and out of two layers, and the ffn that they share"
    assert new.layers[0].ffn.up is new.layers[1].ffn.up
    torch.testing.assert_close(new(tokens).logits, old(tokens).logits, rtol=0, atol=5e-2)
    assert found.after.bytes < found.before.bytes
    was, now = (json.loads((there / name / "result.json").read_text()) for name in ("run", "small"))
    assert now["before"]["metrics"] == pytest.approx(was["valid"], rel=1e-6)
    assert now["valid"] == now["after"]["metrics"] == dict(found.after.metrics)
    assert now["steps"] == was["steps"]
    assert json.loads((there / "small" / "run.json").read_text())["from"] == str(there / "run")
    assert (there / "small" / "metrics.csv").read_text() == (there / "run" / "metrics.csv").read_text()


def test_it_can_be_changed_no_more_than_a_spec_can(there):
    change_run(there / "run", ["quantize(int4)"], there / "four", overwrite=True)

    assert refusal(there, "share(all)", source="four") == (
        "'share' comes after 'quantize'; stored weights cannot be joined any more; list 'share' before 'quantize'"
    )


def test_what_has_to_be_trained_is_refused_before_anything_is_written(there):
    again = "here a run is changed that is trained already; list it in a spec, and begin with the run: "
    command = "xcompose train SPEC --base RUN"

    assert refusal(there, "adapter(4)") == f"'adapter' has to be trained; {again}{command}"
    assert refusal(there, "quantize(int8, aware=true)") == f"'quantize' has to be trained; {again}{command}"


def test_places(there):
    assert refusal(there, "quantize(int8)", folder="run") == "'run' is the run that is to be changed; another --run"
    assert refusal(there, "quantize(int8)", source="none") == (
        "'none' is not the folder of a run; xcompose train SPEC makes one"
    )


def test_the_command(there):
    said = call(f"xcompose addon {there}/run 'quantize(int8)' --run {there}/eight")
    again = call(f"xcompose addon {there}/run 'quantize(int8)' --run {there}/eight --overwrite --format json")

    assert said.code == again.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "quantize leaves output.linear.weight as it is: the weight of another module, too"
    assert [line.split()[0] for line in lines[1:5]] == ["before", "weights", "forward", "bits"]
    assert lines[5:] == [f"written to {there}/eight"]
    assert json.loads(again.out).keys() == {"folder", "before", "after", "remarks", "missed"}


def test_the_new_run_says_which_goals_it_misses_and_names_no_files_of_the_old_one(there):
    text = SPEC.replace("lr: 1e-2", "lr: 1e-2, goal: {bits_per_byte: ..0.5}")
    (there / "goal.xc.yaml").write_text(text)
    spec = load(str(there / "goal.xc.yaml"), catalogue=registry.load().catalogue)
    train(spec, there / "goal", data=there / "text.txt", accelerator="cpu")
    result = there / "goal" / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "adapters": ["de"], "base": {"before": "a"}}))
    called = call(f"xcompose addon {there}/goal 'precision(bf16)' --run {there}/half --format json")
    new = json.loads((there / "half" / "result.json").read_text())

    assert called.code == 1
    assert (new["adapters"], new["base"]) == ([], None)
    assert new["missed"] == [f"expected bits_per_byte ..0.5, found {new['valid']['bits_per_byte']:.4g}"]
    assert json.loads(called.out)["missed"] == new["missed"]
    assert f"error[XC088]: {new['missed'][0]}" in called.err
