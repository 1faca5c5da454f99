"""Receptive fields are products of who may read whom."""

from __future__ import annotations

import numpy as np
import pytest

from xcompose.compose.parts import Mixer, Visible
from xcompose.cost.flow import flow, step


class Declares(Mixer):
    """Says who may read whom, and mixes nothing."""

    def __init__(self, *groups: tuple[np.ndarray, bool]):
        super().__init__()
        self.groups = groups

    def mix(self, x, axis, source=None):
        raise NotImplementedError

    def visible(self, n: int):
        return tuple(Visible(f"group {i}", 1, m, exact) for i, (m, exact) in enumerate(self.groups))


def band(n: int, w: int) -> np.ndarray:
    i, j = np.arange(n)[:, None], np.arange(n)
    return (i - j >= 0) & (i - j <= w)


def walk(layers: list[np.ndarray], n: int) -> np.ndarray:
    """Who reaches whom, by following every path."""
    reached = np.eye(n, dtype=bool)
    for layer in layers:
        new = reached.copy()
        for i in range(n):
            for j in range(n):
                if layer[i, j]:
                    new[i] |= reached[j]
        reached = new
    return reached


@pytest.mark.parametrize("widths", [[3], [3, 5], [1, 7, 2], [0, 0]])
def test_fields_follow_every_path(widths):
    n = 19
    layers = [band(n, w) for w in widths]

    found = flow([Declares((layer, True)) for layer in layers], n)

    for count in range(1, len(layers) + 1):
        assert (found.fields[count - 1] == walk(layers[:count], n)).all()
    assert found.reach == min(n, sum(widths) + 1)


def test_groups_of_heads_read_together_and_one_learned_group_makes_it_a_bound():
    n = 11
    far = np.arange(n)[:, None] - np.arange(n) == 5

    found = flow([Declares((band(n, 1), True), (far, False))], n)

    assert (found.fields[0] == (band(n, 1) | far | np.eye(n, dtype=bool))).all()
    assert not found.exact


def test_it_says_when_the_last_output_hears_from_everyone_and_who_is_never_heard():
    n = 13
    lonely = band(n, 6)
    lonely[:, 4] = False

    found = flow([Declares((lonely, True)), Declares((lonely, True))], n)

    assert found.connected_after is None
    assert found.dead == (4, 12)
    assert flow([Declares((band(n, 6), True))] * 2, n).connected_after == 2


def test_a_layer_that_reads_everything_hands_on_everything():
    n = 7
    everything = np.ones((n, n), dtype=bool)

    assert (step(band(n, 2), everything) == walk([band(n, 2), everything], n)).all()
