"""BigBird's pattern beside BigBirdBlockSparseAttention of transformers 5.23.0, with the plan that it draws.

The plan is drawn again with numpy's seed and given to a pattern of this test, because ours draws otherwise: by a hash,
each block that is left about as likely. Weights: query, key and value are linear layers of the same layout, heads in
contiguous rows; there is no projection behind.

Where the oracle departs: in `eval` its plan is all zeros, so that the first block counts once more for each draw in the
softmax of every sparse row; so it is compared while training, where it seeds numpy's global generator and, dropout
being left out of the sparse path, computes the same. Masks are additive, -10000. It takes multiples of the block only,
and at other lengths than 1024, 3072 and 4096 it draws from the first blocks where there are many, and then row t - 2
may draw block 1.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="pip install -e '.[oracles]'")
from transformers import BigBirdConfig, BigBirdModel
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention

from tests.plugins.helpers import context, pattern, rows
from xcompose.api import Axis, Pattern, Point, Read, Slots, Union, attend
from xcompose.attention.counts import pairs
from xcompose.attention.visible import visible_matrix

pytestmark = pytest.mark.oracle
BLOCK, HEADS, DIM, SEED = 4, 3, 15, 5


def oracle(count: int) -> BigBirdBlockSparseAttention:
    config = BigBirdConfig(
        hidden_size=DIM, num_attention_heads=HEADS, block_size=BLOCK, num_random_blocks=count,
        attention_probs_dropout_prob=0.0, max_position_embeddings=4096,
    )  # fmt: skip
    torch.manual_seed(0)
    return BigBirdBlockSparseAttention(config, seed=SEED).double().train()


def plan(theirs: BigBirdBlockSparseAttention, blocks: int, count: int) -> np.ndarray:
    """(h, blocks - 2, count) the blocks that each inner block draws."""
    n = blocks * BLOCK
    lengths, counts = theirs._get_rand_attn_plan(n, BLOCK, count)
    np.random.seed(SEED)
    return np.stack(
        theirs._bigbird_block_rand_mask_with_head(
            from_seq_length=n, to_seq_length=n, from_block_size=BLOCK, to_block_size=BLOCK, num_heads=HEADS,
            plan_from_length=lengths, plan_num_rand_blocks=counts,
        )
    )  # fmt: skip


class Planned(Pattern):
    """Links between blocks that a table says: (blocks, blocks) bool."""

    def __init__(self, links: np.ndarray):
        self.links = links

    def allows(self, q: Point, k: Point):
        links = self.links if isinstance(q.at, np.ndarray | int) else torch.from_numpy(self.links)
        return links[q.at // BLOCK, k.at // BLOCK]


def patterns(drawn: np.ndarray) -> list[Union]:
    """Of each head."""
    blocks = drawn.shape[1] + 2
    near = pattern("blocks", size=BLOCK, back=1, ahead=1)
    ends = context(DIM).build(pattern("global", first=BLOCK, last=BLOCK))
    found = []
    for head in drawn:
        links = np.zeros((blocks, blocks), dtype=bool)
        for row, chosen in enumerate(head):
            links[row + 1, chosen] = True
        found.append(Union((near, ends, Planned(links))))
    return found


def both(blocks: int, count: int) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Answers (b n c) of theirs and of ours, and the gradients of rows and weights."""
    theirs, n = oracle(count), blocks * BLOCK
    masks = BigBirdModel.create_masks_for_block_sparse_attn(torch.ones(2, n, dtype=torch.double), BLOCK)
    x = rows(2, n, DIM).requires_grad_()
    weights = [x, *theirs.parameters()]
    upstream = rows(2, n, DIM, seed=9)
    band, from_mask, to_mask, from_blocked = masks[1], masks[2], masks[3], masks[0]
    wanted, _ = theirs(
        x, band_mask=band, from_mask=from_mask, to_mask=to_mask, from_blocked_mask=from_blocked,
        to_blocked_mask=from_blocked,
    )  # fmt: skip
    q, k, v = (layer(x).unflatten(-1, (HEADS, -1)) for layer in (theirs.query, theirs.key, theirs.value))
    axis = Axis(range(n), total=n)
    found = torch.cat(
        [
            attend(
                [
                    Read(
                        q[:, :, [h]],
                        axis,
                        Slots(k[:, :, [h]], v[:, :, [h]], range(n)),
                        one,
                        False,
                        (DIM // HEADS) ** -0.5,
                    )
                ]
            )
            for h, one in enumerate(patterns(plan(theirs, blocks, count)))
        ],
        2,
    ).flatten(2)
    gradients = [list(torch.autograd.grad(y, weights, upstream, retain_graph=True)) for y in (wanted, found)]
    return wanted, found, *gradients


@pytest.mark.parametrize(("blocks", "count"), [(12, 1), (12, 2), (16, 3)])
def test_answers_and_gradients(blocks, count):
    wanted, found, g_wanted, g_found = both(blocks, count)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
    for one, other in zip(g_found, g_wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("blocks", "count"), [(12, 2), (16, 3)])
def test_a_row_draws_as_many_blocks_from_the_same_ones(blocks, count):
    """Distinct, and neither neighbours nor global; rows 1 and t - 2 leave out one more, theirs not at these lengths."""
    drawn = plan(oracle(count), blocks, count)
    n = blocks * BLOCK
    made = context(DIM, "none", layer=0).build(pattern("random-blocks", count=count, block=BLOCK))
    ours = visible_matrix(made, n, False, HEADS)[:, ::BLOCK, ::BLOCK]

    for h in range(HEADS):
        for c in range(1, blocks - 1):
            others = set(range(blocks)) - {0, blocks - 1, c - 1, c, c + 1}
            last_but_one = {blocks - 2} if c == 1 else {1} if c == blocks - 2 else set()
            theirs_draws, draws = set(drawn[h, c - 1].tolist()), set(np.flatnonzero(ours[h, c]).tolist())
            assert len(theirs_draws) == len(draws) == count
            assert theirs_draws <= others
            assert draws <= others - last_but_one
    assert {pairs(one, n, False) for one in patterns(drawn)} == {
        BLOCK**2 * (2 * blocks + 2 * (4 + count) + (blocks - 4) * (5 + count))
    }
