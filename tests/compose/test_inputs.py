"""What models read: tokens, or rows of numbers."""

from __future__ import annotations

import pytest
import torch

from xcompose.compose.inputs import Inputs

V, W = 11, 3


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestInputs:
    def test_examples(self):
        tokens, rows = Inputs(V).example(2, 257, drawn(1)), Inputs(V, W).example(2, 257, drawn(1))

        assert tokens.shape == (2, 257)
        assert tokens.dtype == torch.long
        assert set(tokens.flatten().tolist()) == set(range(V))
        assert rows.shape == (2, 257, W)
        assert rows.is_floating_point()

    def test_the_same_for_the_same_generator(self):
        for inputs in (Inputs(V), Inputs(V, W)):
            assert torch.equal(inputs.example(2, 7, drawn(1)), inputs.example(2, 7, drawn(1)))
            assert not torch.equal(inputs.example(2, 7, drawn(1)), inputs.example(2, 7, drawn(2)))

    @pytest.mark.parametrize("inputs", [Inputs(V), Inputs(2), Inputs(V, W)], ids=str)
    def test_others_differ_everywhere_and_are_read_as_well(self, inputs):
        x = inputs.example(2, 257, drawn(1))
        other = inputs.other(x, drawn(2))

        assert (other != x).all()
        assert other.dtype == x.dtype
        assert inputs.fault(other) is None
        if inputs.width is None:
            assert 0 <= int(other.min()) <= int(other.max()) < inputs.vocab

    def test_on_the_meta_device(self):
        assert Inputs(V, W).example(1, 2**40, device="meta").shape == (1, 2**40, W)
