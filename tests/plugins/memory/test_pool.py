"""Pooled memory against means and maxima written as loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, context, mixer, part, rows
from tests.plugins.memory.naive import (
    agree,
    answered,
    decodes,
    is_strict,
    padding_counts_for_nothing,
    source_of,
    summarises_a_source,
)
from xcompose.attention.reads import Axis

B, N, C, H, G, D, F = 2, 8, 12, 6, 3, 2, 3
KINDS = [{"by": by, "of": of} for by in ("mean", "max") for of in ("keys", "rows")]


def over(**given):
    memory = part("memory", "pool", factor=F, **given)
    return attention(heads=H, kv_heads=G, pattern="none", memory=memory, position="rotary")


def plain(**given):
    memory = part("memory", "pool", factor=F, **given)
    return attention(heads=H, kv_heads=G, pattern="none", memory=memory)


def pooled(t: Tensor, count: int, by: str) -> list[Tensor]:
    """(b ...) of each block: of the tokens that there are."""
    found = []
    for c in range(count):
        members = [t[:, j] for j in range(c * F, min(c * F + F, t.shape[1]))]
        found.append(sum(members) / len(members) if by == "mean" else torch.stack(members).max(0).values)
    return found


def slots_of(made, x: Tensor, count: int, by: str, of: str) -> tuple[list[Tensor], list[Tensor]]:
    if of == "rows":
        return tuple([layer(t).unflatten(1, (G, D)) for t in pooled(x, count, by)] for layer in (made.k, made.v))  # type: ignore[return-value]
    return tuple(pooled(layer(x).unflatten(2, (G, D)), count, by) for layer in (made.k, made.v))  # type: ignore[return-value]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_formula_and_gradients(kind, causal):
    made = mixer(plain(null="zero" if causal else "none", **kind), C, "strict" if causal else "none")
    x = rows(B, N, C).requires_grad_()
    keys, values = slots_of(made, x, N // F if causal else -(-N // F), **kind)
    ends = [c * F + F - 1 for c in range(len(keys))]
    if causal:
        zero = torch.zeros(B, G, D, dtype=torch.float64)
        keys, values, ends = [*keys, zero], [*values, zero], [*ends, -1]

    found = made(x, Axis(range(N), total=None if causal else N)).x

    agree(found, answered(made, x, keys, values, ends, causal), [x, *made.parameters()])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_step_by_step_it_says_the_same(kind):
    made = mixer(over(null="learned", **kind), C)

    decodes(made, 11)
    is_strict(made, 7)
    padding_counts_for_nothing(made, 7, causal=True)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_padding_of_an_encoder_counts_for_nothing(kind):
    padding_counts_for_nothing(mixer(over(**kind), C, "none"), N)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gradients_are_finite_where_a_block_holds_padding_only(kind):
    made, x = mixer(over(**kind), C, "none"), rows(B, N, C).requires_grad_()
    valid = torch.arange(N) < torch.tensor([N, 2])[:, None]

    made(x * valid[..., None], Axis(range(N), valid, total=N)).x[valid].sum().backward()

    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in made.parameters())


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_cross_layer_reads_a_source_that_is_pooled(kind):
    made = mixer(plain(**kind), C, "none", role="cross")
    x, source = rows(B, N, C), source_of(11, C)
    keys, values = slots_of(made, source.x, 4, **kind)

    torch.testing.assert_close(
        made(x, Axis(range(N)), None, source).x, answered(made, x, keys, values, [0] * 4, False), rtol=0, atol=1e-11
    )
    assert summarises_a_source(made, N, 11) == {
        "source.0.k": (0, G, D), "source.0.v": (0, G, D), "source.1.k": (4, G, D), "source.1.v": (4, G, D),
    }  # fmt: skip


def test_blocks_of_one_are_the_tokens():
    memory = part("memory", "pool", factor=1)
    slots, tokens = (
        attention(heads=H, kv_heads=G, pattern=p, memory=m) for p, m in (("none", memory), ("dense", None))
    )
    x = rows(B, N, C)
    for causal in ("strict", "none"):
        axis = Axis(range(N), total=N if causal == "none" else None)
        found, wanted = (mixer(one, C, causal)(x, axis).x for one in (slots, tokens))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_it_has_no_weights():
    inside = context(C, heads=H, kv_heads=G, head_dim=D)
    memory, null = inside.build(part("memory", "pool", factor=F, null="learned"))

    assert list(memory.parameters()) == []
    assert {name: tuple(p.shape) for name, p in null.named_parameters()} == {"k": (1, G, D), "v": (1, G, D)}
