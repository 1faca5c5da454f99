"""Compressive recurrence against the paper's loop over segments, with queues of rows and of slots, gradients too."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, context, in_unison, mixer, part, ragged, rows, sizes
from xcompose.attention.checks import spans_are_prefix
from xcompose.attention.pattern import NEVER, Point
from xcompose.attention.reads import Axis
from xcompose.compose.build import build_model
from xcompose.diagnostics import PartError
from xcompose.registry import load
from xcompose.spec import load_text

B, N, C, H, D = 2, 29, 12, 3, 4
BY = ("mean", "max", "conv", "dilated", "most-used")
SIZES = [(4, 4, 3, 2), (4, 6, 5, 2), (6, 6, 2, 3), (3, 6, 7, 3), (4, 8, 1, 4), (2, 4, 3, 1)]
"""L, M, N and r."""


def compressive(size=(4, 6, 5, 2), **more):
    length, memory, compressed, rate = size
    return part("recurrence", "compressive", length=length, memory=memory, compressed=compressed, rate=rate, **more)


def built(size=(4, 6, 5, 2), position="none", **more):
    return mixer(attention(heads=H, recurrence=compressive(size, **more), position=position), C)


def linear(layer, x: Tensor) -> Tensor:
    return x @ layer.weight.mT + layer.bias


def squeezed(made, left: Tensor, use: Tensor) -> Tensor:
    """Slots of what left the memory (b m c), which received `use` (b m)."""
    part_of, r = made.inner.memories[1], made.inner.memories[1].rate
    found = []
    if part_of.by == "most-used":
        for b in range(B):
            best = sorted(range(left.shape[1]), key=lambda j: (-float(use[b, j].detach()), j))[: left.shape[1] // r]
            found.append(left[b, sorted(best)])
        return torch.stack(found)
    if part_of.by == "dilated":
        a = part_of.dilation
        for low in range(0, left.shape[1], r * a):
            for t in range(low, low + a):
                taps = torch.cat([left[:, t + i * a] for i in range(r)], 1)
                found.append(linear(part_of.squeeze, taps))
        return torch.stack(found, 1)
    for low in range(0, left.shape[1], r):
        block = left[:, low : low + r]
        if part_of.by == "mean":
            found.append(block.sum(1) / r)
        elif part_of.by == "max":
            found.append(block.max(1).values)
        else:
            found.append(linear(part_of.squeeze, block.reshape(B, -1)))
    return torch.stack(found, 1)


def content(made, asking: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (b h n m) by content alone, and what they read (b n h d)."""
    q = linear(made.q, asking).reshape(B, -1, H, D)
    k, v = (linear(layer, read).reshape(B, -1, H, D) for layer in (made.k, made.v))
    weights = (torch.einsum("bnhd,bmhd->bhnm", q, k) / sqrt(D)).softmax(-1)
    return weights, torch.einsum("bhnm,bmhd->bnhd", weights, v)


class Naive:
    """Segment after segment, with two queues that begin empty."""

    def __init__(self, made, size, distances: str = "none", bptt: bool = False):
        self.made, self.size, self.distances, self.bptt = made, size, distances, bptt
        self.losses: list[Tensor] = []
        self.autoencoded: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        length, memory, compressed, _ = self.size
        kept, slots, found = x[:, :0], x[:, :0], []
        for begin in range(0, x.shape[1], length):
            own = x[:, begin : begin + length]
            found.append(self.segment(own, kept, slots))
            if own.shape[1] < length:
                break
            every = torch.cat([kept, own.detach()], 1)
            left = max(0, every.shape[1] - memory)
            if left:
                use = every.new_zeros(B, left)
                if kept.shape[1]:
                    use = content(self.made, own, kept)[0].sum((1, 2))[:, :left]
                new = squeezed(self.made, every[:, :left], use)
                self.learn(own, every[:, :left], new)
                slots = torch.cat([slots, new if self.bptt else new.detach()], 1)[:, -compressed:]
            kept = every[:, left:]
        return torch.cat(found, 1)

    def segment(self, own: Tensor, kept: Tensor, slots: Tensor) -> Tensor:
        made = self.made
        read = torch.cat([slots, kept, own], 1)
        q = linear(made.q, own).reshape(B, -1, H, D)
        k, v = (linear(layer, read).reshape(B, -1, H, D) for layer in (made.k, made.v))
        out = []
        for i in range(own.shape[1]):
            last = read.shape[1] - own.shape[1] + i + 1
            for h in range(H):
                logits = (q[:, i, None, h] * k[:, :last, h]).sum(-1) / sqrt(D)
                if self.distances != "none":
                    slope = float(made.inner.groups[0].terms[0].slopes[h])
                    logits = logits - slope * self.apart(slots.shape[1], last)
                out.append((logits.softmax(-1)[..., None] * v[:, :last, h]).sum(1))
        return linear(made.out, torch.stack(out, 1).reshape(B, -1, C))

    def apart(self, slots: int, last: int) -> Tensor:
        """How far the query, behind so many slots and rows, is from each of them."""
        steps = last - 1 - torch.arange(last)
        if self.distances == "index":
            return steps
        squeezed = (slots - 1 - torch.arange(slots)) * self.size[3]
        return torch.cat([last - slots + squeezed, steps[slots:]])

    def learn(self, own: Tensor, left: Tensor, new: Tensor) -> None:
        found, wanted = (content(self.made, own.detach(), read)[1] for read in (new, left))
        self.losses.append((found - wanted).square().mean())
        restore = self.made.inner.memories[1].restore
        if restore is not None:
            made, r = self.made.inner.memories[1], self.size[3]
            again = torch.zeros_like(left)
            for k in range(new.shape[1]):
                first, a = k // made.dilation * made.dilation * r + k % made.dilation, made.dilation
                again[:, first : first + (r - 1) * a + 1 : a] = linear(restore, new[:, k]).reshape(B, r, C)
            self.autoencoded.append((again - left).square().mean())


def same(one: Tensor, other: Tensor, atol: float = 1e-11) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


EVERY = [(size, {"by": by}) for size in SIZES for by in BY if by != "dilated"]
EVERY += [
    ((4, 8, 3, 2), {"by": "dilated"}),
    ((6, 6, 4, 2), {"by": "dilated", "dilation": 3}),
    ((4, 6, 5, 2), {"by": "dilated", "dilation": 1}),
]


@pytest.mark.parametrize(("size", "more"), EVERY)
def test_formula_and_gradients(size, more):
    made = built(size, **more)
    x = rows(B, N, C).requires_grad_()

    found, wanted = made(x, Axis(range(N))).x, Naive(made, size)(x)

    same(found, wanted)
    inputs = [x, *(p for name, p in made.named_parameters() if "squeeze" not in name)]
    upstream = rows(B, N, C, seed=3)
    for one, other in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True):
        same(one, other, 1e-9)


def test_slots_are_one_step_each():
    """As far away as in the concatenation of slots, rows and tokens."""
    made = built((4, 6, 5, 2), position="alibi")
    x = rows(B, N, C)

    same(made(x, Axis(range(N))).x, Naive(made, (4, 6, 5, 2), distances="index")(x))


def test_slots_may_stand_where_their_last_row_stood():
    made = built((4, 6, 5, 2), position="alibi", distance="time")
    x = rows(B, N, C)

    same(made(x, Axis(range(N))).x, Naive(made, (4, 6, 5, 2), distances="time")(x))


@pytest.mark.parametrize("position", ["rotary", "transformer-xl"])
def test_positions_that_turn_or_learn_see_steps_too(position):
    """Slots that are the rows themselves (rate 1) are as far away as a longer memory would have them."""
    squeezing = built((3, 3, 9, 1), position, by="mean")
    longer = mixer(
        attention(heads=H, recurrence=part("recurrence", "segments", length=3, memory=12), position=position), C
    )
    x = rows(B, N, C)

    same(squeezing(x, Axis(range(N))).x, longer(x, Axis(range(N))).x)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("cuts", [range(1, N), [4, 8, 12, 20], [2, 5, 6, 17, 23], [19], [12, 13]])
def test_calls_are_one_call(by, cuts):
    made = built((4, 8, 3, 2), "alibi", by=by)
    x = rows(B, N, C)

    found, state = in_unison(made, x, cuts)

    same(found, made(x, Axis(range(N))).x)
    assert sizes(state) == made.state_shape(N)


@pytest.mark.parametrize("by", BY)
def test_sequences_at_different_times(by):
    made = built((4, 8, 3, 2), "alibi", by=by)
    x = rows(B, N, C)
    steps = [[7, 2], [5, 0], [1, 9], [0, 4], [3, 3], [9, 1], [4, 10]]

    found, state = ragged(made, x, steps)

    same(found, made(x, Axis(range(N))).x)
    assert sizes(state) == made.state_shape(N)


@pytest.mark.parametrize("by", BY)
def test_padding_changes_nothing(by):
    made = built((4, 8, 3, 2), by=by)
    x, lengths = rows(3, N, C), torch.tensor([N, 21, 3])
    valid = torch.arange(N) < lengths[:, None]

    found = made(x.masked_fill(~valid[..., None], 0.0), Axis(range(N), valid)).x
    again = in_padded_steps(made, x, valid)

    for b, n in enumerate(lengths.tolist()):
        alone = made(x[b : b + 1, :n], Axis(range(n))).x
        same(found[b : b + 1, :n], alone)
        same(again[b : b + 1, :n], alone)


def in_padded_steps(made, x: Tensor, valid: Tensor) -> Tensor:
    """A prompt that is padded on the right, as one call with a state."""
    return made(x.masked_fill(~valid[..., None], 0.0), Axis(range(N), valid), made.start(len(x), x)).x


@pytest.mark.parametrize("by", BY)
def test_the_future_changes_nothing(by):
    made = built((4, 8, 3, 2), by=by)
    x, other = rows(1, N, C), rows(1, N, C, seed=7)
    before = made(x, Axis(range(N))).x
    for p in (1, 4, 7, 8, 12, 13, 16, 20, 27):
        after = made(torch.cat([x[:, :p], other[:, p:]], 1), Axis(range(N))).x
        assert torch.equal(after[:, :p], before[:, :p])


def test_the_state_is_bounded():
    """M rows and up to L that wait to become such; N slots; L keys and values."""
    for by, more in (("conv", set()), ("most-used", {"memory.1.use"})):
        made = built((4, 8, 3, 2), by=by)
        longest: dict[str, int] = {}
        for n in range(1, 60):
            longest = {name: max(longest.get(name, 0), shape[0]) for name, shape in made.state_shape(n).items()}

        assert {name: longest[name] for name in ("memory.0.x", "memory.1.x", "tokens.0.k")} == {
            "memory.0.x": 11, "memory.1.x": 3, "tokens.0.k": 3,
        }  # fmt: skip
        assert more <= set(longest)


@pytest.mark.parametrize("size", SIZES)
def test_patterns_by_brute_force(size):
    length, memory, compressed, rate = size
    made = built(size, by="mean").inner.memories[1]
    slots = [k * rate + rate - 1 for k in range(48 // rate)]
    for i in range(48):
        begin = i // length * length
        newest = [at for at in slots if at < begin - memory][-compressed:]
        assert [at for at in slots if made.pattern.allows(Point(at=i), Point(at=at))] == newest
    for at in slots[: 12 // rate]:
        readers = [i for i in range(at, 120) if made.pattern.allows(Point(at=i), Point(at=at))]
        assert made.pattern.last_reader(at) == max(readers, default=at)
    assert made.pattern.last_reader(NEVER) >= NEVER


@pytest.mark.parametrize("size", SIZES)
def test_the_cover_holds_every_pair_once(size):
    pattern = built(size, by="mean").inner.memories[1].pattern
    rate = size[3]
    for queries, m in ((range(40), 40 // rate), (range(17, 31), 9), (range(3), 1)):
        keys = range(rate - 1, rate - 1 + m * rate, rate)
        (run,) = pattern.cover(queries, keys, True)
        found = set()
        for t in range(run.count):
            for r in range(run.rows):
                for c in range(run.cols):
                    pair = run.q_start + t * run.q_step + r, run.k_start + t * run.k_step + c * run.k_stride
                    assert pair not in found
                    found.add(pair)
        wanted = {(i, at) for i in queries for at in keys if pattern.allows(Point(at=i), Point(at=at))}
        assert {(i, at) for i, at in found if i in queries and at in keys} == wanted


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("size", [(4, 8, 3, 2), (6, 6, 2, 3), (4, 12, 1, 4)])
def test_spans_are_those_of_a_prefix_and_end_before_they_are_read(size, by):
    apart = {"dilation": 1 if size[3] == 3 or size[0] == size[3] else 2} if by == "dilated" else {}
    made = built(size, by=by, **apart).inner.memories[1]

    assert spans_are_prefix(made.spans) is None
    start, end, at = made.spans(70)
    for s, e, a in zip(start, end, at, strict=True):
        readers = [i for i in range(70) if made.pattern.allows(Point(at=i), Point(at=int(a)))]
        assert 0 <= s <= e < min(readers, default=70)


def test_every_left_row_of_a_dilated_slot_belongs_to_one_slot():
    start, end, _ = built((6, 6, 4, 3), by="dilated", dilation=2).inner.memories[1].spans(24)

    assert [(int(s), int(e)) for s, e in zip(start, end, strict=True)] == [
        (0, 4), (1, 5), (6, 10), (7, 11), (12, 16), (13, 17),
    ]  # fmt: skip


def test_without_slots_it_is_segments():
    plain = mixer(attention(heads=H, recurrence=part("recurrence", "segments", length=4, memory=6)), C)
    made = built((4, 6, 0, 3))
    assert [name for name, _ in made.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert torch.equal(made(rows(B, N, C), Axis(range(N))).x, plain(rows(B, N, C), Axis(range(N))).x)
    none = mixer(attention(heads=H, recurrence=part("recurrence", "segments", length=4, memory=0)), C)
    assert torch.equal(built((4, 0, 0, 3))(rows(B, N, C), Axis(range(N))).x, none(rows(B, N, C), Axis(range(N))).x)


def test_a_dilation_of_one_is_a_convolution():
    x = rows(B, N, C)
    found = [built((4, 6, 5, 2), by="dilated", dilation=1), built((4, 6, 5, 2), by="conv")]

    assert torch.equal(*(made(x, Axis(range(N))).x for made in found))


def test_empty_memories_are_no_memories():
    """Rows or slots of zeros would take a share of the softmax; before there are some there are none."""
    made, plain = (
        built((4, 8, 3, 2)),
        mixer(attention(heads=H, recurrence=part("recurrence", "segments", length=4, memory=8)), C),
    )
    x = rows(B, 12, C)

    same(made(x, Axis(range(12))).x, plain(x, Axis(range(12))).x)
    assert not torch.allclose(made(rows(B, 16, C), Axis(range(16))).x, plain(rows(B, 16, C), Axis(range(16))).x)


# What the weights learn from ------------------------------------------------------------------------------------------


def learned(made) -> list[str]:
    return [name for name, p in made.named_parameters() if p.grad is not None and bool((p.grad != 0).any())]


@pytest.mark.parametrize("loss", ["attention", "autoencode"])
@pytest.mark.parametrize(
    ("size", "by"), [((4, 6, 5, 2), "conv"), ((4, 4, 3, 2), "conv"), ((3, 6, 7, 3), "conv"), ((4, 8, 3, 2), "dilated")]
)
def test_losses_are_their_formulas(size, by, loss):
    made = built(size, by=by, loss=loss).train()
    x, naive = rows(B, N, C), Naive(made, size)
    naive(x)
    wanted = torch.stack(naive.losses if loss == "attention" else naive.autoencoded).mean()

    (found,) = made(x, Axis(range(N))).losses.values()

    same(found, wanted)
    own = [p for name, p in made.named_parameters() if "squeeze" in name or "restore" in name]
    for one, other in zip(*(torch.autograd.grad(y, own) for y in (found, wanted)), strict=True):
        same(one, other, 1e-10)


@pytest.mark.parametrize("loss", ["attention", "autoencode"])
def test_padding_is_no_part_of_a_loss(loss):
    made = built((4, 6, 5, 2), loss=loss).train()
    x, lengths = rows(2, N, C), torch.tensor([N, 13])
    valid = torch.arange(N) < lengths[:, None]

    found = made(x.masked_fill(~valid[..., None], 0.0), Axis(range(N), valid)).losses["compression"]

    each = [made(x[b : b + 1, :n], Axis(range(n))).losses["compression"] for b, n in enumerate(lengths.tolist())]
    groups = [n // 4 - 6 // 4 for n in lengths.tolist()]
    same(found, sum(loss * count for loss, count in zip(each, groups, strict=True)) / sum(groups))


@pytest.mark.parametrize(
    ("loss", "own"),
    [("attention", ["squeeze"]), ("autoencode", ["squeeze", "restore"])],
    ids=["attention", "autoencode"],
)
@pytest.mark.parametrize("by", ["conv", "dilated"])
def test_task_and_loss_teach_different_weights(by, loss, own):
    made = built((4, 8, 5, 2), by=by, loss=loss).train()
    x = rows(B, N, C).requires_grad_()
    mixed = made(x, Axis(range(N)))

    mixed.x.sum().backward(retain_graph=True)
    assert not [name for name in learned(made) if "squeeze" in name or "restore" in name]
    taught = learned(made)
    made.zero_grad(set_to_none=True)
    x.grad = None
    mixed.losses["compression"].backward()

    names = {name.rsplit(".", 2)[-2] for name in learned(made)}
    assert names == set(own)
    assert x.grad is None
    assert {name.rsplit(".", 2)[-2] for name in taught} == {"q", "k", "v", "out"}
    assert all(p.requires_grad for p in made.parameters())


def test_the_task_teaches_with_bptt():
    size = (4, 6, 5, 2)
    made = built(size, loss="bptt").train()
    x = rows(B, N, C).requires_grad_()
    mixed = made(x, Axis(range(N)))
    assert mixed.losses == {}

    inputs, upstream = [x, *made.parameters()], rows(B, N, C, seed=3)
    wanted = Naive(made, size, bptt=True)(x)
    for one, other in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (mixed.x, wanted)), strict=True):
        same(one, other, 1e-9)
    in_calls = torch.autograd.grad(in_unison(made, x, [8, 16, 24])[0], inputs, upstream)
    for one, other in zip(in_calls, torch.autograd.grad(wanted_again(made, size, x), inputs, upstream), strict=True):
        same(one, other, 1e-9)


def wanted_again(made, size, x: Tensor) -> Tensor:
    return Naive(made, size, bptt=True)(x)


def test_nothing_is_lost_outside_training():
    made = built((4, 6, 5, 2)).eval()
    x = rows(B, N, C)

    assert made(x, Axis(range(N))).losses == {}
    assert made.train()(x, Axis(range(N)), made.start(B, x)).losses == {}
    assert made(x[:, :7], Axis(range(7))).losses == {}
    assert set(made(x[:, :8], Axis(range(8))).losses) == {"compression"}
    assert built((4, 6, 5, 2), by="mean").train()(x, Axis(range(N))).losses == {}


def test_state_and_slots_have_no_history():
    """What earlier calls made is a number, not a graph."""
    made = built((4, 6, 5, 2)).train()
    x = rows(B, 16, C).requires_grad_()

    state = made(x, Axis(range(16)), made.start(B, x)).state

    assert not any(t.requires_grad for memory in state["memory"] for t in memory.values())


@pytest.mark.parametrize("by", BY)
def test_values_pass_linearly(by):
    """Slots are made of rows, so what values carry doubles with the projection of values."""
    made = built((4, 8, 3, 2), by=by)
    x = rows(B, N, C)
    with torch.no_grad():
        made.out.bias.zero_()
        once = made(x, Axis(range(N))).x
        made.v.weight.mul_(2)
        made.v.bias.mul_(2)
        twice = made(x, Axis(range(N))).x
        made.v.weight.zero_()
        made.v.bias.fill_(1.0)
        ones = made(x, Axis(range(N))).x

    same(twice, 2 * once)
    same(ones, made.out.weight.sum(1).expand_as(ones))


@pytest.mark.parametrize("by", BY)
def test_low_precision_stays_finite(by):
    made = built((4, 8, 3, 2), by=by).to(torch.bfloat16).train()

    mixed = made((rows(B, N, C) * 1e3).to(torch.bfloat16), Axis(range(N)))

    assert mixed.x.isfinite().all()
    assert all(loss.isfinite() for loss in mixed.losses.values())


def test_choosing_shares_keys_of_groups_of_heads():
    made = mixer(attention(heads=4, kv_heads=2, head_dim=3, recurrence=compressive((4, 8, 3, 2), by="most-used")), C)
    full = mixer(attention(heads=4, head_dim=3, recurrence=compressive((4, 8, 3, 2), by="most-used")), C)
    with torch.no_grad():
        for name in ("q", "out"):
            getattr(full, name).load_state_dict(getattr(made, name).state_dict())
        for name in ("k", "v"):
            for value in ("weight", "bias"):
                shared = getattr(getattr(made, name), value).unflatten(0, (2, 3))
                getattr(getattr(full, name), value).copy_(shared.repeat_interleave(2, 0).flatten(0, 1))
    x = rows(B, N, C)

    same(made(x, Axis(range(N))).x, full(x, Axis(range(N))).x)


def test_few_scores_at_once_change_nothing(monkeypatch):
    made, x = built((4, 6, 5, 2), by="most-used"), rows(B, N, C)
    wanted = made(x, Axis(range(N))).x

    monkeypatch.setattr("xcompose_plugins.recurrence.compressive.SCORES", 1)

    same(made(x, Axis(range(N))).x, wanted)


# What is refused ------------------------------------------------------------------------------------------------------

REFUSED = {
    "length": (
        {"size": (8, 9, 3, 3)}, "recurrence 'compressive' squeezes rows by 3, and 'length' is 8",
        "what leaves the memory would not fill its slots", ("length=6", "length=9"),
    ),
    "memory": (
        {"size": (2, 5, 3, 2)}, "recurrence 'compressive' squeezes rows by 2, and 'memory' is 5",
        "what leaves the memory would not fill its slots", ("memory=4", "memory=6"),
    ),
    "dilated": (
        {"size": (6, 9, 3, 3), "by": "dilated"}, "recurrence 'compressive' squeezes rows by 6, and 'memory' is 9",
        "what leaves the memory would not fill its slots", ("memory=6", "memory=12"),
    ),
    "small": (
        {"size": (2, 3, 3, 3)}, "recurrence 'compressive' squeezes rows by 3, and 'length' is 2",
        "what leaves the memory would not fill its slots", ("length=3",),
    ),
    "short": (
        {"size": (6, 4, 3, 2)}, "recurrence 'compressive' needs a memory of a segment at least, found 4 rows of 6",
        "rows would be squeezed before a later segment has read them", ("memory=6", "compressed=0"),
    ),
    "loss": (
        {"by": "mean", "loss": "attention"}, "by=mean has no weights that could learn from loss=attention",
        "", ("leave loss out", "by=conv"),
    ),
    "dilation": (
        {"by": "mean", "dilation": 3}, "recurrence 'compressive' has no use for 'dilation' here",
        "it takes neighbours into one slot", ("leave dilation out", "by=dilated"),
    ),
    **{
        name: (
            {"size": (2, 5, 0, value if name == "rate" else 3), **({} if name == "rate" else {name: value})},
            f"recurrence 'compressive' has no use for '{name}' here",
            "compressed=0 leaves no slots to squeeze rows into", (f"leave {name} out", "compressed=..."),
        )
        for name, value in {"rate": 2, "by": "mean", "loss": "bptt", "dilation": 3, "distance": "time"}.items()
    },
}  # fmt: skip


@pytest.mark.parametrize(("given", "message", "label", "fixes"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(given, message, label, fixes):
    with pytest.raises(PartError) as caught:
        built(**given)

    assert (caught.value.message, caught.value.label, caught.value.fixes) == (message, label, fixes)


def test_an_encoder_is_refused():
    with pytest.raises(PartError) as caught:
        context(C, "none").build(attention(heads=H, recurrence=compressive()))

    assert caught.value.message == "an encoder cannot use recurrence 'compressive'"
    assert caught.value.label == "it sees the whole sequence at once, so there is nothing to carry"
    assert caught.value.fixes == ("recurrence: none",)


# In a model -----------------------------------------------------------------------------------------------------------

MODEL = """
xcompose: 1
model:
  type: decoder
  vocab: 17
  dim: 16
  heads: 2
  layers: 2
  residual: {residual}
  position: transformer-xl
  recurrence: compressive(4, memory=8, compressed=3, rate=2, by={by})
"""


def gradients(model, tokens: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    out = model(tokens)
    assert {name.rpartition(".")[2] for name in out.losses} <= {"compression"}
    (out.logits.square().sum() + sum(out.losses.values())).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("by", ["conv", "most-used"])
@pytest.mark.parametrize("residual", ["pre-norm", "reversible"])
def test_layers_that_are_computed_again_learn_the_same(residual, by, monkeypatch):
    model = build_model(load_text(MODEL.format(residual=residual, by=by), "small", catalogue=load().catalogue)).double()
    tokens = torch.randint(17, (B, N), generator=torch.Generator().manual_seed(2))
    model.train().stack.recompute = True
    found = gradients(model, tokens)

    model.stack.recompute = False
    if residual == "reversible":
        kind = type(model.stack.blocks[0].residual)
        monkeypatch.setattr(kind, "enter", lambda self, x, enter=kind.enter: enter(self, x)._replace(tape=None))
    wanted = gradients(model, tokens)

    assert set(found) == set(wanted) == {name for name, _ in model.named_parameters()}
    for name, gradient in wanted.items():
        same(found[name], gradient, 1e-10)
