"""Terms by label: the same whether a tile asks once for each pair, for each distance, or once in all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, mixer, part, pattern, rows
from xcompose.attention.attend import attend
from xcompose.attention.groups import on_clock
from xcompose.attention.pattern import Gather, Pattern
from xcompose.attention.reads import Axis, Clock, Read, Slots, Term
from xcompose.attention.terms import asked, looked_up, skewed, unskewed, weighed

B, H, D, E = 2, 3, 5, 7


class Distances(Term):
    """A vector for each distance up to 90, for queries to ask and for values to get."""

    trainable = True
    adds_values = True

    def __init__(self, by_distance: bool, clip: int = 90):
        self.by_distance, self.clip = by_distance, clip
        self.vectors = rows(2 * clip + 1, H, D, seed=4).requires_grad_()
        self.added = rows(2 * clip + 1, 1, E, seed=5).requires_grad_()
        self.shapes: list[tuple[int, ...]] = []
        self.readied: list[range | None] = []

    def ready(self, apart):
        self.readied.append(apart)
        return self

    def label(self, q, k):
        return torch.clamp(q.at - k.at, -self.clip, self.clip) + self.clip

    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        self.shapes.append(tuple(labels.shape))
        return asked(q, labels, lambda which: self.vectors[which], len(self.vectors))

    def values(self, weights: Tensor, labels: Tensor) -> Tensor:
        return weighed(weights, labels, lambda which: self.added[which], len(self.added))


class Squeezed(Clock):
    """Blocks of six tokens whose earlier ones stand for two steps each: at the start of a block queries move back."""

    def query(self, at):
        return at - at // 6 * 4

    def slot(self, at):
        return at // 3


class Scattered(Pattern):
    """Rows and columns in no order."""

    def allows(self, q, k):
        return (q.at % 7 == 3) & (k.at % 5 == 2)

    def cover(self, queries, keys, causal):
        asking = [i for i in reversed(queries) if i % 7 == 3]
        asked_ = [j for j in keys if j % 5 == 2]
        return (Gather(queries=[asking], keys=[asked_]),)


def read_of(n: int, at: range, used: Pattern, term: Term, causal: bool) -> Read:
    q, k, v = rows(B, n, H, D), rows(B, len(at), H, D, seed=1), rows(B, len(at), H, E, seed=2)
    queries = Axis(range(n), total=None if causal else n)
    return Read(q.requires_grad_(), queries, Slots(k, v, at), used, causal, D**-0.5, (term,))


@pytest.mark.parametrize("clip", [90, 4])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("used", "at"),
    [
        (pattern("dense"), range(151)),
        (pattern("window", size=40), range(151)),
        (pattern("strided", stride=7), range(151)),
        (pattern("window", size=20, dilation=3), range(151)),
        (pattern("dense"), range(3, 151, 8)),
        (Scattered(), range(151)),
    ],
    ids=["dense", "window", "strided", "dilated", "slots of blocks", "scattered"],
)
def test_tiles_give_what_pairs_give(used, at, causal, clip):
    every = []
    for by_distance, executor in ((True, "explicit"), (False, "explicit"), (False, "reference"), (True, "cached")):
        term = Distances(by_distance, clip)
        read = read_of(151, at, used, term, causal)
        found = attend([read], executor=executor)
        inputs = [read.q, term.vectors, term.added]
        every.append((found, *torch.autograd.grad(found, inputs, rows(*found.shape, seed=3))))
    for others in every[1:]:
        for one, other in zip(every[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("clip", [90, 4])
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("used", [pattern("dense"), pattern("blocks", size=6), pattern("window", size=9), Scattered()])
def test_distances_on_a_clock(used, step, clip):
    every = []
    for by_distance, executor in ((True, "explicit"), (True, "reference"), (True, "cached"), (False, "explicit")):
        term = Distances(by_distance, clip)
        read = read_of(151, range(2, 151, step), used, term, True)
        found = attend([replace(read, terms=on_clock(read.terms, Squeezed()))], executor=executor)
        every.append((found, *torch.autograd.grad(found, [read.q, term.vectors, term.added], rows(*found.shape))))
        assert len(term.readied) == (executor == "explicit")
    for others in every[1:]:
        for one, other in zip(every[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_terms_of_chosen_slots_are_made_ready_once():
    """Over all distances there are, whatever is chosen, and in however many pieces."""
    made = mixer(attention(heads=3, pattern=part("pattern", "lsh", buckets=4, rounds=2, chunk=4)), 12)
    (group,) = made.inner.groups
    term = Distances(True)
    term.vectors, term.added = rows(181, 3, 4), rows(181, 1, 4)
    made.inner.groups = [group._replace(terms=(term,))]
    made.train()(rows(1, 23, 12), Axis(range(23)))

    assert term.readied == [range(-22, 23)]


def test_tiles_of_scattered_pairs_ask_for_each_label_once_and_alike_without_data():
    """So that what is counted on the meta device is the work there is."""
    shapes = []
    for device in ("cpu", "meta"):
        term = Distances(True)
        read = read_of(151, range(151), Scattered(), term, False)
        read = replace(
            read, q=read.q.to(device), slots=replace(read.slots, k=read.slots.k.to(device), v=read.slots.v.to(device))
        )
        term.vectors, term.added = (t.detach().to(device) for t in (term.vectors, term.added))
        attend([read], executor="explicit")
        shapes.append(term.shapes)

    asked_for = {max(-90, min(i - j, 90)) for i in range(3, 151, 7) for j in range(2, 151, 5)}
    assert shapes == [[(1, len(asked_for))]] * 2


def test_a_tile_asks_once_for_all_distances_beyond_the_limit():
    term = Distances(True, clip=5)
    attend([read_of(2048, range(2048), pattern("dense"), term, True)], executor="explicit")

    assert (1, 1) in term.shapes
    assert all(shape[0] == 1 for shape in term.shapes)
    assert max(shape[1] for shape in term.shapes) == 2 * 5 + 1


def test_tiles_that_stand_alike_ask_for_the_same_labels_made_once():
    term = Distances(True)
    seen: dict[int, Tensor] = {}
    bias = term.bias

    def watched(q: Tensor, labels: Tensor) -> Tensor:
        seen[id(labels)] = labels
        return bias(q, labels)

    term.bias = watched
    attend([read_of(1024, range(1024), pattern("window", size=20), term, True)], executor="explicit")

    assert len(term.shapes) == 1024 // 64
    assert len(seen) == 2  # the first tile has no past


@pytest.mark.parametrize(
    "which", [[3], [2, 3, 4], [4, 3, 2, 1], [0, 1], [1, 0], [2, 2], [3, 1], [0, 2, 1, 3], [5, 5, 4]]
)
def test_rows_of_a_table(which):
    table = rows(6, 2, 3).requires_grad_()
    found, wanted = looked_up(table, torch.tensor(which)), table[which]

    assert torch.equal(found, wanted)
    upstream = rows(*found.shape, seed=1)
    one, other = (torch.autograd.grad(y, table, upstream)[0] for y in (found, wanted))
    assert torch.equal(one, other)


@pytest.mark.parametrize(("r", "m"), [(1, 1), (1, 6), (2, 2), (2, 5), (4, 4), (3, 11)])
def test_skewed_numbers_and_their_transpose(r, m):
    t, pairs = rows(2, r, r + m - 1), rows(2, r, m, seed=1)

    for x in range(r):
        for y in range(m):
            assert skewed(t)[0, x, y] == t[0, x, y - x + r - 1]
            assert unskewed(pairs)[0, x, y - x + r - 1] == pairs[0, x, y]
    assert unskewed(pairs).shape == t.shape
    torch.testing.assert_close((skewed(t) * pairs).sum(), (t * unskewed(pairs)).sum())


def test_skewing_copies_nothing():
    t = rows(2, 3, 8)

    assert skewed(t).untyped_storage().data_ptr() == t.untyped_storage().data_ptr()
