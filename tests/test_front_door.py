"""What `import xcompose as xc` offers."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
import torch

import xcompose as xc

TEXT = """\
xcompose: 1
name: small
model:
  type: decoder
  dim: 128
  layers: 2
variants:
  narrow: {model: {dim: 64}}
"""


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "small.xc.yaml"
    place.write_text(TEXT)
    return place


def tokens() -> torch.Tensor:
    return torch.arange(7)[None]


class TestBuild:
    def test_from_a_file_with_overrides(self, file):
        model = xc.build(file, "dim=192", "layers=1")

        assert isinstance(model, torch.nn.Module)
        assert model(tokens()).logits.shape == (1, 7, 256)
        assert (model.dim, len(model.layers)) == (192, 1)

    def test_from_a_variant(self, file):
        model = xc.build(f"{file}@narrow")

        assert model.dim == 64
        assert model.spec is not None
        assert model.spec.name == "small@narrow"

    def test_from_a_mapping_a_config_and_a_spec(self, file):
        from omegaconf import OmegaConf

        mapping = {"xcompose": 1, "model": {"type": "decoder", "dim": 64, "layers": 1}}
        found = [xc.build(one)(tokens()).logits for one in (mapping, OmegaConf.create(mapping), xc.read(mapping))]

        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])

    def test_a_spec_that_was_read_takes_no_overrides(self, file):
        with pytest.raises(ValueError, match="a spec that was read already takes no overrides"):
            xc.build(xc.read(file), "dim=64")

    def test_seed_and_type(self, file):
        model = xc.build(file, seed=3, dtype=torch.bfloat16)

        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
        assert torch.equal(model(tokens()).logits, xc.build(file, seed=3, dtype=torch.bfloat16)(tokens()).logits)
        assert not torch.equal(model(tokens()).logits, xc.build(file, dtype=torch.bfloat16)(tokens()).logits)


class TestCheck:
    def test_nothing_is_wrong(self, file):
        assert xc.check(file) == []

    def test_everything_that_is_wrong(self, file):
        assert [d.message for d in xc.check(file, "dmi=3", "layers=2*attntion")] == [
            "'decoder' has no option 'dmi'",
            "no mixer is called 'attntion'",
        ]

    def test_parts_that_refuse_each_other(self, file):
        found = xc.check(file, "layers=attention(pattern=none)")

        message = "nothing is left to read: the pattern reads no token, and there is no memory"
        assert [d.message for d in found] == [message]
        assert found[0].span is not None
        assert found[0].span.file.startswith("--set")


def test_an_error_is_a_value_error_with_the_whole_text(file):
    with pytest.raises(xc.SpecError) as caught:
        xc.build(file, "heads=3")

    assert isinstance(caught.value, ValueError)
    assert "error[XC0" in str(caught.value)


def test_load_is_the_way_back(file, tmp_path):
    from xcompose.compose.weights import save_weights

    model = xc.build(file, seed=3)
    loaded = xc.load(save_weights(model, tmp_path / "w.safetensors"), device="cpu")

    assert torch.equal(loaded(tokens()).logits, model.eval()(tokens()).logits)


def test_importing_it_imports_no_torch():
    code = "import sys, xcompose; xcompose.read; print('torch' in sys.modules, 'attrs' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False False\n"


def test_the_version_is_that_of_the_package():
    assert xc.__version__ == version("xcompose")
    with pytest.raises(AttributeError, match="xcompose has no 'nothing'"):
        xc.nothing  # noqa: B018
