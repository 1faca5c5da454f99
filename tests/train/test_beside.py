"""Runs that train adapters beside a frozen base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import xcompose as xc
from tests.cli.calling import call
from tests.train.test_resume import StopAt
from tests.train.tiny import corpus
from xcompose import registry
from xcompose.compose.adapter_files import base_hash
from xcompose.compose.weights import save_weights
from xcompose.spec import load
from xcompose.train import train
from xcompose.train.beside import changed_base

MODEL = "{type: decoder, dim: 32, heads: 2, layers: 2, length: 64, mixer: 'MIXER'}"
SPEC = """\
xcompose: 1
model: MODEL
addons: [ADDONS]
task: lm
train: {budget: 4 steps, batch: 2, length: 16, eval: {every: 4, batches: 1}, lr: 1e-2}
"""
MIXERS = {
    "dense": "attention",
    "centroids that count": "attention(pattern=routing(4, window=8, form=strict))",
    "features that are drawn anew": "attention(score=favor(16, redraw=1))",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    corpus(tmp_path)
    return tmp_path


def write(addons: str, run: str, mixer: str = "attention") -> Path:
    file = Path(f"{run}.xc.yaml")
    file.write_text(SPEC.replace("MODEL", MODEL).replace("MIXER", mixer).replace("ADDONS", addons))
    return file


def go(addons: str, run: str, mixer: str = "attention", **options):
    spec = load(str(write(addons, run, mixer)), (), catalogue=registry.load().catalogue)
    return train(spec, Path(run), data=Path("text.txt"), accelerator="cpu", **options)


@pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)
def test_the_base_is_the_same_before_and_after(here: Path, mixer: str):
    result = go("lora(2), 'adapter(3, behind=ffn)'", "tuned", mixer)

    kept = json.loads(Path("tuned/result.json").read_text())["base"]
    assert kept["before"] == kept["after"] == base_hash(xc.load("tuned"))
    assert result.missed == ()
    assert result.adapters == ["lora", "adapter"]


def test_a_base_that_changed_is_found():
    (found,) = changed_base({"before": "a" * 64, "after": "b" * 64})

    assert found.code == "XC088"
    assert found.message == "training changed the base, which was frozen"
    assert found.label == "its hash was aaaaaaaaaaaa and is bbbbbbbbbbbb"
    assert changed_base(None) == ()


def test_two_adapters_of_one_base_are_trained_apart_and_fused(here: Path):
    base = go("", "base")
    assert base.base is None
    for name in ("de", "en"):
        result = go(f"'adapter(3, name={name})'", name, base=Path("base/model.safetensors"))
        assert result.base["after"] == base_hash(xc.load("base"))
    files = [Path(f"{name}/adapters/{name}.safetensors") for name in ("de", "en")]
    both = "'adapter(3, name=de)', 'adapter(3, name=en)', 'fusion(de, en)'"
    write(both, "fused")
    given = " ".join(f"--adapter {file}" for file in files)
    called = call(f"xcompose train fused.xc.yaml --data text.txt --run fused --base base {given} --accelerator cpu")

    assert called.code == 0, called.err
    assert json.loads(Path("fused/result.json").read_text())["adapters"] == ["de", "en", "fusion"]
    model = xc.load("fused")
    for name, file in zip(("de", "en"), files, strict=True):
        there = xc.adapters.weights(xc.load(name), name)
        assert all(torch.equal(p, there[key]) for key, p in xc.adapters.weights(model, name).items()), file
    with pytest.raises(xc.SpecError) as caught:
        go(both, "other", adapters=files)
    assert "was trained on another base" in str(caught.value)


def test_a_stopped_run_goes_on_beside_the_same_base(here: Path):
    go("", "base")
    start = Path("base/model.safetensors")
    whole = go("lora(2)", "whole", base=start)
    assert go("lora(2)", "stopped", base=start, display=StopAt(2)).interrupted
    result = go("lora(2)", "stopped", resume=True)

    assert result.base == whole.base
    for name, p in xc.adapters.weights(xc.load("whole")).items():
        assert torch.equal(p, xc.adapters.weights(xc.load("stopped"))[name])


def test_a_run_that_is_killed_before_its_first_checkpoint_begins_with_the_same_weights(here: Path):
    go("", "base")
    first = go("'adapter(3, name=de)'", "de", base=Path("base/model.safetensors"))
    adapters = [first.folder / "adapters" / "de.safetensors"]
    start = {"base": Path("base/model.safetensors"), "adapters": adapters}
    whole = go("'adapter(3, name=de)'", "whole", **start)
    go("'adapter(3, name=de)'", "killed", display=StopAt(2), **start)
    Path("killed/checkpoints/last.ckpt").unlink()
    again = go("'adapter(3, name=de)'", "killed", resume=True)

    assert again.valid == whole.valid
    (kept,) = json.loads(Path("killed/run.json").read_text())["begins_with"]["base"]
    assert kept["path"] == str(here / "base" / "model.safetensors")
    assert len(kept["hash"]) == 64


def test_a_run_goes_on_with_no_other_base_or_adapters(here: Path):
    adapter = "'adapter(3, name=de)'"
    go("", "base")
    go(adapter, "plain", display=StopAt(2))
    based = {"base": Path("base/model.safetensors")}
    first = go(adapter, "de", **based)
    given = {"adapters": [first.folder / "adapters" / "de.safetensors"], **based}
    go(adapter, "given", display=StopAt(2), **given)
    shutil.copy("base/model.safetensors", "copy.safetensors")

    def refusal(run: str, **options) -> str:
        with pytest.raises(xc.SpecError) as caught:
            go(adapter, run, resume=True, **options)
        return str(caught.value)

    assert refusal("plain", **given) == (
        "error[XC087]: 'plain' cannot go on: the base and the adapters changed since it began\n"
        "  = fix: go on with 'plain/spec.xc.yaml' and the same data and the same base and the same adapters, or start "
        "afresh with --overwrite"
    )
    assert "'given' cannot go on: the base changed since it began\n" in refusal("given", base=other_weights("base"))
    assert not go(adapter, "given", resume=True, base=Path("copy.safetensors")).interrupted


def other_weights(run: str) -> Path:
    """The weights of a run in a file that holds one text more."""
    path = Path("other.safetensors")
    return save_weights(xc.load(run), path, about={"remark": "the same numbers"})


@pytest.mark.parametrize("option", ["learns=false", "active=false"])
def test_nothing_to_train_is_refused(here: Path, option: str):
    with pytest.raises(xc.SpecError) as caught:
        go(f"'lora(2, {option})'", "still")

    (found,) = caught.value.diagnostics
    assert found.message == "nothing in this model is trained"
    assert found.label == "its base is frozen, and no adapter both acts and learns"
    assert found.fixes == ("active=true and learns=true in one of them",)


def test_a_run_that_merges_ends_plain(here: Path):
    go("", "base")
    go("'lora(2, merge=true)'", "merged", base=Path("base/model.safetensors"))
    plain, merged = xc.load("base"), xc.load("merged")

    assert list(plain.state_dict()) == list(merged.state_dict())
    assert not torch.equal(plain.layers[0].mixer.q.weight, merged.layers[0].mixer.q.weight)
    assert Path("merged/adapters/lora.safetensors").exists()
    plain.load_state_dict(merged.state_dict())
    assert json.loads(Path("merged/result.json").read_text())["base"]["after"] == base_hash(xc.load("base"))


def test_the_command(here: Path):
    go("", "base")
    for name in ("de", "en"):
        write(f"'lora(2, name={name})'", name)
        called = call(f"xcompose train {name}.xc.yaml --data text.txt --run {name} --base base --accelerator cpu")
        assert called.code == 0
    size = 2 * 2 * 2 * 2 * 32
    base = base_hash(xc.load("base"))

    assert call("xcompose adapter list de").out == f"de: {size} parameters, acts\nbase: {base}\n"
    assert call("xcompose adapter list base").out == f"base: {base}\n"
    assert json.loads(call("xcompose adapter list de --format json").out) == {
        "base": base, "adapters": [{"name": "de", "active": True, "parameters": size}]
    }  # fmt: skip
    assert call("xcompose adapter save de -o de.safetensors").out == "wrote de.safetensors: de\n"
    files = "de.safetensors en/adapters/en.safetensors"
    assert call(f"xcompose adapter load base {files} --use en -o both.safetensors").out == (
        "wrote both.safetensors: en on base\n"
    )
    assert call("xcompose adapter list both.safetensors").out == (
        f"de: {size} parameters, switched off\nen: {size} parameters, acts\nbase: {base}\n"
    )
    assert call("xcompose adapter merge both.safetensors --use de -o plain.safetensors").out == (
        "wrote plain.safetensors: de merged\n"
    )
    x = torch.arange(20)[None]
    plain, de = xc.load("plain.safetensors"), xc.load("de")
    assert plain.addons == ()
    torch.testing.assert_close(plain(x).logits, de(x).logits, rtol=1e-4, atol=1e-5)


def test_what_the_command_refuses(here: Path):
    go("", "base")
    go("'adapter(2, name=de)'", "de", base=Path("base/model.safetensors"))
    go("'adapter(2, name=de)'", "other")

    called = call("xcompose adapter save base -o a.safetensors")
    assert (called.code, called.err.splitlines()[0]) == (2, "error: this model has no adapters")
    called = call("xcompose adapter merge de -o a.safetensors")
    assert called.err.splitlines() == [
        "error: 'de' cannot be merged: it is a network of its own behind a sub-layer",
        "  = fix: switch it off first; keep it as an adapter",
    ]
    called = call("xcompose adapter load base other/adapters/de.safetensors -o a.safetensors")
    assert called.code == 1
    assert "was trained on another base" in called.err
    called = call("xcompose adapter load base de/adapters/de.safetensors --use en -o a.safetensors")
    assert called.err.splitlines() == ["error: none of these files holds 'en'", "  = fix: they hold de"]
    assert not Path("a.safetensors").exists()


def test_the_command_writes_over_nothing_that_it_reads_and_over_no_run(here: Path):
    go("", "base")
    go("lora(2)", "tuned", base=Path("base/model.safetensors"))
    file, weights = Path("tuned/adapters/lora.safetensors"), Path("tuned/model.safetensors")
    shutil.copy(weights, "copy.safetensors")
    before = {path: path.read_bytes() for path in (file, weights, Path("copy.safetensors"))}

    of_the_run = "belongs to the run 'tuned'"
    for command, output, why in (
        ("merge tuned", weights, of_the_run),
        ("save tuned", weights, of_the_run),
        ("save tuned", file, of_the_run),
        (f"load base {file}", "tuned/spec.xc.yaml", of_the_run),
        (f"load base {file}", "base/model.safetensors", "belongs to the run 'base'"),
        ("merge copy.safetensors", "copy.safetensors", "is read here"),
    ):
        called = call(f"xcompose adapter {command} -o {output}")
        assert (called.code, called.err) == (
            2, f"error: '{output}' {why}, and would be written over\n  = fix: another file: --output FILE\n"
        )  # fmt: skip
    assert all(path.read_bytes() == held for path, held in before.items())
    assert call("xcompose adapter merge tuned -o tuned/plain.safetensors").code == 0


def test_two_files_of_one_name_are_refused_and_nothing_is_merged_into_what_has_no_adapters(here: Path):
    go("", "base")
    for run in ("a", "b"):
        go("lora(2)", run, base=Path("base/model.safetensors"))
    files = [f"{run}/adapters/lora.safetensors" for run in ("a", "b")]

    called = call(f"xcompose adapter load base {' '.join(files)} -o both.safetensors")
    assert (called.code, called.err) == (
        2,
        f"error: two files hold an adapter called 'lora': {files[0]} and {files[1]}\n"
        "  = fix: train one of them under another name: name=...\n",
    )
    called = call("xcompose adapter merge base -o both.safetensors")
    assert (called.code, called.err) == (
        2, "error: this model has no adapters\n  = fix: a run that trained adapters\n"
    )  # fmt: skip
    assert not Path("both.safetensors").exists()


@pytest.mark.parametrize("words", ["", " list", " save", " load", " merge"])
def test_help_holds_an_example(words: str):
    called = call(f"xcompose adapter{words} --help")

    assert called.code == 0
    assert "xcompose adapter" in called.out.partition("Example:")[2]
