"""Padding anywhere goes in, the right-padded form comes out, and back."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xcompose.decode.edge import gather, scatter


@st.composite
def padded(draw):
    b, n = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    seed = draw(st.integers(0, 999))
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 99, (b, n), generator=generator), torch.rand(b, n, generator=generator) < draw(
        st.sampled_from([0.0, 0.4, 0.8, 1.0])
    )


class TestEdge:
    @settings(max_examples=40, deadline=None)
    @given(padded())
    def test_tokens_move_to_the_front_in_order(self, given):
        tokens, mask = given
        packed = gather(tokens, mask)

        for row in range(len(tokens)):
            own = tokens[row, mask[row]].tolist()
            blank = tokens.shape[1] - len(own)
            assert packed.tokens[row].tolist() == own + [0] * blank
            assert packed.valid[row].tolist() == [True] * len(own) + [False] * blank

    @settings(max_examples=40, deadline=None)
    @given(padded())
    def test_and_back_with_zeros_where_none_was(self, given):
        tokens, mask = given
        rows = torch.stack([gather(tokens, mask).tokens + 100, torch.full_like(tokens, 7)], -1)
        back = scatter(rows, gather(tokens, mask))

        assert back[..., 0].tolist() == ((tokens + 100) * mask).tolist()
        assert back[..., 1].tolist() == (7 * mask).tolist()

    @settings(max_examples=40, deadline=None)
    @given(padded())
    def test_rows_of_numbers_go_as_tokens_do(self, given):
        tokens, mask = given
        rows = torch.stack([tokens, -tokens, tokens * 2], -1).double()
        packed, alike = gather(torch.where(mask[..., None], rows, torch.nan), mask), gather(tokens, mask)

        assert packed.tokens[..., 1].tolist() == (-alike.tokens).tolist()
        assert packed.valid.tolist() == alike.valid.tolist()
        assert scatter(packed.tokens, packed)[..., 2].tolist() == (tokens * 2 * mask).tolist()

    def test_gradients_reach_each_token_once_and_padding_never(self):
        mask = torch.tensor([[False, True, False, True]])
        rows = torch.ones(1, 4, 2, dtype=torch.float64, requires_grad=True)
        scatter(rows, gather(torch.zeros(1, 4, dtype=torch.long), mask)).sum().backward()

        assert rows.grad is not None
        assert rows.grad[0, :, 0].tolist() == [1, 1, 0, 0]

    def test_what_is_not_finite_in_padding_stays_out(self):
        mask = torch.tensor([[True, False]])
        rows = torch.tensor([[[1.0], [torch.nan]]])

        assert scatter(rows, gather(torch.zeros(1, 2, dtype=torch.long), mask)).tolist() == [[[1.0], [0.0]]]
