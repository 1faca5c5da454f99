"""Sorted blocks against loops over blocks, with a balancing that divides plain numbers; and who may read them."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from xcompose_plugins.memory.sinkhorn import balanced, balanced_so_far
from yaml import SafeLoader

import xcompose as xc
from tests.plugins.helpers import attention, context, mixer, part, pattern, rows
from tests.plugins.memory.naive import (
    agree,
    decodes,
    is_strict,
    padding_counts_for_nothing,
    source_of,
    summarises_a_source,
)
from xcompose.attention.explain import recording
from xcompose.attention.places import Stairs
from xcompose.attention.reads import Axis
from xcompose.compose.parts import View
from xcompose.diagnostics import PartError

B, C, H, G, D, F, L = 2, 12, 6, 3, 2, 3, 19
"""A block has F tokens, and the longest sequence L."""
KINDS: dict[str, dict[str, Any]] = {
    "plain": {}, "per head": {"per_head": True}, "rows alone": {"columns": False}, "cold": {"temperature": 0.25},
    "once": {"iterations": 1, "per_head": True},
}  # fmt: skip


def sinkhorn(**given):
    return part("memory", "sinkhorn", block=F, **given)


def over(memory, **given):
    given = {"pattern": pattern("blocks", size=F), **given}
    return attention(heads=H, kv_heads=G, memory=memory, **given)


def made_of(memory, causal: str, **given):
    return mixer(over(memory, **given), C, causal, length=L)


def divided(scores: list[list[Tensor]], memory: Any, causal: bool) -> list[list[Tensor]]:
    """The weights of places i and blocks j, balanced by division."""
    s = [[score.exp() for score in row] for row in scores]
    for _ in range(memory.rounds):
        s = [[one / sum(row) for one in row] for row in s]
        if memory.columns:
            down = range(len(s))
            later = [[sum(s[m][j] for m in down if j < len(s[m]) and (m <= i or not causal)) for j in range(len(s[i]))]
                     for i in down]  # fmt: skip
            s = [[s[i][j] / later[i][j] for j in range(len(s[i]))] for i in down]
    return s


def sorted_blocks(made: Any, x: Tensor, k: Tensor, v: Tensor, g: int, causal: bool) -> list[list[tuple]]:
    """Of one sequence (n ...) and key/value head: of each block the slots (key, value, weight) of its sorted block."""
    memory = made.inner.memories[0]
    sorter = memory.sorters[g if len(memory.sorters) > 1 else 0]
    n = len(x)
    count = -(-n // F)
    scores = []
    for i in range(count):
        below = range(i * F + 1) if causal else range(i * F, min(n, i * F + F))
        hidden = (sorter.hidden.weight @ sum(x[t] for t in below) + sorter.hidden.bias).clamp(min=0)
        found = (sorter.scores.weight @ hidden + sorter.scores.bias).clamp(min=0) / memory.temperature
        scores.append([found[j] for j in range(i if causal else count)])
    s = scores[:1] + divided(scores[1:], memory, True) if causal else divided(scores, memory, False)
    blocks = []
    for row in s:
        slots = []
        for t in range(F if row else 0):
            there = [j for j in range(len(row)) if j * F + t < n]
            total, share = sum(row), sum([row[j] for j in there], torch.zeros(()).double())
            if not there:
                continue
            key, value = (sum(row[j] * one[j * F + t, g] for j in there) / (share / total) for one in (k, v))
            slots.append((key, value, share / total))
        blocks.append(slots)
    return blocks


def naive(made: Any, x: Tensor, causal: bool, source: Tensor | None = None) -> Tensor:
    """What attention answers, query after query."""
    cut = None if causal else made.inner.memories[0].cut
    y, n = x if source is None else source, x.shape[1]
    out = torch.zeros(len(x), n, H, D, dtype=torch.float64)
    q, (k, v) = made.q(x).unflatten(2, (H, D)), (layer(y).unflatten(2, (G, -1)) for layer in (made.k, made.v))
    for b in range(len(x)):
        sorted_ = [sorted_blocks(made, y[b], k[b], v[b], g, causal) for g in range(G)]
        for h in range(H):
            g = h // (H // G)
            blocks = sorted_[g]
            for i in range(n):
                own = [] if cut else [j for j in range(n) if j // F == i // F and (j <= i or not causal)]
                read = [(k[b, j, g], v[b, j, g], torch.ones(())) for j in own]
                read += blocks[i // F] if cut is None else [slot for block in blocks[:cut] for slot in block]
                logits = torch.stack([q[b, i, h] @ key / sqrt(D) + torch.log(weight) for key, _, weight in read])
                out[b, i, h] = sum(w * value for w, (_, value, _) in zip(logits.softmax(0), read, strict=True))
    return made.out(out.flatten(2))


@pytest.mark.parametrize("n", [11, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_formula_and_gradients(kind, causal, n):
    made = made_of(sinkhorn(**KINDS[kind]), "strict" if causal else "none")
    made.eval()
    x = rows(B, n, C).requires_grad_()

    found = made(x, Axis(range(n), total=None if causal else n)).x

    agree(found, naive(made, x, causal), [x, *made.parameters()])


@pytest.mark.parametrize("cut", [1, 9])
@pytest.mark.parametrize("kind", ["plain", "per head"])
def test_every_query_reads_the_first_sorted_blocks(kind, cut):
    n = 11
    made = made_of(sinkhorn(cut=cut, **KINDS[kind]), "none", pattern="none")
    made.eval()
    x = rows(B, n, C).requires_grad_()

    agree(made(x, Axis(range(n), total=n)).x, naive(made, x, False), [x, *made.parameters()])


@pytest.mark.parametrize("kind", ["plain", "per head"])
def test_a_cross_layer_reads_the_first_sorted_blocks_of_its_source(kind):
    made = mixer(over(sinkhorn(cut=2, **KINDS[kind]), pattern="none"), C, "none", role="cross", length=L)
    made.eval()
    x, source = rows(B, 5, C), source_of(11, C)

    found = made(x, Axis(range(5)), None, source).x

    torch.testing.assert_close(found, naive(made, x, False, source.x), rtol=0, atol=1e-11)
    state = summarises_a_source(made, 5, 11)
    assert state == {
        "source.0.k": (0, G, D), "source.0.v": (0, G, D), "source.1.k": (6, G, D), "source.1.v": (6, G, D),
        "source.1.log_weight": (6,) if kind == "plain" else (H, 6),
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_it_says_the_same(kind):
    made = made_of(sinkhorn(**KINDS[kind]), "strict", position="rotary")
    made.eval()

    for n in (11, 12, 13):
        decodes(made, n)
    is_strict(made, 11)
    padding_counts_for_nothing(made, 11, causal=True)


@pytest.mark.parametrize("cut", [None, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_of_an_encoder_counts_for_nothing(kind, cut):
    made = made_of(sinkhorn(cut=cut, **KINDS[kind]), "none", position="rotary")
    made.eval()

    padding_counts_for_nothing(made, 11)
    padding_counts_for_nothing(made, 12)


def test_the_state_is_that_of_the_catalogue():
    """All keys and values, since each new block mixes all before it; the sorted block of now; a sum; and what the
    columns have added up to in each round, without which the next row could not be balanced."""
    found = {kind: made_of(sinkhorn(**KINDS[kind]), "strict").state_shape(11) for kind in ("per head", "rows alone")}

    alike = {
        "tokens.0.k": (2, G, D), "tokens.0.v": (2, G, D), "tokens.0.at": (2,),
        "memory.0.k": (11, G, D), "memory.0.v": (11, G, D), "memory.0.at": (11,), "memory.0.sums": (C,),
        "memory.0.sorted.k": (F, G, D), "memory.0.sorted.v": (F, G, D), "memory.0.sorted.at": (F,),
    }  # fmt: skip
    assert found == {"per head": {**alike, "memory.0.columns": (5, G, 7)}, "rows alone": alike}


def test_blocks_are_sorted_once_a_block(monkeypatch):
    made, asked = made_of(sinkhorn(), "strict").eval(), []
    memory = made.inner.memories[0]
    scores = memory.scores
    monkeypatch.setattr(
        memory, "scores", lambda sums, columns, like: asked.append(len(taken)) or scores(sums, columns, like)
    )
    x, state, taken = rows(B, 11, C), made.start(B, rows(B, 11, C)), []

    for i in range(11):
        state = made(x[:, i : i + 1], Axis(range(i, i + 1)), state).state
        taken.append(i)

    assert asked == [F, 2 * F, 3 * F]


def scores_of(*shape: int, spread: float = 1.0) -> Tensor:
    return spread * rows(1, 1, *shape, seed=4)


def test_rows_and_columns_sum_to_one():
    weights = balanced(scores_of(7, 7), 60, True, None)[0, 0]

    torch.testing.assert_close(weights.sum(0), torch.ones(7).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(weights.sum(1), torch.ones(7).double(), rtol=0, atol=1e-9)


def test_where_blocks_are_missing_the_others_are_balanced_as_if_alone():
    scores, there = scores_of(7, 7), torch.tensor([[True] * 4 + [False] * 3])

    weights = balanced(scores, 5, True, there)[0, 0]

    torch.testing.assert_close(weights[:4, :4], balanced(scores[..., :4, :4], 5, True, None)[0, 0], rtol=0, atol=1e-15)
    assert weights[4:].eq(0).all()
    assert weights[:, 4:].eq(0).all()


def test_scores_far_apart_give_a_permutation_when_it_is_cold():
    order = torch.tensor([3, 0, 4, 1, 2])
    scores = scores_of(5, 5, spread=0.1)
    scores[0, 0, torch.arange(5), order] += 1

    found = [balanced(scores / tau, 20, True, None)[0, 0] for tau in (1.0, 0.1, 0.01)]

    wanted = torch.eye(5, dtype=torch.float64)[order]
    distances = [(one - wanted).abs().max() for one in found]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-12


def test_a_cold_permutation_puts_whole_blocks_beside_others():
    """The slots of each block are the keys and values of the one that comes to stand beside it."""
    n = 4 * F
    made = made_of(sinkhorn(temperature=1e-3, iterations=20), "none")
    memory, order = made.inner.memories[0].eval(), [2, 3, 1, 0]
    memory.scores = lambda sums, columns, like: 40 * torch.eye(4).double()[order].expand(B, 1, 4, 4)
    x, k, v = rows(B, n, C), rows(B, n, G, D, seed=1), rows(B, n, G, D, seed=2)

    slots, losses = memory.slots(k, v, Axis(range(n), total=n), View(x, made._asked, made._keys))

    assert losses == {}
    assert slots.at == range(n)
    assert slots.log_weight is None
    for i, j in enumerate(order):
        for found, source in ((slots.k, k), (slots.v, v)):
            torch.testing.assert_close(found[:, i * F : i * F + F], source[:, j * F : j * F + F], rtol=0, atol=1e-9)


def leak(weights_of: Any) -> float:
    """How far the first rows of a balanced matrix move when the scores of the last row do."""
    scores = scores_of(7, 7)
    other = scores.clone()
    other[..., -1, :] = 3 * scores_of(7, 7).flip(3)[..., -1, :]
    return (weights_of(scores) - weights_of(other))[..., :-1, :].abs().max().item()


def test_a_mask_alone_would_leak_and_columns_that_end_with_each_row_do_not():
    """As published, what is masked is left out, but a column is still divided by the sum of all its rows."""
    opens = torch.ones(7, 7, dtype=torch.bool).tril()

    def published(scores):
        s = scores.exp() * opens
        for _ in range(5):
            s = s / s.sum(-1, keepdim=True)
            s = s / s.sum(-2, keepdim=True)
        return s

    def ours(scores):
        return balanced_so_far(scores, torch.full((1, 5, 1, 7), -1e30).double(), True, opens)[0]

    assert leak(published) > 0.1
    assert leak(ours) == 0
    assert ours(scores_of(7, 7)).triu(1).eq(0).all()


def test_in_a_decoder_a_block_always_finds_the_one_before_it():
    """Its column begins with this row, so that the last step makes its weight 1."""
    opens = torch.ones(7, 7, dtype=torch.bool).tril()

    weights, after = balanced_so_far(scores_of(7, 7), torch.full((1, 5, 1, 7), -1e30).double(), True, opens)

    torch.testing.assert_close(weights.diagonal(0, 2, 3), torch.ones(1, 1, 7).double(), rtol=0, atol=1e-14)
    assert after.shape == (1, 5, 1, 7)


@pytest.mark.parametrize("causal", ["strict", "none"])
def test_one_block_is_read_as_without_sorting(causal):
    """An encoder reads it twice, which is the same; a decoder has nothing before it."""
    made = made_of(sinkhorn(), causal).eval()
    plain = mixer(attention(heads=H, kv_heads=G, pattern=pattern("blocks", size=F)), C, causal)
    plain.load_state_dict({name: t for name, t in made.state_dict().items() if "memory" not in name})
    x, axis = rows(B, F, C), Axis(range(F), total=None if causal == "strict" else F)

    torch.testing.assert_close(made(x, axis).x, plain(x, axis).x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("causal", "cut"), [("strict", None), ("none", None), ("none", 2)])
def test_answers_are_linear_in_the_values(causal, cut):
    """For twice the values twice the answer, and nothing for nothing: keys are not read in place of values."""
    made = made_of(sinkhorn(cut=cut), causal, pattern="none" if cut else pattern("blocks", size=F)).eval()
    x, axis, found = rows(B, 11, C), Axis(range(11), total=None if causal == "strict" else 11), []
    for factor in (1, 2, 0):
        with torch.no_grad():
            layer, bias = made.v, made.out.bias
            kept = layer.weight.clone(), layer.bias.clone()
            layer.weight.mul_(factor), layer.bias.mul_(factor)
            found.append(made(x, axis).x - bias)
            layer.weight.copy_(kept[0]), layer.bias.copy_(kept[1])

    torch.testing.assert_close(found[1], 2 * found[0], rtol=0, atol=1e-12)
    assert found[0].abs().max() > 0.1
    assert found[2].eq(0).all()


@pytest.mark.parametrize("causal", ["strict", "none"])
def test_where_rows_sum_to_one_values_of_one_are_answered_by_one(causal):
    made = made_of(sinkhorn(columns=False), causal, out=False).eval()
    with torch.no_grad():
        made.v.weight.zero_()
        made.v.bias.fill_(1.0)
    x, axis = rows(B, 11, C), Axis(range(11), total=None if causal == "strict" else 11)

    torch.testing.assert_close(made(x, axis).x, torch.ones(B, 11, C).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", ["strict", "none"])
def test_noise_is_drawn_while_training_alone(causal):
    made, axis = made_of(sinkhorn(), causal), Axis(range(11), total=None if causal == "strict" else 11)
    still = made_of(sinkhorn(noise=0.0), causal)
    x = rows(B, 11, C)
    before = torch.get_rng_state()

    made.eval()
    first, again, quiet = made(x, axis).x, made(x, axis).x, still(x, axis).x
    untouched = torch.equal(torch.get_rng_state(), before)
    made.train()
    noisy, other = made(x, axis).x, made(x, axis).x

    assert torch.equal(first, again)
    assert torch.equal(first, quiet)
    assert untouched
    assert (noisy - first).abs().max() > 1e-3
    assert (noisy - other).abs().max() > 1e-3


def test_noise_has_the_distribution_of_gumbel():
    memory = made_of(sinkhorn(temperature=0.5, noise=2.0), "none").inner.memories[0]
    sums = rows(B, 5, C)
    draws = torch.stack([memory.train().scores(sums, 5, sums) for _ in range(400)])

    noise = (draws - memory.eval().scores(sums, 5, sums)) * 0.5 / 2

    torch.testing.assert_close(noise.mean(), torch.tensor(0.5772).double(), rtol=0, atol=0.02)
    torch.testing.assert_close(noise.var(), torch.tensor(torch.pi**2 / 6).double(), rtol=0, atol=0.05)


SMALL = """
    xcompose: 1
    model:
      type: {kind}
      vocab: 31
      length: 24
      dim: 12
      heads: 2
      head_dim: 6
      layers: 2
      residual: {residual}
      mixer: attention(pattern=blocks(4), memory=sinkhorn(4))
"""


def gradients_of(model: Any) -> list[Tensor]:
    torch.manual_seed(3)
    tokens = torch.randint(0, 31, (B, 22), generator=torch.Generator().manual_seed(1))
    return list(torch.autograd.grad(model(tokens).logits.square().sum(), list(model.parameters())))


def small(residual: str) -> Any:
    torch.manual_seed(0)
    return xc.build(SafeLoader(SMALL.format(kind="decoder", residual=residual)).get_single_data()).double().train()


def test_what_is_computed_again_sees_the_same_noise():
    model, found = small("pre-norm"), []
    for recompute in (False, True):
        model.stack.recompute = recompute
        found.append(gradients_of(model))

    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_reversible_layers_see_the_same_noise(monkeypatch):
    model = small("reversible")
    reversed_, plain = gradients_of(model), None
    with monkeypatch.context() as patched:
        patched.setattr("torch.compiler.is_compiling", lambda: True)
        plain = gradients_of(model)

    for one, other in zip(reversed_, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_heads_in_groups_weigh_their_own_slots():
    """Where every head sorts by itself, slots of which tokens are missing weigh differently for each head."""
    grouped = pattern("heads", of=((2, pattern("blocks", size=F)), (4, pattern("blocks", size=F))))
    one, other = (
        made_of(sinkhorn(per_head=True), "none", pattern=p).eval() for p in (pattern("blocks", size=F), grouped)
    )
    x, axis = rows(B, 11, C), Axis(range(11), total=11)

    torch.testing.assert_close(other(x, axis).x, one(x, axis).x, rtol=0, atol=1e-12)


def test_rows_before_the_tokens_fill_blocks_of_their_own():
    made = mixer(over(sinkhorn()), C, "none", length=L - F, prefix=F).eval()
    plain = made_of(sinkhorn(), "none").eval()
    plain.load_state_dict(made.state_dict())
    x = rows(B, 11, C)

    found = made(x, Axis(range(-F, 11 - F), total=11 - F)).x

    torch.testing.assert_close(found, plain(x, Axis(range(11), total=11)).x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("causal", "n", "executor"), [("strict", 11, "fused"), ("none", 12, "fused"), ("none", 11, "explicit")]
)
def test_sorted_blocks_are_read_by_tiles(causal, n, executor):
    """Where a block is not full its slots weigh less, and gradients flow through what they weigh."""
    made = made_of(sinkhorn(), causal).eval()
    with recording() as choices:
        made(rows(B, n, C), Axis(range(n), total=None if causal == "strict" else n))

    assert [(one.read, one.executor) for one in choices] == [("tokens", executor), ("memory sinkhorn", executor)]


class Largest(TorchDispatchMode):
    """The largest tensor that any operation gives."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for t in tree_leaves(found):
            if isinstance(t, Tensor):
                self.numbers = max(self.numbers, t.numel())
        return found


@pytest.mark.parametrize(("causal", "cut"), [("strict", None), ("none", None), ("none", 2)])
def test_no_tensor_grows_with_the_square_of_the_length(causal, cut):
    memory, given = (
        part("memory", "sinkhorn", block=32, cut=cut),
        pattern("none" if cut else "blocks", **({} if cut else {"size": 32})),
    )
    made = mixer(attention(heads=H, kv_heads=G, pattern=given, memory=memory), C, causal, length=2048).eval()
    sizes_ = []
    for n in (512, 1024, 2048):
        with Largest() as largest:
            x = rows(1, n, C).requires_grad_()
            made(x, Axis(range(n), total=None if causal == "strict" else n)).x.sum().backward()
        sizes_.append(largest.numbers)

    assert sizes_[2] <= 2 * sizes_[1] <= 4 * sizes_[0]


def test_sinkhorn_is_in_single_precision_whatever_the_rest_is():
    made = mixer(over(sinkhorn()), C, "none", length=L).float().eval()
    x = rows(B, 12, C).float()
    whole = made(x, Axis(range(12), total=12)).x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = made(x, Axis(range(12), total=12)).x
        scores = made.inner.memories[0].scores(x.bfloat16().float(), 4, x.bfloat16())
    made = made.bfloat16()
    low = made(x.bfloat16(), Axis(range(12), total=12)).x

    assert scores.dtype == torch.float32
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, rtol=0.1, atol=0.1)
    torch.testing.assert_close(low.float(), whole, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("causal", ["strict", "none"])
def test_huge_scores_and_sequences_of_padding_give_numbers(causal):
    made = made_of(sinkhorn(), causal).eval()
    with torch.no_grad():
        made.inner.memories[0].sorters[0].scores.weight.mul_(1e5)
    x = rows(B, 11, C).requires_grad_()
    valid = torch.tensor([[True] * 11, [False] * 11])

    found = made(x, Axis(range(11), valid, total=None if causal == "strict" else 11)).x
    found.sum().backward()

    assert found.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("causal", ["strict", "none"])
def test_it_compiles(causal):
    made = made_of(sinkhorn(), causal).eval()
    x, axis = rows(B, 11, C), Axis(range(11), total=None if causal == "strict" else 11)

    compiled = torch.compile(lambda rows: made(rows, axis).x, fullgraph=True, backend="eager")

    torch.testing.assert_close(compiled(x), made(x, axis).x, rtol=0, atol=1e-12)


def inside(causal: str, **facts):
    return context(C, causal, heads=H, kv_heads=G, head_dim=D, **facts)


def test_spans():
    decoder, encoder, short = (
        inside(causal, length=L).build(sinkhorn(cut=cut))
        for causal, cut in (("strict", None), ("none", None), ("none", 2))
    )

    assert [list(one) for one in decoder.spans(8)] == [[0] * 6, [2, 2, 2, 6, 6, 6], [3, 4, 5, 6, 7, 8]]
    assert [list(one) for one in encoder.spans(5)] == [[0] * 6, [4] * 6, [0, 1, 2, 3, 4, 5]]
    assert [len(one) for one in short.spans(11)] == [6, 6, 6]
    assert [len(one) for one in decoder.spans(3)] == [0, 0, 0]


def test_where_slots_stand_and_end():
    made = made_of(sinkhorn(), "strict").eval()
    x, k = rows(B, 8, C), rows(B, 8, G, D)

    slots, _ = made.inner.memories[0].slots(k, k, Axis(range(8)), View(x, made._asked, made._keys))

    assert (slots.at, slots.start, slots.end) == (range(3, 9), 0, Stairs(3, 3, 3, 6))


@pytest.mark.parametrize("per_head", [False, True])
def test_parameters(per_head):
    memory = inside("none", length=L).build(sinkhorn(per_head=per_head))

    one = {"hidden.weight": (C, C), "hidden.bias": (C,), "scores.weight": (7, C), "scores.bias": (7,)}
    wanted = {f"sorters.{i}.{name}": shape for i in range(G if per_head else 1) for name, shape in one.items()}
    assert {name: tuple(p.shape) for name, p in memory.named_parameters()} == wanted


REFUSALS = {
    "no length": (
        {}, "none", {},
        ("memory 'sinkhorn' needs the length of the model", "its network gives one score for each block",
         ("model.length: 1Ki",), ""),
    ),
    "no length of the source": (
        {"cut": 2}, "none", {"role": "cross"},
        ("memory 'sinkhorn' needs the length of the source", "its network gives one score for each block",
         ("encoder.length: 1Ki",), ""),
    ),
    "a decoder that cuts": (
        {"cut": 2}, "strict", {"length": L},
        ("a decoder cannot use memory 'sinkhorn' with 'cut'",
         "the sorted blocks that every query reads are mixtures of the whole sequence",
         ("leave cut out: each block then has a sorted block of what came before", "use it in an encoder"), "cut"),
    ),
    "blocks of two sequences": (
        {}, "none", {"length": L, "role": "cross"},
        ("cross-attention cannot use memory 'sinkhorn' without 'cut'",
         "the source has blocks of its own, and none of them stands beside a block of queries",
         ("cut=2, the first sorted blocks for every query",), ""),
    ),
    "rows before the tokens": (
        {}, "none", {"length": L, "prefix": 4},
        ("the 4 rows before the tokens fill no blocks of 3", "", ("a block that divides them",), "block"),
    ),
    "rows alone, balanced often": (
        {"columns": False, "iterations": 9}, "none", {"length": L},
        ("memory 'sinkhorn' has no use for 'iterations' here", "rows alone are balanced after one step",
         ("leave iterations out", "columns=true"), "iterations"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    given, causal, facts, (message, label, fixes, option) = REFUSALS[name]
    with pytest.raises(PartError) as caught:
        inside(causal, **facts).build(sinkhorn(**given))

    error = caught.value
    assert (error.message, error.label, error.fixes, error.option) == (message, label, fixes, option)


@pytest.mark.parametrize("causal", ["strict", "none"])
def test_a_text_that_is_too_long(causal):
    made = made_of(sinkhorn(), causal)
    with pytest.raises(ValueError, match="a sequence of 20 tokens is longer than the 19 of memory 'sinkhorn'"):
        made(rows(B, 20, C), Axis(range(20), total=None if causal == "strict" else 20))
