"""Buckets that the past alone fills: the definition, the plan, and a state that goes on."""

from __future__ import annotations

from typing import Literal
from unittest import mock

import pytest
import torch
from torch import Tensor

from tests.attention.reading import Bends, distance
from tests.plugins.helpers import attention, mixer, part, rows
from xcompose.api import Axis, LatestOfBucket, PartError, Point, Read, Slots, form_of
from xcompose.attention.buckets import NOBODY, NOWHERE
from xcompose.attention.learned import Told
from xcompose.attention.pattern import NEVER
from xcompose.attention.reference import allowed, attend_reference
from xcompose.decode.state import reorder

B, N, H, D, E = 2, 37, 2, 5, 7


class BySign(LatestOfBucket):
    """The signs of the first channels are the bucket; another round looks at others."""

    def __init__(self, size: int = 3, rounds: int = 2, own: bool = False, shared: bool = True):
        self.size, self.rounds, self.own, self.shared, self.buckets = size, rounds, own, shared, 4

    def choose(self, x: Tensor, side: Literal["query", "key"]) -> Tensor:
        bits = (x > 0).long().transpose(1, 2)
        return torch.stack([2 * bits[..., r] + bits[..., r + 1] for r in range(self.rounds)])


class Self(BySign):
    otherwise = "self"


def vectors(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def read_of(pattern: BySign, valid: Tensor | None = None, n: int = N) -> Read:
    q, v = vectors(B, n, H, D).requires_grad_(), vectors(B, n, H, E, seed=2).requires_grad_()
    k = q.detach() / q.detach().norm(dim=-1, keepdim=True) if pattern.shared else vectors(B, n, H, D, seed=3)
    return Read(q, Axis(range(n), valid), Slots(k.requires_grad_(), v, range(n)), pattern, True, 0.7)


def by_hand(pattern: BySign, q: Tensor, k: Tensor, valid: list[bool]) -> list[set[int]]:
    """What each query (n d) of one head reads, counted key by key."""
    asking, asked = (pattern.choose(t[None, :, None], "key")[:, 0, 0].tolist() for t in (q, k))
    found = []
    for i in range(len(q)):
        mine: set[int] = set()
        for r in range(pattern.rounds):
            last = i + 1 if pattern.own else i
            earlier = [j for j in range(last) if valid[j] and asked[r][j] == asking[r][i]]
            mine |= set(earlier[-pattern.size :])
        if pattern.otherwise == "self" and not mine:
            mine = {i}
        found.append(mine if valid[i] else set())
    return found


CASES = [
    BySign(), BySign(size=1, rounds=1), BySign(own=True), BySign(size=50), BySign(size=4, shared=False), Self(rounds=1),
    BySign(size=2, own=True, shared=False, rounds=3), Self(size=5, shared=False),
]  # fmt: skip


@pytest.mark.parametrize("pattern", CASES)
@pytest.mark.parametrize("padded", [False, True])
def test_a_query_reads_the_last_keys_of_its_bucket(pattern, padded):
    valid = torch.arange(N) < torch.tensor([[N], [22]]) if padded else None
    read = read_of(pattern, valid)
    found = allowed(read)

    for b in range(B):
        there = [True] * N if valid is None else valid[b].tolist()
        for h in range(H):
            wanted = by_hand(pattern, read.q[b, :, h], read.slots.k[b, :, h], there)
            for i in range(N):
                if there[i]:
                    assert set(found[b, h, i].nonzero()[:, 0].tolist()) == wanted[i]


@pytest.mark.parametrize("pattern", CASES)
@pytest.mark.parametrize("padded", [False, True])
def test_tiles_equal_the_reference_with_gradients(pattern, padded):
    valid = torch.arange(N) < torch.tensor([[N], [22]]) if padded else None
    read = read_of(pattern, valid)

    for terms in ((), (Bends(H, D),)):
        error, executor = distance([Read(read.q, read.queries, read.slots, pattern, True, 0.7, terms)])
        assert executor == "explicit"
        assert error < 1e-12


@pytest.mark.parametrize("pattern", CASES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 13])
def test_short_sequences(pattern, n):
    assert distance([read_of(pattern, n=n)], executor="explicit")[0] < 1e-12


@pytest.mark.parametrize("pattern", CASES)
def test_each_pair_lies_in_one_tile(pattern):
    read = read_of(pattern)
    q_tags, k_tags = pattern.tags(read.q, read.slots.k, read.queries)
    times = torch.zeros(B, H, N, N, dtype=torch.long)
    for tiles in pattern.sorted_cover(q_tags, k_tags):
        for b, h in ((b, h) for b in range(B) for h in range(H)):
            rows = tiles.queries[b, h].flatten()
            assert (rows[rows >= 0].unique(return_counts=True)[1] == 1).all()
            for some, cols in zip(tiles.queries[b, h], tiles.keys[b, h], strict=True):
                some, cols = some[some >= 0], cols[cols >= 0]
                asking = Point(at=some[:, None], tags={name: t[b, h, some][:, None] for name, t in q_tags.items()})
                asked = Point(at=cols[None], tags={name: t[b, h, cols][None] for name, t in k_tags.items()})
                times[b, h, some[:, None], cols[None]] += tiles.allows(asking, asked).long()
    at = torch.arange(N)
    asking = Point(at=at[:, None], tags={name: t[..., None] for name, t in q_tags.items()})
    asked = Point(at=at[None], tags={name: t[..., None, :] for name, t in k_tags.items()})

    assert (times == pattern.allows(asking, asked).long()).all()


@pytest.mark.parametrize(("shared", "wanted"), [(True, (13, 3, 6)), (False, (28, 3, 6))])
def test_tiles_have_a_size_that_contents_do_not_change(shared, wanted):
    pattern = BySign(size=3, shared=shared)
    with torch.device("meta"):
        q = torch.empty(B, N, H, D)
        made = pattern.sorted_cover(*pattern.tags(q, q, Axis(range(N))))

    for tiles in made:
        assert tiles.queries.shape == (B, H, *wanted[:2])
        assert tiles.keys.shape == (B, H, wanted[0], wanted[2])
    assert sum(t.queries.numel() * t.keys.shape[3] for t in made) <= B * H * 2 * (2 * N + 3 * 4 + 3) * 6


@pytest.mark.parametrize("pattern", CASES)
def test_rows_that_follow_change_nothing(pattern):
    read = read_of(pattern)
    q_tags, k_tags = pattern.tags(read.q, read.slots.k, read.queries)
    for n in (1, 10, 23):
        q_short, k_short = pattern.tags(read.q[:, :n], read.slots.k[:, :n], Axis(range(n)))
        for short, whole in ((q_short, q_tags), (k_short, k_tags)):
            assert all(torch.equal(short[name], whole[name][..., :n]) for name in whole)


def run(pattern: BySign, read: Read, cuts: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """The answers to rows that come piece by piece, and the state at the end."""
    state = pattern.start(B, (H, D, E), read.q.new_empty(B, 0, 1))
    out, edges = [], [0, *cuts, read.q.shape[1]]
    for low, high in zip(edges, edges[1:], strict=False):
        q, k, v = (t[:, low:high] for t in (read.q, read.slots.k, read.slots.v))
        grown = pattern.extend(q, k, v, Axis(range(low, high)), state)
        state = dict(grown.state)
        told = Told(pattern, grown.asking, grown.slots.tags)
        out.append(attend_reference([Read(q, Axis(range(low, high)), grown.slots, told, True, 0.7)]))
        shapes = {name: tuple(t.shape[1:]) for name, t in state.items()}
        assert shapes == pattern.state_shape(high, (H, D, E))
    return torch.cat(out, 1), state


@pytest.mark.parametrize("pattern", CASES)
@pytest.mark.parametrize("cuts", [list(range(1, N)), [5, 6, 20], [30]])
def test_rows_that_come_in_pieces(pattern, cuts):
    read = read_of(pattern)

    assert (run(pattern, read, cuts)[0] - attend_reference([read])).abs().max() < 1e-12


@pytest.mark.parametrize("n", [1, 23])
def test_a_call_with_a_state_chooses_once(n):
    """Also the first one, whose rows are answered by tiles."""
    made = mixer(attention(heads=3, pattern=part("pattern", "lsh", buckets=4, rounds=2, chunk=4, form="strict")), 12)
    (group,) = made.inner.groups
    x, calls = rows(1, 2 * n, 12), []
    with mock.patch.object(type(group.pattern), "choose", watched(type(group.pattern).choose, calls)):
        first = made(x[:, :n], Axis(range(n)), made.start(1, x))
        made(x[:, n:], Axis(range(n, 2 * n)), first.state)

    assert calls == ["query", "key"] * 2
    torch.testing.assert_close(first.x, made(x[:, :n], Axis(range(n))).x, rtol=0, atol=1e-12)


def watched(choose, calls: list[str]):
    def seen(self, x, side):
        calls.append(side)
        return choose(self, x, side)

    return seen


def test_a_state_keeps_no_more_than_can_be_read():
    pattern = BySign(size=1, rounds=2)
    _, state = run(pattern, read_of(pattern), list(range(1, N)))

    assert pattern.most == 8
    assert state["k"].shape[1] == 8
    here = state["at"] < NEVER
    assert not here.all()
    for b, h in ((b, h) for b in range(B) for h in range(H)):
        assert state["at"][b, :, h][here[b, :, h]].diff().gt(0).all()
    assert (state["counts"].sum(-1) == N).all()


def test_states_are_reordered_by_index():
    pattern, swap = BySign(), torch.tensor([1, 0])
    read = read_of(pattern)
    _, state = run(pattern, read, [9])
    swapped = reorder(state, swap)  # type: ignore[arg-type]
    q, k, v = (t[:, :2] for t in (read.q, read.slots.k, read.slots.v))
    one = pattern.extend(q, k, v, Axis(range(N, N + 2)), state)
    other = pattern.extend(q[swap], k[swap], v[swap], Axis(range(N, N + 2)), swapped)

    for name, t in one.state.items():
        assert torch.equal(other.state[name], t[swap])


def test_rows_that_hold_no_token_are_in_nobodys_bucket():
    pattern = BySign()
    valid = torch.arange(N) < torch.tensor([[N], [22]])
    read = read_of(pattern, valid)
    q_tags, k_tags = pattern.tags(read.q, read.slots.k, read.queries)

    assert (q_tags["bucket.0"][1, :, 22:] == NOBODY).all()
    assert (k_tags["bucket.1"][1, :, 22:] == NOWHERE).all()


@pytest.mark.parametrize(
    ("written", "causal", "found"),
    [(None, "strict", "strict"), (None, "value", "published"), (None, "none", "published"),
     ("published", "strict", "published"), ("strict", "value", "strict")],
)  # fmt: skip
def test_the_form_that_a_spec_means(written, causal, found):
    assert form_of(written, causal) == found


def test_there_is_no_strict_form_in_an_encoder():
    with pytest.raises(PartError, match="the strict form is for decoders"):
        form_of("strict", "none")
