"""The state that serves everything: all inputs so far, for mixers and memories that know no better."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import in_unison, ragged, rows, sizes
from xcompose.attention.algebra import Everything
from xcompose.attention.reads import Axis, Slots
from xcompose.compose.parts import Memory, Mixed, Mixer, Spans

N, C = 9, 3


class Mean(Mixer):
    """The mean of all rows so far, by a loop."""

    dim = C

    def mix(self, x, axis, source=None):
        x = x if axis.valid is None else torch.where(axis.valid[..., None], x, 0.0)
        return Mixed(torch.stack([x[:, : i + 1].mean(1) for i in range(x.shape[1])], 1))


class Pairs(Memory):
    """A slot for every two rows, by default with all rows in its state."""

    pattern = Everything()

    def spans(self, n):
        start = torch.arange(0, n - 1, 2).numpy()
        return Spans(start, start + 1, start + 1)

    def slots(self, k, v, axis):
        m = k.shape[1] // 2
        k, v = (t[:, : 2 * m].unflatten(1, (m, 2)).sum(2) for t in (k, v))
        return Slots(k, v, range(1, 1 + 2 * m, 2)), {}


@pytest.mark.parametrize("cuts", [[], [1, 2, 3], [4], range(1, N)])
def test_any_cut(cuts):
    x = rows(2, N, C)

    found, state = in_unison(Mean(), x, cuts)

    torch.testing.assert_close(found, Mean()(x, Axis(range(N))).x)
    assert sizes(state) == Mean().state_shape(N) == {"x": (N, C), "at": (N,)}


def test_sequences_at_different_times():
    x = rows(3, N, C)
    steps = [(3, 0, 1), (0, 2, 0), (4, 5, 8), (2, 2, 0)]

    found, state = ragged(Mean(), x, steps)

    torch.testing.assert_close(found, Mean()(x, Axis(range(N))).x)
    assert state["at"].tolist() == [list(range(N))] * 3


def test_a_memory():
    k, v = rows(2, N, 3, 5), rows(2, N, 3, 7, seed=1)
    memory = Pairs()
    whole, _ = memory.slots(k, v, Axis(range(N)))
    state = memory.start(2, k[:, :0], v[:, :0])
    for begin, end in ((0, 1), (1, 4), (4, N)):
        slots, state, losses = memory.extend(state, k[:, begin:end], v[:, begin:end], Axis(range(begin, end)))

    assert torch.equal(slots.k, whole.k)
    assert torch.equal(slots.v, whole.v)
    assert losses == {}
    assert sizes(state) == memory.state_shape(N, 3, 5, 7)


def test_tags_are_refused_instead_of_forgotten():
    axis = Axis(range(2), tags={"row": torch.zeros(1, 2, dtype=torch.long)})

    message = "^tags of rows are not kept between calls, and this part needs all rows again$"
    with pytest.raises(ValueError, match=message):
        Mean()(rows(1, 2, C), axis, Mean().start(1, rows(1, 0, C)))
