"""Ragged rows in rectangles."""

from __future__ import annotations

import torch

from xcompose.decode.pack import fill_rows, pack, take_rows

KEEP = torch.tensor([[False, True, False, True], [True, True, True, False], [False, False, False, False]])


def test_what_is_kept_stands_left_in_order():
    found = pack(KEEP, {"at": torch.arange(12).reshape(3, 4)}, {"at": -1})

    assert found["at"].tolist() == [[1, 3, -1], [4, 5, 6], [-1, -1, -1]]


def test_all_tensors_move_together_and_are_filled_with_zero_if_not_told():
    x = torch.arange(1, 25).reshape(3, 4, 2)

    found = pack(KEEP, {"x": x}, {})

    assert found["x"].tolist() == [[[3, 4], [7, 8], [0, 0]], [[9, 10], [11, 12], [13, 14]], [[0, 0]] * 3]


def test_nothing_kept_and_no_sequences():
    assert pack(torch.zeros(2, 3, dtype=torch.bool), {"x": torch.ones(2, 3, 5)}, {})["x"].shape == (2, 0, 5)
    assert pack(torch.zeros(0, 3, dtype=torch.bool), {"x": torch.ones(0, 3, 5)}, {})["x"].shape == (0, 0, 5)


def test_rows_taken_and_filled():
    x = torch.arange(12).reshape(2, 3, 2)

    assert take_rows(x, torch.tensor([[2, 0], [1, 1]])).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]
    there = torch.tensor([[True, False, True], [False, True, True]])
    assert fill_rows(x, there, -1)[0].tolist() == [[0, 1], [-1, -1], [4, 5]]


def test_gradients_flow_to_what_was_kept():
    x = torch.ones(3, 4, 2, requires_grad=True)

    (gradient,) = torch.autograd.grad(pack(KEEP, {"x": x}, {})["x"].sum(), x)

    assert torch.equal(gradient, KEEP[..., None].expand(3, 4, 2).float())
