"""Linformer against the formula, in its four ways to share projections."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import attention, context, mixer, part, rows
from tests.plugins.memory.naive import agree, answered, padding_counts_for_nothing, source_of, summarises_a_source
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

B, N, C, H, G, D, R, LENGTH = 2, 7, 12, 6, 3, 2, 5, 11
SHARES = ("none", "headwise", "key-value", "layerwise")


def options(share: str = "headwise"):
    memory = part("memory", "linformer", rank=R, share=share)
    return attention(heads=H, kv_heads=G, pattern="none", memory=memory)


def matrices(made) -> tuple[torch.Tensor, torch.Tensor]:
    """E and F of each key/value head: (g r length)."""
    memory = made.inner.memories[0]
    found = [layer.weight.reshape(-1, R, LENGTH) for layer in (memory.e, memory.f)]
    return tuple(m.expand(G, R, LENGTH) for m in found)  # type: ignore[return-value]


def naive(made, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    n = source.shape[1]
    e, f = matrices(made)
    k, v = (layer(source).reshape(B, n, G, D) for layer in (made.k, made.v))
    keys = [torch.stack([sum(e[g, r, j] * k[:, j, g] for j in range(n)) for g in range(G)], 1) for r in range(R)]
    values = [torch.stack([sum(f[g, r, j] * v[:, j, g] for j in range(n)) for g in range(G)], 1) for r in range(R)]
    return answered(made, x, keys, values, [0] * R, False)


@pytest.mark.parametrize("n", [N, LENGTH])
@pytest.mark.parametrize("share", SHARES)
def test_formula_and_gradients(share, n):
    made, x = mixer(options(share), C, "none", length=LENGTH), rows(B, n, C).requires_grad_()

    agree(made(x, Axis(range(n), total=n)).x, naive(made, x, x), [x, *made.parameters()])


@pytest.mark.parametrize("share", SHARES)
def test_a_cross_layer_keeps_as_many_slots_however_long_the_source(share):
    made, x = mixer(options(share), C, "none", role="cross", length=LENGTH), rows(B, N, C)
    for m in (9, LENGTH):
        source = source_of(m, C)
        torch.testing.assert_close(
            made(x, Axis(range(N)), None, source).x, naive(made, x, source.x), rtol=0, atol=1e-11
        )
        assert summarises_a_source(made, N, m) == {
            "source.0.k": (0, G, D), "source.0.v": (0, G, D), "source.1.k": (R, G, D), "source.1.v": (R, G, D),
        }  # fmt: skip


def test_all_slots_and_an_identity_are_full_attention():
    memory = part("memory", "linformer", rank=N, share="key-value")
    made = mixer(attention(heads=H, pattern="none", memory=memory), C, "none", length=N)
    made.inner.memories[0].e.weight.data = torch.eye(N, dtype=torch.float64)
    dense = mixer(attention(heads=H), C, "none")
    dense.load_state_dict({name: t for name, t in made.state_dict().items() if "memory" not in name})
    x = rows(B, N, C)

    torch.testing.assert_close(made(x, Axis(range(N))).x, dense(x, Axis(range(N))).x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("share", "count"), [("none", 288), ("headwise", 24), ("key-value", 12), ("layerwise", 1)])
def test_projections_of_twelve_layers_of_twelve_heads(share, count):
    around = context(24, "none", length=LENGTH)
    memory = part("memory", "linformer", rank=R, share=share)
    layers = [around.build(attention(heads=12, pattern="none", memory=memory)) for _ in range(12)]
    found = [p for name, p in torch.nn.ModuleList(layers).named_parameters() if "memory" in name]

    assert sum(p.numel() for p in found) == count * R * LENGTH


def test_layers_that_share_have_as_many_slots():
    around = context(C, "none", length=LENGTH)
    around.build(options("layerwise"))

    with pytest.raises(PartError) as caught:
        around.build(
            attention(heads=H, pattern="none", memory=part("memory", "linformer", rank=R + 1, share="layerwise"))
        )

    assert (
        caught.value.message == f"layers that share one projection have one rank: {R + 1} here, {R} in an earlier layer"
    )
    assert caught.value.fixes == (f"rank={R}", "share=key-value")
    assert caught.value.option == "rank"


@pytest.mark.parametrize("share", SHARES)
def test_padding_counts_for_nothing(share):
    padding_counts_for_nothing(mixer(options(share), C, "none", length=LENGTH), N)


def test_a_row_of_padding_only_reads_nothing():
    made = mixer(options(), C, "none", length=LENGTH)
    valid = torch.zeros(B, N, dtype=torch.bool)

    found = made(rows(B, N, C), Axis(range(N), valid, total=N)).x

    torch.testing.assert_close(found, made.out.bias.expand(B, N, C))


def test_every_query_reads_every_position():
    (found,) = mixer(options(), C, "none", length=LENGTH).visible(N)

    assert found.matrix.all()


def test_a_longer_sequence_is_refused():
    made = mixer(options(), C, "none", length=4)

    with pytest.raises(ValueError, match="^a sequence of 7 tokens is longer than the 4 columns of memory 'linformer'$"):
        made(rows(B, N, C), Axis(range(N), total=N))


def test_a_model_without_a_length_is_refused():
    with pytest.raises(PartError) as caught:
        context(C, "none").build(options())

    assert caught.value.message == "memory 'linformer' needs the length of the model"
    assert caught.value.label == "its projections have one column for each position"
    assert caught.value.fixes == ("model.length: 1Ki",)


def test_a_cross_layer_without_the_length_of_its_source_is_refused():
    with pytest.raises(PartError) as caught:
        context(C, "none", role="cross").build(options())

    assert caught.value.message == "memory 'linformer' needs the length of the source"
    assert caught.value.label == "its projections have one column for each position"
    assert caught.value.fixes == ("encoder.length: 1Ki",)
