"""Files of weights: exact, whole or not at all, and they know their spec."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

import xcompose as xc
from xcompose.compose import weights
from xcompose.compose.weights import load_model, load_weights, save_weights, texts_of, trainable, written_whole
from xcompose.diagnostics import SpecError

SPEC = {"xcompose": 1, "model": {"type": "decoder", "dim": 12, "heads": 2, "vocab": 17, "layers": 3}}
SHARED = {**SPEC, "addons": ["share(all)"]}


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def finding(action) -> tuple[str, str, str]:
    with pytest.raises(SpecError) as caught:
        action()
    (found,) = caught.value.diagnostics
    return found.code, found.message, found.label


class TestExact:
    @pytest.mark.parametrize("spec", [SPEC, SHARED])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_what_is_loaded_is_what_was_saved(self, spec, dtype, tmp_path):
        saved, other = xc.build(spec, seed=1, dtype=dtype), xc.build(spec, seed=2, dtype=dtype)
        save_weights(saved, tmp_path / "w.safetensors")
        load_weights(other, tmp_path / "w.safetensors")

        assert same(saved, other)

    def test_each_tensor_is_written_once(self, tmp_path):
        made = xc.build(SHARED)
        save_weights(made, tmp_path / "w.safetensors")
        found = safetensors.torch.load_file(tmp_path / "w.safetensors")

        assert sum(t.numel() for t in found.values()) == sum(p.numel() for p in made.parameters())
        assert "output.linear.weight" not in found
        assert not [name for name in found if ".layers.1." in name]

    def test_ties_stay_ties(self, tmp_path):
        made = xc.build(SHARED, seed=1)
        save_weights(made, tmp_path / "w.safetensors")
        other = xc.build(SHARED, seed=2)
        load_weights(other, tmp_path / "w.safetensors")

        assert other.output.linear.weight is other.embedding.table()
        assert other.layers[2].mixer is other.layers[0].mixer

    def test_a_plain_state_dict_works_too(self):
        saved, other = xc.build(SHARED, seed=1), xc.build(SHARED, seed=2)
        other.load_state_dict(saved.state_dict())

        assert same(saved, other)


class TestSpecInside:
    def test_a_file_is_a_model(self, tmp_path):
        made = xc.build(SHARED, seed=1)
        save_weights(made, tmp_path / "w.safetensors")
        tokens = torch.arange(7)[None]
        loaded = xc.load(tmp_path / "w.safetensors")

        assert not loaded.training
        assert loaded.spec is not None
        assert made.spec is not None
        assert loaded.spec.model == made.spec.model
        assert torch.equal(loaded(tokens).logits, made.eval()(tokens).logits)

    def test_the_model_has_the_type_of_the_file(self, tmp_path):
        for dtype in (torch.float64, torch.bfloat16):
            place = save_weights(xc.build(SPEC, dtype=dtype), tmp_path / "w.safetensors")

            assert {p.dtype for p in xc.load(place).parameters()} == {dtype}

    def test_texts_of_ones_own(self, tmp_path):
        save_weights(nn.Linear(2, 3), tmp_path / "w.safetensors", about={"step": "7"})

        assert texts_of(tmp_path / "w.safetensors") == {"format": "pt", "step": "7"}

    def test_a_file_without_a_spec_is_no_model(self, tmp_path):
        place = save_weights(nn.Linear(2, 3), tmp_path / "w.safetensors")

        assert finding(lambda: load_model(place)) == (
            "XC042", f"the weights in {place} do not say which spec they belong to", "",
        )  # fmt: skip


class TestRefusals:
    def test_weights_of_another_model(self, tmp_path):
        place = save_weights(xc.build(SPEC), tmp_path / "w.safetensors")
        kept = xc.build(SPEC, "vocab=19", "layers=2", seed=5)
        before = {name: t.clone() for name, t in kept.state_dict().items()}
        code, message, label = finding(lambda: load_weights(kept, place))

        assert (code, message) == ("XC042", f"the weights in {place} are not those of this model")
        assert label == (
            "unknown: stack.layers.2.ffn.down.bias, stack.layers.2.ffn.down.weight, stack.layers.2.ffn.up.bias and 13 "
            "more; embedding.tokens.weight is (17, 12) there and (19, 12) here"
        )
        assert all(torch.equal(before[name], t) for name, t in kept.state_dict().items())

    def test_numbers_that_would_be_rounded(self, tmp_path):
        place = save_weights(nn.Linear(2, 3, dtype=torch.float64), tmp_path / "w.safetensors")

        assert finding(lambda: load_weights(nn.Linear(2, 3), place))[2] == (
            "weight is torch.float64 there and torch.float32 here, which cannot hold it"
        )

    def test_no_such_file(self, tmp_path):
        place = tmp_path / "w.safetensors"
        expected = ("XC042", f"cannot read weights from {place}: there is no such file", "")

        assert finding(lambda: load_weights(nn.Linear(2, 3), place)) == expected
        assert finding(lambda: xc.load(place)) == expected

    def test_a_damaged_file(self, tmp_path):
        place = save_weights(nn.Linear(2, 3), tmp_path / "w.safetensors")
        place.write_bytes(place.read_bytes()[:-5])
        code, message, _ = finding(lambda: load_weights(nn.Linear(2, 3), place))

        assert code == "XC042"
        assert message.startswith(f"cannot read weights from {place}: it is damaged (")


class TestWhole:
    def full(self, monkeypatch) -> None:
        def fsync(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(weights.os, "fsync", fsync)
        monkeypatch.setattr(weights, "_room", lambda target: 3 * 2**20)

    def test_on_a_full_disk_the_old_file_stays(self, tmp_path, monkeypatch):
        place = save_weights(xc.build(SPEC, seed=1), tmp_path / "w.safetensors")
        before = place.read_bytes()
        self.full(monkeypatch)
        with pytest.raises(SpecError) as caught:
            save_weights(xc.build(SPEC, seed=2), place)
        (found,) = caught.value.diagnostics

        assert found.code == "XC089"
        assert found.message == f"cannot write {place}: no space left on device"
        assert found.label == "the file that was there is kept"
        assert found.fixes == ("make room (3.0 MiB is free there), or write somewhere else",)
        assert place.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]

    def test_on_a_full_disk_nothing_is_left_behind(self, tmp_path, monkeypatch):
        self.full(monkeypatch)
        place = tmp_path / "w.safetensors"

        assert finding(lambda: save_weights(nn.Linear(2, 3), place))[2] == "nothing was left behind"
        assert list(tmp_path.iterdir()) == []

    def test_the_writers_own_words_for_a_full_disk(self, tmp_path, monkeypatch):
        def save_file(*args, **how):
            raise safetensors.SafetensorError("Error while serializing: No space left on device (os error 28)")

        monkeypatch.setattr(weights.safetensors.torch, "save_file", save_file)
        place = tmp_path / "w.safetensors"

        assert finding(lambda: save_weights(nn.Linear(2, 3), place))[1] == (
            f"cannot write {place}: no space left on device"
        )

    def test_a_block_that_fails_changes_nothing(self, tmp_path):
        place = tmp_path / "f"
        place.write_text("old")
        with pytest.raises(ZeroDivisionError), written_whole(place) as temporary:
            temporary.write_text(f"new {1 / 0}")

        assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]

    def test_a_folder_is_made(self, tmp_path):
        assert save_weights(nn.Linear(2, 3), tmp_path / "a" / "b" / "w.safetensors").exists()

    def test_a_file_where_a_folder_should_be(self, tmp_path):
        (tmp_path / "a").write_text("")
        code, message, _ = finding(lambda: save_weights(nn.Linear(2, 3), tmp_path / "a" / "w.safetensors"))

        assert (code, message) == ("XC089", f"cannot write {Path(tmp_path, 'a', 'w.safetensors')}: file exists")


def test_what_is_trained_can_be_saved_alone(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    save_weights(model, tmp_path / "w.safetensors", only=trainable(model))

    assert set(safetensors.torch.load_file(tmp_path / "w.safetensors")) == {"1.weight", "1.bias"}
