"""Caches grow by what is valid and shrink by what nobody will read."""

from __future__ import annotations

import torch

from tests.plugins.helpers import context, pattern
from xcompose.attention.pattern import NEVER
from xcompose.attention.reads import Axis
from xcompose.decode.cache import append, drop, empty_cache, kept, next_time, times

LIKE = torch.zeros(0, dtype=torch.float64)


def numbered(*at: list[int]) -> dict[str, torch.Tensor]:
    """Keys that say where they stand."""
    return {"k": torch.tensor(at, dtype=torch.float64)[..., None, None]}


def cache_of(*at: list[int]) -> dict[str, torch.Tensor]:
    return {**numbered(*at), "at": torch.tensor(at)}


def test_an_empty_cache():
    cache = empty_cache(2, 3, 5, 7, LIKE)

    assert {name: tuple(t.shape) for name, t in cache.items()} == {"k": (2, 0, 3, 5), "v": (2, 0, 3, 7), "at": (2, 0)}
    assert cache["k"].dtype == torch.float64
    assert cache["at"].dtype == torch.int64


def test_rows_are_appended_where_they_stand():
    cache = append(cache_of([0, 1], [3, 4]), numbered([2], [5]), Axis(torch.tensor([[2], [5]])))
    assert cache["at"].tolist() == [[0, 1, 2], [3, 4, 5]]

    cache = append(cache_of([0, 1], [0, 1]), numbered([2, 3], [2, 3]), Axis(range(2, 4)))
    assert cache["at"].tolist() == [[0, 1, 2, 3]] * 2


def test_padding_is_absent_and_leaves_no_trace():
    valid = torch.tensor([[True, False], [False, False]])

    cache = append(cache_of([0], [0]), numbered([7, 8], [9, 9]), Axis(range(1, 3), valid))

    assert cache["at"].tolist() == [[0, 1, NEVER], [0, NEVER, NEVER]]
    assert cache["k"][..., 0, 0].tolist() == [[0, 7, 0], [0, 0, 0]]


def test_what_no_later_query_reads_is_dropped():
    cache = cache_of([0, 1, 2, 3], [2, 3, 4, 5])

    found = drop(cache, lambda at: at + 2, Axis(torch.tensor([[3], [5]])))

    assert found["at"].tolist() == [[2, 3], [4, 5]]
    assert found["k"][..., 0, 0].tolist() == [[2, 3], [4, 5]]


def test_sequences_keep_different_numbers_and_one_without_new_rows_keeps_all():
    cache = cache_of([0, 1, 2], [0, 1, NEVER])
    axis = Axis(torch.tensor([[2], [2]]), torch.tensor([[True], [False]]))

    found = drop(cache, lambda at: at + 1, axis)

    assert found["at"].tolist() == [[2, NEVER], [0, 1]]
    assert found["k"][..., 0, 0].tolist() == [[2, 0], [0, 1]]


def test_a_cache_that_nobody_leaves_is_not_copied():
    cache = cache_of([0, 1, 2])

    assert drop(cache, lambda at: at * 0 + NEVER, Axis(range(2, 3)))["k"] is cache["k"]


def test_times():
    valid = torch.tensor([[True, True], [True, False], [False, False]])

    assert times(Axis(range(4, 6)), 3, LIKE.device).tolist() == [[4, 5]] * 3
    assert next_time(Axis(range(4, 6)), 3, LIKE.device).tolist() == [6, 6, 6]
    assert next_time(Axis(range(4, 6), valid), 3, LIKE.device).tolist() == [6, 5, 0]
    assert next_time(Axis(range(4, 4)), 3, LIKE.device).tolist() == [0, 0, 0]


def test_kept_is_what_remains_after_dropping():
    for name, given in (("window", {"size": 3}), ("blocks", {"size": 4, "back": 1}), ("dense", {})):
        fixed = context(12).build(pattern(name, **given))
        for n in (1, 4, 11):
            at = [list(range(n))]
            assert kept(fixed, range(n), n) == drop(cache_of(*at), fixed.last_reader, Axis(range(n)))["at"].shape[1]
