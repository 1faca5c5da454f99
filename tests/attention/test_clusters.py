"""Attention in clusters: the reference against loops, the executor against the reference."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.attention.reading import drawn
from xcompose.api import Axis, ClusterPattern, Point, Read, Slots, Term
from xcompose.attention import clusters
from xcompose.attention.attend import attend
from xcompose.attention.explain import recording
from xcompose.attention.reference import allowed, attend_reference

torch.set_num_threads(1)
B, N, M, H, G, D, E, K = 2, 13, 11, 6, 3, 5, 7, 3


class Given(ClusterPattern):
    """Who stands where is given, at random: each row in each cluster or not."""

    crosses = True

    def __init__(self, count: int = K, otherwise: str = "nothing", null: bool = False, likely: float = 0.4):
        self.clusters, self.likely = count, likely
        self.otherwise = otherwise  # type: ignore[misc]
        self.nulls = (drawn(H, count, D, seed=5), drawn(H, count, E, seed=6)) if null else None

    def members(self, q, k, queries, there):
        asking, asked = self._drawn(q.shape[1], 1), self._drawn(k.shape[1], 2)
        asking = asking if queries.valid is None else asking & queries.valid[:, None, None]
        return asking, asked if there is None else asked & there[:, None, None]

    def _drawn(self, n: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(B, H, self.clusters, n, generator=generator) < self.likely

    def room(self, rows):
        return rows

    def null(self):
        return self.nulls


class Curves(Term):
    """A trained term of the query, by distance."""

    trainable = True

    def __init__(self):
        self.table = drawn(9, H, D, seed=8)

    def label(self, q, k):
        return (q.at - k.at).clamp(-4, 4) + 4

    def bias(self, q, labels):
        found = torch.einsum("t n h d, l h d -> t h n l", q, self.table)
        return found.gather(-1, labels.expand(*found.shape[:3], labels.shape[-1]))


class Vectors(Curves):
    """The same, which adds to the values."""

    adds_values = True

    def __init__(self):
        super().__init__()
        self.added = drawn(9, H, E, seed=9)

    def values(self, weights, labels):
        t, h, n, m = weights.shape
        by_label = weights.new_zeros(t, h, n, 9).scatter_add(-1, labels.expand(t, h, n, m), weights)
        return torch.einsum("t h n l, l h e -> t h n e", by_label, self.added)


def read_of(pattern: ClusterPattern, causal: bool, m: int = N, **changes) -> Read:
    slots = Slots(drawn(B, m, G, D, seed=2), drawn(B, m, G, E, seed=3), range(m))
    return replace(Read(drawn(B, N, H, D), Axis(range(N)), slots, pattern, causal, 0.7), **changes)


def by_loops(read: Read) -> Tensor:
    """The formula, query by query and cluster by cluster."""
    pattern: Given = read.pattern  # type: ignore[assignment]
    m = read.slots.k.shape[1]
    asking, asked = pattern.members(read.q, read.slots.k, read.queries, clusters.slots_there(read))
    rows = []
    for b, i, h in ((b, i, h) for b in range(B) for i in range(N) for h in range(H)):
        g, found = h // (H // G), []
        for c in range(pattern.clusters):
            if not asking[b, h, c, i]:
                continue
            there = [j for j in range(m) if asked[b, h, c, j] and not (read.causal and j > i)]
            if pattern.otherwise == "self" and (there != [i] or pattern.nulls):
                there = [j for j in there if j != i]
            logits = [(read.q[b, i, h] @ read.slots.k[b, j, g]) * read.scale for j in there]
            values = [read.slots.v[b, j, g] for j in there]
            if pattern.nulls is not None:
                logits.append((read.q[b, i, h] @ pattern.nulls[0][h, c]) * read.scale)
                values.append(pattern.nulls[1][h, c])
            if logits:
                found.append(torch.softmax(torch.stack(logits), 0) @ torch.stack(values))
        rows.append(sum(found) / len(found) if found else read.slots.v.new_zeros(E))
    return torch.stack(rows).view(B, N, H, E)


def alike(read: Read, found: Tensor, wanted: Tensor, *more: Tensor) -> None:
    """Values and gradients agree."""
    inputs = [read.q, read.slots.k, read.slots.v, *more]
    along = drawn(*found.shape, seed=17).detach()
    got, expected = (torch.autograd.grad(y, inputs, along, allow_unused=True) for y in (found, wanted))
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    for one, other in zip(got, expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, rtol=0, atol=1e-11)


FORMS = {
    "plain": {}, "alone": {"otherwise": "self"}, "null": {"null": True}, "both": {"otherwise": "self", "null": True},
    "many": {"count": 37, "likely": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_reference_is_the_formula(form, causal):
    pattern = Given(**FORMS[form])
    read = read_of(pattern, causal)

    alike(read, attend_reference([read]), by_loops(read), *(pattern.nulls or ()))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_executor_is_the_reference(form, causal):
    pattern = Given(**FORMS[form])
    read = read_of(pattern, causal)

    with recording() as choices:
        found = attend([read])
    alike(read, found, attend_reference([read]), *(pattern.nulls or ()))
    assert [(choice.executor, choice.reason) for choice in choices] == [
        ("clusters", "each cluster has a softmax of its own")
    ]


@pytest.mark.parametrize("term", [Curves, Vectors])
@pytest.mark.parametrize("form", ["plain", "alone", "null"])
def test_terms_of_the_query_before_the_turn(form, term):
    made, pattern = term(), Given(**FORMS[form])
    read = read_of(pattern, True, terms=(made,), raw_q=drawn(B, N, H, D, seed=11))
    tables = [made.table, made.added] if made.adds_values else [made.table]

    alike(read, attend([read]), attend_reference([read]), read.raw_q, *tables)


@pytest.mark.parametrize("causal", [False, True])
def test_padding_stands_in_no_cluster(causal):
    pattern, valid = Given(), torch.arange(N) < torch.tensor([[N], [5]])
    read = read_of(pattern, causal, queries=Axis(range(N), valid))
    if not causal:
        weight = torch.zeros(B, N, dtype=torch.float64).masked_fill(~valid, -torch.inf)
        read = replace(read, slots=replace(read.slots, log_weight=weight))

    alike(read, attend([read]), attend_reference([read]))
    alike(read, attend([read]), by_loops(read))
    found = attend([read])
    assert (found[1, 5:] == 0).all()
    (grad,) = torch.autograd.grad(found.sum(), read.slots.v)
    assert (grad[1, 5:] == 0).all()


def test_slots_of_another_sequence():
    read = read_of(Given(), False, m=M)

    alike(read, attend([read]), attend_reference([read]))
    alike(read, attend([read]), by_loops(read))


def test_positions_that_differ_from_row_to_row():
    read = read_of(Given(), True)
    at = torch.arange(N) + torch.tensor([[0], [100]])
    moved = replace(read, queries=Axis(at), slots=replace(read.slots, at=at))

    assert torch.allclose(attend([moved]), attend([read]), rtol=0, atol=1e-14)
    assert torch.allclose(attend_reference([moved]), attend([read]), rtol=0, atol=1e-12)


def test_soft_weights_of_slots():
    weight = drawn(B, N, seed=4)
    read = read_of(Given(), False)
    read = replace(read, slots=replace(read.slots, log_weight=weight))

    alike(read, attend([read]), attend_reference([read]), weight)


def test_scores_that_would_take_much_memory_are_computed_again(monkeypatch):
    read = read_of(Given(null=True), True)
    wanted = attend([read])
    monkeypatch.setattr(clusters, "KEPT_SCORES", 0)

    alike(read, attend([read]), wanted)


def test_dropped_weights_keep_the_mean():
    torch.manual_seed(0)
    read = read_of(Given(), False)
    whole = attend([read])
    dropped = [attend([read], dropout=0.25, training=True) for _ in range(400)]

    assert (torch.stack(dropped).mean(0) - whole).abs().max() < 0.5
    assert (dropped[0] - whole).abs().max() > 0.1
    assert (attend([read], dropout=0.25) - whole).abs().max() == 0


def test_what_any_cluster_allows_is_the_set():
    pattern = Given(count=37, likely=0.1)
    read = read_of(pattern, False)
    asking, asked = pattern.members(read.q, read.slots.k, read.queries, None)

    assert (allowed(read) == (asking[..., None] & asked[..., None, :]).any(2)).all()


def test_each_cluster_is_listed_in_the_order_of_time():
    pattern = Given(count=37, likely=0.3)
    read = read_of(pattern, False)
    (tiles,) = pattern.sorted_cover(*pattern.tags(read.q, read.slots.k, read.queries))
    asking, asked = pattern.members(read.q, read.slots.k, read.queries, None)

    for listed, member in ((tiles.queries, asking), (tiles.keys, asked)):
        assert listed.shape == (B, H, 37, N)
        for b, h, c in ((b, h, c) for b in range(B) for h in range(H) for c in range(37)):
            rows = member[b, h, c].nonzero()[:, 0].tolist()
            assert listed[b, h, c].tolist() == rows + [-1] * (N - len(rows))


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_answered_lists_members_without_tags_and_shared_ones_once(shared, monkeypatch):
    pattern, calls = Given(count=37, likely=0.3), []
    listed, members = type(pattern)._listed, type(pattern).members
    monkeypatch.setattr(type(pattern), "tags", None)
    monkeypatch.setattr(type(pattern), "_listed", lambda self, member: calls.append(0) or listed(self, member))
    if shared:
        monkeypatch.setattr(type(pattern), "members", lambda *given: (members(*given)[0],) * 2)
    attend([read_of(pattern, False)])

    assert len(calls) == 2 - shared


def test_the_plan_needs_no_contents_at_all():
    with torch.device("meta"):
        q, k, v = torch.empty(B, N, H, D), torch.empty(B, N, G, D), torch.empty(B, N, G, E)
        member = torch.empty(B, H, K, N, dtype=torch.bool)

    class Blank(Given):
        def members(self, q, k, queries, there):
            return member, member

    found = attend([Read(q, Axis(range(N)), Slots(k, v, range(N)), Blank(), True, 0.7)])
    assert found.is_meta
    assert found.shape == (B, N, H, E)


def test_a_query_reads_no_row_twice_in_one_cluster():
    """Row sums: with values of one, every query that reads something gets one."""
    read = read_of(Given(null=False), True)
    ones = replace(read, slots=replace(read.slots, v=torch.ones_like(read.slots.v)))
    reads = allowed(read).any(-1).transpose(1, 2)[..., None]

    assert torch.allclose(attend([ones]), reads.double().expand(B, N, H, E), rtol=0, atol=1e-12)
    assert 0 < reads.sum() < reads.numel()


def test_its_softmax_is_shared_with_nobody():
    read = read_of(Given(), True)

    with pytest.raises(ValueError, match="^a mean of several softmaxes shares none of them with another read$"):
        attend([read, read])


@pytest.mark.parametrize("executor", ["cached", "explicit", "fused", "sdpa"])
def test_other_executors_refuse_it(executor):
    message = (
        f"the executor '{executor}' cannot do this: only the executor 'clusters' takes the mean of several softmaxes, "
        "and it does nothing else"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        attend([read_of(Given(), True)], executor=executor)


def test_points_of_a_row_tell_where_it_stands():
    pattern = Given(count=37)
    read = read_of(pattern, False)
    q_tags, _ = pattern.tags(read.q, read.slots.k, read.queries)
    asking, _ = pattern.members(read.q, read.slots.k, read.queries, None)

    for c in range(37):
        assert (pattern.stands(c, Point(at=0, tags=q_tags)) == asking[:, :, c]).all()
