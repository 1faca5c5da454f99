"""Matrices that narrow with their width, quieter where they write to the stream; logits start at zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import xcompose as xc
from xcompose.diagnostics import SpecError

DIM, LAYERS, GAIN = 128, 3, 0.125


def built(**changes: Any) -> torch.nn.Module:
    model = {
        "type": "decoder", "dim": DIM, "heads": 4, "layers": LAYERS, "length": 96, "ffn": "mlp(256)",
        "position": "axial(shape=[8, 12], join=sum)", "output": "lm(tied=false, bias=true)",
        "init": "sparse-transformer",
    }  # fmt: skip
    return xc.build({"xcompose": 1, "model": model | changes}, seed=3)


def drawn(weight: Tensor, std: float) -> bool:
    """Whether the numbers may come from N(0, std^2)."""
    count = weight.numel()
    return abs(weight.std() - std) < 5 * std / (2 * count) ** 0.5 and abs(weight.mean()) < 5 * std / count**0.5


def test_each_matrix_by_its_fan_in():
    model = built()

    for block in model.layers:
        for name in ("q", "k", "v"):
            assert drawn(getattr(block.mixer, name).weight, GAIN / DIM**0.5)
        assert drawn(block.ffn.up.weight, GAIN / DIM**0.5)


def test_what_writes_to_the_stream_is_quieter_in_a_deeper_stack():
    model = built()

    for block in model.layers:
        assert drawn(block.mixer.out.weight, GAIN / DIM**0.5 / (2 * LAYERS) ** 0.5)
        assert drawn(block.ffn.down.weight, GAIN / 256**0.5 / (2 * LAYERS) ** 0.5)


def test_tables_of_tokens_and_of_a_position_that_has_two():
    model = built()

    assert drawn(model.embedding.tokens.weight, GAIN / DIM**0.5)
    for table in model.position.tables:
        assert drawn(table.weight, GAIN / (2 * DIM) ** 0.5)


def test_logits_and_biases_start_at_zero_and_norms_stay():
    model = built()
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]

    assert not model.output.linear.weight.any()
    assert not any(bias.any() for bias in biases)
    assert (model.stack.norm.weight == 1).all()
    assert not model(torch.zeros(1, 5, dtype=torch.long)).logits.any()


def test_another_gain():
    model = built(init="sparse-transformer(1.0)")

    assert drawn(model.layers[0].mixer.q.weight, 1 / DIM**0.5)


@pytest.mark.parametrize("mixer", ["heads(attention, attention(score=linear))", "sum(attention, attention)"])
def test_members_of_a_mixer_write_to_the_stream_too(mixer):
    for member in built(mixer=mixer).layers[0].mixer.members:
        assert drawn(member.out.weight, GAIN / member.out.in_features**0.5 / (2 * LAYERS) ** 0.5)


def test_every_stack_counts_its_own_layers():
    model = xc.build(
        {
            "xcompose": 1,
            "model": {
                "type": "encoder-decoder", "dim": DIM, "heads": 4, "encoder": {"layers": 5}, "decoder": {"layers": 2},
                "output": "lm(tied=false)", "init": "sparse-transformer",
            },
        }
    )  # fmt: skip

    for name, layers in (("encoder", 5), ("decoder", 2)):
        for block in model.stacks()[name].blocks:
            assert drawn(block.mixer.out.weight, GAIN / (2 * layers * DIM) ** 0.5)


def test_tied_logits_are_refused():
    with pytest.raises(SpecError) as caught:
        built(output="lm")
    (found,) = caught.value.diagnostics

    assert found.message == "init 'sparse-transformer' starts logits at zero, and here they are tied to the embedding"
    assert found.label == "rows of zeros would be the same for every token"
    assert found.fixes == ("output: lm(tied=false)",)
    assert found.path == "model.init"
