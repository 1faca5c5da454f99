"""States are trees of tensors, batch first."""

from __future__ import annotations

import torch

import xcompose as xc
from xcompose.compose.parts import State
from xcompose.decode.state import bytes_of, clone, reorder, size_of_state

LAYERS = "attention(pattern=window(3) | global(2)), attention(score=linear), attention"
SPEC = {"xcompose": 1, "model": {"type": "decoder", "dim": 24, "heads": 2, "vocab": 17, "layers": LAYERS}}


def model():
    return xc.build(SPEC, dtype=torch.float64)


def tokens(b: int, n: int, seed: int = 0):
    return torch.randint(0, 17, (b, n), generator=torch.Generator().manual_seed(seed))


class TestReorder:
    def test_sequences_go_on_in_another_order_and_number(self):
        m, first, second = model(), tokens(3, 5), tokens(4, 2, seed=1)
        index = torch.tensor([2, 0, 0, 1])
        state = reorder(m(first, state=m.start(3)).state, index)
        found = m(second, state=state).logits
        whole = m(torch.cat([first[index], second], 1)).logits[:, 5:]

        torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)

    def test_time_moves_along(self):
        state = State(torch.tensor([3, 5]), {"0.mixer": {"at": torch.tensor([[7], [8]])}})
        found = reorder(state, torch.tensor([1]))

        assert found.time.tolist() == [5]
        assert found.parts["0.mixer"]["at"].tolist() == [[8]]


def test_a_clone_branches():
    m = model()
    state = m(tokens(1, 5), state=m.start(1)).state
    branch = clone(state)
    m(tokens(1, 3), state=state)
    found = m(tokens(1, 4, seed=1), state=branch).logits

    whole = m(torch.cat([tokens(1, 5), tokens(1, 4, seed=1)], 1)).logits[:, 5:]
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)


def test_bytes_of_all_tensors():
    state = {"k": torch.zeros(2, 3, dtype=torch.float64), "parts": [torch.zeros(5, dtype=torch.bfloat16), None]}

    assert bytes_of(state) == 2 * 3 * 8 + 5 * 2


def test_sizes_by_name():
    assert size_of_state({"tokens.0.k": (3, 2), "tokens.0.at": (3,)}, width=2) == 3 * 2 * 2 + 3 * 8
