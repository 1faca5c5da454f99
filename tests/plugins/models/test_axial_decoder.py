"""Two stacks, one of them a row behind: the formula, what depends on what, step by step, and what is refused."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import xcompose as xc
from xcompose.compose.summary import summarise
from xcompose.compose.summary_text import text
from xcompose.decode.generate import generate
from xcompose.decode.state import bytes_of

H, W, V = 4, 5, 7
N = H * W


def built(**model: Any) -> Any:
    blocks = {"row": "attention(pattern=axis(1))", "column": "attention(pattern=axis(0))"}
    base = {
        "type": "axial-decoder", "grid": [H, W], "dim": 12, "heads": 2, "vocab": V, "position": "axial",
        "ffn": "mlp(1x)", "output": "lm(tied=false)", "init": "normal(0.3)", "blocks": blocks,
        "outer": {"layers": "row, column"}, "inner": {"layers": "row"},
    }  # fmt: skip
    written = {key: value for key, value in {**base, **model}.items() if value is not None}
    return xc.build({"xcompose": 1, "model": written}, dtype=torch.float64).eval()


def tokens(batch: int = 2, n: int = N) -> Tensor:
    return torch.randint(0, V, (batch, n), generator=torch.Generator().manual_seed(4))


def attended(mixer: Any, lines: Tensor, masked: bool) -> Tensor:
    """Softmax attention on lines (... n c), one query and one head after the other."""
    heads, n = mixer.heads, lines.shape[-2]
    q, k, v = (part(lines).unflatten(-1, (heads, -1)) for part in (mixer.q, mixer.k, mixer.v))
    rows = []
    for i in range(n):
        last = i + 1 if masked else n
        found = []
        for h in range(heads):
            logits = (k[..., :last, h, :] * q[..., i : i + 1, h, :]).sum(-1) / q.shape[-1] ** 0.5
            found.append((logits.softmax(-1)[..., None] * v[..., :last, h, :]).sum(-2))
        rows.append(torch.cat(found, -1))
    return mixer.out(torch.stack(rows, -2))


def layer(block: Any, x: Tensor, column: bool, masked: bool) -> Tensor:
    """A layer on an image (b h w c)."""
    normal = block.residual.norms[0](x)
    mixed = attended(block.mixer, normal.transpose(1, 2) if column else normal, masked)
    x = x + (mixed.transpose(1, 2) if column else mixed)
    return x + block.ffn(block.residual.norms[1](x))


def image_logits(m: Any, pixels: Tensor, mask_column: bool = True, shift_down: bool = True) -> Tensor:
    """The construction on embedded images (b h w c); logits (b h w v). It can be planted with two mistakes."""
    place = m.inner.position.tables[0].weight[:, None] + m.inner.position.tables[1].weight
    u = pixels + place
    for block in m.outer.stack.blocks:
        column = block.name == "column"
        u = layer(block, u, column, masked=column and mask_column)
    if shift_down:
        u = torch.cat([torch.zeros_like(u[:, :1]), u[:, :-1]], 1)
    x = torch.cat([torch.zeros_like(pixels[:, :, :1]), pixels[:, :, :-1]], 2) + u + place
    for block in m.inner.stack.blocks:
        x = layer(block, x, False, masked=True)
    return m.output(m.inner.stack.norm(x), None)


def depends(out: Tensor, on: Tensor) -> np.ndarray:
    """(n n) whether output i (1 n v) depends on row j of what it was made of (1 n c)."""
    found = np.zeros((N, N), dtype=bool)
    for i in range(N):
        (slope,) = torch.autograd.grad(out[0, i].sin().sum(), on, retain_graph=True, allow_unused=True)
        found[i] = False if slope is None else (slope.reshape(N, -1).abs().sum(-1) > 1e-14).numpy()
    return found


class TestFormula:
    def test_equals_the_construction_on_images(self):
        m = built(outer={"layers": "2*(row, column)"}, inner={"layers": "2*row"})
        x = tokens()
        y = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)

        found = m(y).logits
        wanted = image_logits(m, m.embedding(x).unflatten(1, (H, W))).flatten(1, 2)

        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
        weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        parameters = list(m.parameters())
        mine, theirs = (torch.autograd.grad((out * weights).sum(), parameters) for out in (found, wanted))
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)

    @pytest.mark.parametrize(("plant", "leaks"), [({}, 0), ({"mask_column": False}, 120), ({"shift_down": False}, 60)])
    def test_a_planted_mistake_leaks(self, plant, leaks):
        m = built()
        pixels = m.embedding(tokens(1)).detach().requires_grad_()

        found = depends(image_logits(m, pixels.unflatten(1, (H, W)), **plant).flatten(1, 2), pixels)

        assert np.triu(found).sum() == leaks
        assert np.tril(found, -1).sum() == N * (N - 1) // 2

    def test_depends_on_all_earlier_pixels_and_on_nothing_else(self):
        m, caught = built(), []

        def catch(module: Any, given: Any, out: Tensor) -> Tensor:
            caught.append(out.detach().requires_grad_())
            return caught[-1]

        m.embedding.register_forward_hook(catch)
        found = depends(m(tokens(1)).logits, caught[0])

        wanted = np.tril(np.ones((N, N), dtype=bool))
        wanted[:, 0] = False  # the start token
        assert (found == wanted).all()
        said = m.trace(np.eye(N, dtype=bool), lambda block, n: block.mixer.visible(n)[0].matrix)
        assert (said == wanted).all()

    def test_layers_that_stay_in_a_row_look_ahead_in_it(self):
        m = built(
            outer={"layers": "row, column, attention, attention(pattern=blocks(5)), attention(pattern=blocks(4))"}
        )

        assert [block.piece for block in m.outer.stack.blocks] == [W, None, None, W, None]
        assert [block.causal for block in m.layers] == ["none", "strict", "strict", "none", "strict", "strict"]

    def test_equal_positions_are_one(self):
        m = built()
        assert m.outer.position is m.inner.position
        assert m.outer.stack.norm is None

    def test_every_parameter_gets_a_gradient(self):
        m = built()
        m(tokens()).logits.square().sum().backward()

        assert [name for name, p in m.named_parameters() if p.grad is None] == []

    def test_losses_name_their_stack(self):
        pattern = "attention(pattern=adaptive-span(3, loss=0.1, start=0.5), silence=zero)"
        m = built(outer={"layers": f"row, {pattern}"}, inner={"layers": pattern}, position="none")

        names = list(m(tokens()).losses)
        assert len(names) == 2
        assert names[0].startswith("outer.1.mixer.")
        assert names[1].startswith("inner.0.mixer.")


OTHERS = {
    "the paper's": {},
    "deeper": {"outer": {"layers": "2*(row, column)"}, "inner": {"layers": "2*row"}},
    "dense": {"outer": {"layers": "attention"}, "inner": {"layers": "attention"}},
    "linear": {"outer": {"layers": "row, attention(score=linear)"}, "inner": {"layers": "attention(score=linear)"}},
    "parallel": {"outer": {"layers": "sum(attention(pattern=axis(1)), attention(pattern=axis(0)))"}},
    "with memory": {
        "outer": {"layers": "attention(pattern=blocks(5), memory=conv(2, null=learned)), column"},
        "inner": {"layers": "attention(pattern=axis(1), memory=conv(3, null=learned))"},
    },
    "shared heads": {"heads": 4, "kv_heads": 2, "dim": 8, "position": "rotary"},
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
class TestStepByStep:
    def test_any_prefix_and_any_cut(self, name):
        m, t = built(**OTHERS[name]), tokens(3)
        whole = m(t).logits

        for n in (1, W, W + 1, 13):
            torch.testing.assert_close(m(t[:, :n]).logits, whole[:, :n], rtol=0, atol=1e-11)
        for cuts in ([1] * N, [W] * H, [7, 1, 1, 6, 5], [6, 5, 5, 4], [13, *[1] * 7]):
            state, found, at = m.start(3), [], 0
            for count in cuts:
                out = m(t[:, at : at + count], state=state)
                state, at = out.state, at + count
                found.append(out.logits)
                assert bytes_of(state.parts) == 3 * m.state_bytes(at)
            torch.testing.assert_close(torch.cat(found, 1), whole, rtol=0, atol=1e-11)

    def test_sequences_at_times_of_their_own(self, name):
        m, t = built(**OTHERS[name]), tokens(3)
        whole = m(t).logits
        for seed in range(4):
            draws = random.Random(seed)
            state, taken = m.start(3), [0, 0, 0]
            while min(taken) < N:
                counts = [min(draws.choice([0, 1, 2, 7, 11]), N - at) for at in taken]
                width = max(1, *counts)
                piece, mask = torch.zeros(3, width, dtype=torch.long), torch.zeros(3, width, dtype=torch.bool)
                for i, count in enumerate(counts):
                    places = sorted(draws.sample(range(width), count))
                    piece[i, places], mask[i, places] = t[i, taken[i] : taken[i] + count], True
                out = m(piece, mask=mask, state=state)
                state = out.state
                for i, count in enumerate(counts):
                    mine = whole[i, taken[i] : taken[i] + count]
                    torch.testing.assert_close(out.logits[i][mask[i]], mine, rtol=0, atol=1e-11)
                    taken[i] += count

    def test_padding_changes_nothing(self, name):
        m, t = built(**OTHERS[name]), tokens(3)
        whole = m(t).logits
        mask = torch.arange(N) < torch.tensor([N, 12, 3])[:, None]
        for shift in (0, 4):
            padded = m(t.roll(shift, 1), mask=mask.roll(shift, 1) & (torch.arange(N) >= shift)).logits.roll(-shift, 1)
            for i, n in enumerate((N - shift, 12, 3)):
                torch.testing.assert_close(padded[i, :n], whole[i, :n], rtol=0, atol=1e-11)


class TestState:
    def test_is_that_of_the_columns_and_one_row(self):
        m = built()
        numbers = 12
        for n in range(1, N + 1):
            done, waiting = (n - 1) // W * W, (n - 1) % W
            column = done * (2 * numbers * 8 + 8)
            row = n % W * (2 * numbers * 8 + 8)
            assert m.state_bytes(n) == column + row + W * numbers * 8 + waiting * 8

    def test_the_outer_stack_reads_each_row_once(self):
        m, read = built(), []
        m.outer.stack.register_forward_pre_hook(lambda module, given: read.append(given[1].at))
        state = m.start(2)
        for i in range(N):
            state = m(tokens()[:, i : i + 1], state=state).state

        assert read == [range(0, 5), range(5, 10), range(10, 15)]

    def test_images_can_be_drawn(self):
        m = built()
        start = torch.zeros(2, 1, dtype=torch.long)

        found = generate(m, start, N, temperature=0)

        whole = m(torch.cat([start, found[:, :-1]], 1)).logits.argmax(-1)
        assert torch.equal(found, whole)


def test_a_summary_tells_the_stacks_apart():
    shown = text(summarise(built(), explain=True))

    assert "outer length 20, inner length 20, state O(n)" in shown
    assert "position    axial" in shown


def test_a_longer_sequence_is_refused():
    m, message = built(position="none"), "a sequence of 21 tokens does not fit the grid of 4 x 5 = 20 places"
    state = m(tokens(2), state=m.start(2)).state
    apart = m(tokens(2), mask=torch.arange(N) < torch.tensor([[N], [3]]), state=m.start(2)).state
    padded = torch.ones(1, N + 2, dtype=torch.bool)
    padded[0, 0] = False

    with pytest.raises(ValueError, match=f"^{message}; it takes 1 to 20$"):
        m(tokens(1, N + 1))
    with pytest.raises(ValueError, match=f"^{message}; it takes 1 to 20$"):
        m(tokens(1, N + 2), mask=padded)
    with pytest.raises(ValueError, match=f"^{message}; it takes 1 to 20$"):
        m(tokens(2, 1), state=state)
    with pytest.raises(ValueError, match=f"^{message}; it takes 1 to 20$"):
        m(tokens(2, 1), state=apart)
    padded[0, 1] = False
    assert m(tokens(1, N + 2), mask=padded).logits.shape == (1, N + 2, V)


@pytest.mark.parametrize(
    ("model", "message", "fixes"),
    [
        ({"grid": None}, "an axial decoder needs the grid that an image fills", ("grid: [32, 32]",)),
        ({"grid": [2, 2, 5]}, "an axial decoder needs a grid of two sides, found 3", ("grid: [32, 32]",)),
        (
            {"grid_block": [2, 5]}, "an axial decoder reads row by row, not block by block",
            ("leave grid_block out",),
        ),
        (
            {"inner": {"layers": "row", "grid": [5, 4]}},
            "both stacks of an axial decoder read one grid, that of the model", ("leave grid out of inner",),
        ),
        (
            {"outer": {"layers": "row", "length": 10}},
            "both stacks of an axial decoder read one image, as long as the model says",
            ("leave length out of outer",),
        ),
        (
            {"embedding": "tokens(prefix=2)"}, "a decoder cannot use embedding 'tokens' with rows before the tokens",
            ("prefix=0", "use it in an encoder"),
        ),
        ({"embedding": "vectors(3)"}, "an axial decoder reads tokens, not numbers", ("tokens",)),
        (
            {"outer": {"layers": "column", "residual": "reversible(join=concat)"}},
            "rows of the outer stack are added to rows of width 12, these have 24", (),
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(model, message, fixes):
    with pytest.raises(xc.SpecError) as caught:
        built(**model)

    (found,) = caught.value.diagnostics
    assert (found.message, found.fixes) == (message, fixes)
