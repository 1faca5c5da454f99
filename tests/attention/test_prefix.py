"""Rows before the tokens, at positions below 0: every executor, every pattern, and how pairs are counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from xcompose_plugins.patterns.none import Nothing
from xcompose_plugins.patterns.prefix import Prefix

from tests.attention.reading import PATTERNS, Bends
from xcompose.api import Axis, Difference, Everything, Intersection, Pattern, Read, Slots, Union
from xcompose.attention.attend import attend
from xcompose.attention.counts import pairs
from xcompose.attention.reference import attend_reference
from xcompose.attention.tiles import Layout
from xcompose.attention.visible import visible_matrix

B, H, D, G, N = 2, 2, 5, 3, 101
ALL = {
    **PATTERNS,
    "prefix": Prefix(),
    "keys": Prefix(side="keys"),
    "tokens": Difference((Everything(), Prefix(side="keys"))),
    "etc": Union((PATTERNS["window"], Prefix())),
    "pieces": Difference((PATTERNS["window"], Prefix())),
    "only": Intersection((Prefix(), Everything())),
}


def reading(pattern: Pattern, queries: range, terms: tuple = (), valid: torch.Tensor | None = None) -> Read:
    draws = torch.Generator().manual_seed(7)
    q, k, v = (torch.randn(B, n, H, D, generator=draws, dtype=torch.float64) for n in (len(queries), G + N, G + N))
    weight = None if valid is None else torch.zeros(valid.shape, dtype=torch.float64).masked_fill(~valid, -torch.inf)
    slots = Slots(k.requires_grad_(), v.requires_grad_(), range(-G, N), log_weight=weight)
    return Read(q.requires_grad_(), Axis(queries, total=N), slots, pattern, False, D**-0.5, terms)


def agree(read: Read, executor: str) -> None:
    sides = [read.q, read.slots.k, read.slots.v]
    found, wanted = attend([read], executor=executor), attend_reference([read])
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    for one, other in zip(*(torch.autograd.grad(y, sides, upstream) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("executor", ["fused", "explicit", "cached"])
@pytest.mark.parametrize("name", ALL)
def test_every_pattern_reads_what_its_predicate_says(name, executor):
    agree(reading(ALL[name], range(-G, N)), executor)


@pytest.mark.parametrize("queries", [range(-G, 0), range(0, N), range(-1, 40), range(-G, -1)])
@pytest.mark.parametrize("name", ["etc", "random", "global", "pieces"])
def test_some_of_the_queries(name, queries):
    agree(reading(ALL[name], queries), "fused")


def test_a_read_of_everything():
    agree(reading(Everything(), range(-G, N)), "sdpa")


def test_terms_see_the_places():
    agree(reading(ALL["etc"], range(-G, N), (Bends(H, D),)), "explicit")


def test_padding():
    valid = torch.arange(-G, N) < torch.tensor([[N], [17]])
    agree(reading(ALL["etc"], range(-G, N), valid=valid), "fused")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n", [40, 101])
def test_pairs_are_counted(name, n):
    wanted = visible_matrix(ALL[name], G + n, False, prefix=G)

    assert pairs(ALL[name], n, False, prefix=G) == wanted.sum()


@pytest.mark.parametrize("name", ALL)
def test_a_plan_counts_at_least_its_pairs(name):
    at = range(-G, N)
    layout = Layout(ALL[name], at, at, None, None, False, N)

    assert pairs(ALL[name], N, False, prefix=G) <= min(layout.plan().pairs(), layout.pairs())


@pytest.mark.parametrize("name", ALL)
def test_what_is_said_of_prefix_pairs_is_true(name):
    pattern = ALL[name]
    with_prefix = np.ones((G + N, G + N), dtype=bool)
    with_prefix[G:, G:] = False
    found = visible_matrix(pattern, G + N, False, prefix=G)[0][with_prefix]

    assert {"all": found.all(), "none": not found.any(), "some": True}[pattern.prefix_pairs]


def test_nothing_is_nothing_with_a_prefix_too():
    assert pairs(Nothing(), N, False, prefix=G) == 0
