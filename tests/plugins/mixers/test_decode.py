"""However the time line is cut, and wherever each sequence stands, decoding gives what the whole pass gives."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plugins.helpers import attention, context, in_unison, mixer, part, pattern, ragged, rows, sizes
from xcompose.attention.reads import Axis
from xcompose.compose.parts import Mixer

N, C = 17, 12

WINDOW = pattern("window", size=3)
SUMMARY = pattern("summary", size=5, last=2, spread="heads")
SEGMENTS = part("recurrence", "segments", length=4, memory=6)
OPTIONS = {
    "dense": dict(heads=3, position="rotary"),
    "shared": dict(heads=3, shared_qk=True, position="rotary"),
    "groups": dict(heads=6, kv_heads=3, pattern=WINDOW, position="rotary"),
    "window": dict(heads=3, pattern=WINDOW, position="alibi"),
    "dilated": dict(heads=3, pattern=pattern("window", size=2, dilation=3), position="rotary"),
    "blocks": dict(heads=3, pattern=pattern("blocks", size=4, back=1), position="rotary"),
    "strided": dict(heads=3, pattern=pattern("strided", stride=3)),
    "summary": dict(heads=3, pattern=pattern("union", of=(pattern("blocks", size=5), SUMMARY)), position="rotary"),
    "random": dict(heads=3, pattern=pattern("random", count=2, block=2)),
    "union": dict(heads=3, pattern=pattern("union", of=(WINDOW, pattern("global", first=2)))),
    "both": dict(heads=3, pattern=pattern("intersection", of=(WINDOW, pattern("blocks", size=4)))),
    "ring": dict(heads=3, pattern=pattern("difference", of=(WINDOW, pattern("window", size=1)))),
    "heads": dict(
        heads=6, kv_heads=3, position="alibi",
        pattern=pattern("heads", of=((1, WINDOW), (2, pattern("dense")), (3, pattern("blocks", size=4)))),
    ),
    "linear": dict(heads=6, kv_heads=3, score="linear", position="rotary"),
    "conv": dict(heads=3, pattern="none", memory=part("memory", "conv", factor=3), position="rotary"),
    "null": dict(heads=3, pattern="none", memory=part("memory", "conv", factor=3, null="learned"), position="rotary"),
    "near conv": dict(
        heads=6, kv_heads=3, pattern=WINDOW, position="alibi",
        memory=part("memory", "conv", factor=2, null="zero", pattern=pattern("window", size=6)),
    ),
    "memories": dict(
        heads=3, pattern=WINDOW, position="rotary",
        memory=part("memory", "all", of=(part("memory", "conv", factor=2), part("memory", "conv", factor=5))),
    ),
    "segments": dict(heads=3, position="transformer-xl", recurrence=SEGMENTS),
    "near segments": dict(heads=3, pattern=WINDOW, position="rotary", recurrence=SEGMENTS),
    "segments and conv": dict(
        heads=6, kv_heads=3, pattern="dense", position="transformer-xl", recurrence=SEGMENTS,
        memory=part("memory", "conv", factor=3),
    ),
    "positions": dict(
        heads=3, pattern=WINDOW,
        position=part("position", "all", of=(part("position", "rotary"), part("position", "alibi"))),
    ),
}  # fmt: skip
ATTENTIONS = {name: attention(**given) for name, given in OPTIONS.items()}
MIXERS = {
    **ATTENTIONS,
    "sum": part("mixer", "sum", of=(ATTENTIONS["window"], ATTENTIONS["linear"])),
    "gate": part("mixer", "gate", of=(ATTENTIONS["conv"], ATTENTIONS["dense"])),
    "chain": part("mixer", "chain", of=(ATTENTIONS["window"], ATTENTIONS["linear"])),
    "groups of mixers": part(
        "mixer", "heads", heads=6,
        of=((2, attention(heads=6, pattern=WINDOW, position="rotary")), (1, attention(heads=6, score="linear"))),
    ),
}  # fmt: skip
every = pytest.mark.parametrize("name", MIXERS)


@functools.cache
def made(name: str) -> Mixer:
    return mixer(MIXERS[name], C).eval().requires_grad_(False)


@functools.cache
def whole(name: str) -> torch.Tensor:
    return made(name)(rows(3, N, C), Axis(range(N))).x


def fitting(steps: list[tuple[int, int, int]]) -> list[list[int]]:
    """How many rows each sequence takes in each call; none takes more than there are."""
    left, found = [N] * 3, []
    for wanted in steps:
        counts = [min(most, count) for most, count in zip(left, wanted, strict=True)]
        left = [most - count for most, count in zip(left, counts, strict=True)]
        found += [counts] if any(counts) else []
    return found or [[1, 0, 2]]


@every
@settings(max_examples=4, deadline=None)
@given(cuts=st.lists(st.integers(1, N - 1), max_size=8))
def test_any_cut_of_the_time_line(name, cuts):
    found, state = in_unison(made(name), rows(3, N, C), cuts)

    torch.testing.assert_close(found, whole(name), rtol=0, atol=1e-9)
    assert sizes(state) == made(name).state_shape(N)


@every
@settings(max_examples=4, deadline=None)
@given(steps=st.lists(st.tuples(*[st.integers(0, 8)] * 3), max_size=5))
def test_sequences_at_different_times(name, steps):
    steps = fitting(steps)
    found, _ = ragged(made(name), rows(3, N, C), steps)

    for i, taken in enumerate(map(sum, zip(*steps, strict=True))):
        torch.testing.assert_close(found[i, :taken], whole(name)[i, :taken], rtol=0, atol=1e-9)


@every
def test_one_row_at_a_time_and_the_size_of_the_state_after_each(name):
    x, state, found = rows(3, N, C), made(name).start(3, rows(3, 0, C)), []
    assert sizes(state) == made(name).state_shape(0)
    for n in range(N):
        mixed = made(name)(x[:, n : n + 1], Axis(range(n, n + 1)), state)
        state = mixed.state
        found.append(mixed.x)
        assert sizes(state) == made(name).state_shape(n + 1), n

    torch.testing.assert_close(torch.cat(found, 1), whole(name), rtol=0, atol=1e-9)


@every
def test_padding_behind_changes_nothing(name):
    x, lengths = rows(3, N, C), torch.tensor([N, 5, 11])
    valid = torch.arange(N) < lengths[:, None]

    found = made(name)(torch.where(valid[..., None], x, 0.0), Axis(range(N), valid)).x

    torch.testing.assert_close(found[valid], whole(name)[valid], rtol=0, atol=1e-9)


@every
def test_padding_before_decoding_changes_nothing(name):
    x, lengths = rows(3, N, C), torch.tensor([N - 4, 5, 10])
    valid = torch.arange(N - 4) < lengths[:, None]
    prompt = torch.where(valid[..., None], x[:, : N - 4], 0.0)

    state = made(name)(prompt, Axis(range(N - 4), valid), made(name).start(3, x)).state
    for step in range(4):
        at = (lengths + step)[:, None]
        row = x[torch.arange(3)[:, None], at]
        mixed = made(name)(row, Axis(at), state)
        state = mixed.state
        expected = whole(name)[torch.arange(3)[:, None], at]
        torch.testing.assert_close(mixed.x, expected, rtol=0, atol=1e-9)


@every
def test_no_row_reads_the_future(name):
    x = rows(3, N, C)
    for cut in (4, 13):
        other = torch.cat([x[:, :cut], rows(3, N - cut, C, seed=5)], 1)
        assert torch.equal(made(name)(other, Axis(range(N))).x[:, :cut], whole(name)[:, :cut])


@every
def test_what_is_visible_is_what_changes_the_answer(name):
    """A row influences another one exactly if some group of heads, or all members of a chain, may read it."""
    x = rows(1, N, C)
    base = made(name)(x, Axis(range(N))).x
    changes = torch.zeros(N, N, dtype=torch.bool)
    for j in range(N):
        other = x.clone()
        other[0, j] += 1
        changes[:, j] = (made(name)(other, Axis(range(N))).x - base)[0].abs().amax(-1) > 1e-12
    declared = torch.eye(N, dtype=torch.bool)
    for group in made(name).visible(N):
        declared |= torch.from_numpy(group.matrix.copy())

    assert (changes | torch.eye(N, dtype=torch.bool)).equal(declared)


PROMISED = {
    "dense": {"tokens.0.k": 500, "tokens.0.at": 500},
    "window": {"tokens.0.k": 3, "tokens.0.at": 3},
    "dilated": {"tokens.0.k": 6},
    "blocks": {"tokens.0.k": 4},
    "union": {"tokens.0.k": 3 + 2},
    "linear": {"s": 3, "z": 3},
    "conv": {"memory.0.slots.k": 500 // 3, "memory.0.tail.k": 500 % 3},
    "near conv": {"tokens.0.k": 3, "memory.0.slots.k": 3, "memory.0.tail.k": 0},
    "segments": {"memory.0.x": 6, "tokens.0.k": 0},
}


@pytest.mark.parametrize("name", PROMISED)
def test_state_after_500_rows(name):
    found = made(name).state_shape(500)

    assert {key: found[key][0] for key in PROMISED[name]} == PROMISED[name]


def test_a_state_may_be_used_twice():
    """The call that gets a state leaves its tensors as they are, so that a copy of the mapping is enough to branch."""
    for name in MIXERS:
        x = rows(3, N, C)
        state = made(name)(x[:, :7], Axis(range(7)), made(name).start(3, x)).state

        first = made(name)(x[:, 7:9], Axis(range(7, 9)), state).x
        made(name)(rows(3, 2, C, seed=8), Axis(range(7, 9)), state)

        assert torch.equal(made(name)(x[:, 7:9], Axis(range(7, 9)), state).x, first)


@every
def test_without_memory_or_data(name):
    """Built and run on the meta device, for counting: no shape depends on data."""
    with torch.device("meta"):
        counted = context(C).build(MIXERS[name])

        found = counted(torch.empty(3, N, C), Axis(range(N))).x

    assert found.is_meta
    assert found.shape == (3, N, C)
    assert counted.state_shape(N) == made(name).state_shape(N)
    shapes = {key: p.shape for key, p in counted.named_parameters()}
    assert shapes == {key: p.shape for key, p in made(name).named_parameters()}


@every
def test_half_precision(name):
    """Whole or piece by piece, in bfloat16 or where autocast chooses it, answers stay near the exact ones."""
    x, half = rows(3, N, C).float(), copy.deepcopy(made(name)).to(torch.bfloat16)

    pieces, _ = in_unison(half, x.to(torch.bfloat16), [5, 6])
    with torch.autocast("cpu", torch.bfloat16):
        automatic = copy.deepcopy(made(name)).float()(x, Axis(range(N))).x

    assert pieces.dtype == torch.bfloat16
    near = whole(name).abs().max().item() * 0.05
    torch.testing.assert_close(pieces.double(), whole(name), rtol=0, atol=near)
    torch.testing.assert_close(automatic.double(), whole(name), rtol=0, atol=near)
