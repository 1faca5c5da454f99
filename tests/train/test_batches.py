from __future__ import annotations

import pytest
import torch

from xcompose.diagnostics import SpecError
from xcompose.train.batches import EndlessBatches, evenly
from xcompose.train.windows import Windows


def test_an_epoch_holds_every_item_once():
    batches = EndlessBatches(7, 3, seed=5)

    items = [item for _ in range(7) for item in next(batches)]

    assert [sorted(items[i : i + 7]) for i in (0, 7, 14)] == [list(range(7))] * 3
    assert items[:7] != items[7:14]


def test_a_batch_may_be_larger_than_the_data():
    assert sorted(next(EndlessBatches(2, 4, seed=0))) == [0, 0, 1, 1]


def test_the_saved_place_goes_on_exactly():
    batches = EndlessBatches(11, 3, seed=2)
    for _ in range(5):
        next(batches)
    place = batches.state_dict()
    expected = [next(batches) for _ in range(9)]
    again = EndlessBatches(11, 3, seed=2)
    again.load_state_dict(place)

    assert [next(again) for _ in range(9)] == expected


def test_seeds_give_other_orders():
    assert next(EndlessBatches(101, 13, seed=0)) != next(EndlessBatches(101, 13, seed=1))


def test_evenly_takes_items_from_all_over():
    assert [int(i) for i in evenly(torch.arange(10), 5)] == [0, 2, 4, 6, 8]  # type: ignore[arg-type]
    assert len(evenly(torch.arange(3), 5)) == 3  # type: ignore[arg-type]


def test_windows_follow_each_other_without_a_gap():
    data = torch.arange(11, dtype=torch.uint8)
    windows = Windows(data, 5, ahead=1, name="text", part="to train on")

    assert [windows[i]["tokens"].tolist() for i in range(len(windows))] == [[0, 1, 2, 3, 4, 5], [5, 6, 7, 8, 9, 10]]
    assert windows[0]["tokens"].dtype == torch.long


def test_too_few_bytes_for_one_window_are_refused():
    with pytest.raises(SpecError) as error:
        Windows(torch.zeros(5, dtype=torch.uint8), 5, ahead=1, name="text", part="held out")

    assert str(error.value) == (
        "error[XC085]: 'text' is too short: 5 bytes held out, and one sequence takes 6\n"
        " --> task.data\n"
        "  = fix: give more text, or shorter sequences: --set train.length=..."
    )
