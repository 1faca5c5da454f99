"""One block, applied again and again, told before each application where and when it is."""

from __future__ import annotations

import math

import pytest
import safetensors.torch
import torch

import xcompose as xc
from tests.plugins.addons.twins import same_gradients, twin
from xcompose.api import Axis
from xcompose.compose.weights import load_weights, save_weights

C = 6
MODEL = {"type": "decoder", "dim": C, "heads": 2, "vocab": 17, "layers": 3, "position": "none"}
BOTH = {"type": "encoder-decoder", "layers": None, "encoder": {"layers": 4}, "decoder": {"layers": 2}}


def built(*addons: str, **keys):
    model = {name: value for name, value in {**MODEL, **keys}.items() if value is not None}
    return xc.build({"xcompose": 1, "model": model, "addons": list(addons)}, dtype=torch.float64)


def tokens(n: int = 7) -> torch.Tensor:
    return torch.randint(0, 17, (2, n), generator=torch.Generator().manual_seed(4))


def coordinate(i: int, t: int, positions: bool = True) -> torch.Tensor:
    """P_t,i as the paper writes it; i and t from 1."""
    found = []
    for channel in range(C):
        wave = math.sin if channel % 2 == 0 else math.cos
        speed = 10000 ** (2 * (channel // 2) / C)
        found.append(wave(t / speed) + (wave(i / speed) if positions else 0.0))
    return torch.tensor(found, dtype=torch.float64)


def by_hand(m, x: torch.Tensor, positions: bool = True, block: int = 1) -> torch.Tensor:
    """Pre-norm layers on rows (b n c), coordinates added to the stream before each block."""
    axis = Axis(range(x.shape[1]))
    for number in range(len(m.layers)):
        layer = m.layers[number % block]
        if number % block == 0:
            step = number // block + 1
            x = x + torch.stack([coordinate(i + 1, step, positions) for i in range(x.shape[1])])
        x = x + layer.mixer(layer.residual.norms[0](x), axis).x
        x = x + layer.ffn(layer.residual.norms[1](x))
    return m.output(m.stack.norm(x), axis)


def refused(*addons: str, **keys):
    with pytest.raises(xc.SpecError) as caught:
        built(*addons, **keys)
    (found,) = caught.value.diagnostics
    return found


class TestUniversal:
    @pytest.mark.parametrize("positions", [True, False])
    def test_equals_its_formula(self, positions):
        m = built("universal" if positions else "universal(positions=false)")
        expected = by_hand(m, m.embedding.tokens(tokens()), positions)

        torch.testing.assert_close(m(tokens()).logits, expected, rtol=0, atol=1e-12)

    def test_a_block_of_two_layers(self):
        layers = "3*(attention, attention(pattern=window(2)))"
        m = built("universal(3)", layers=layers)

        assert [block.before is not None for block in m.layers] == [True, False, True, False, True, False]
        expected = by_hand(m, m.embedding.tokens(tokens()), block=2)
        torch.testing.assert_close(m(tokens()).logits, expected, rtol=0, atol=1e-12)
        assert sum(p.numel() for p in m.parameters()) == sum(p.numel() for p in built(layers=2).parameters())

    def test_one_set_of_weights(self):
        m = built("universal")

        for part in ("mixer", "ffn", "residual"):
            assert len({id(getattr(block, part)) for block in m.layers}) == 1
        assert sum(p.numel() for p in m.parameters()) == sum(p.numel() for p in built(layers=1).parameters())

    def test_gradients_are_sums_over_the_steps(self):
        shared, plain = built("universal"), built()
        twin(shared, plain)
        for step, block in enumerate(plain.layers, start=1):
            block.before = type(shared.layers[0].before)(step, positions=True)
        shared(tokens()).logits.square().sum().backward()
        plain(tokens()).logits.square().sum().backward()

        assert same_gradients(shared, plain) > 10

    def test_steps_and_places_can_be_told_apart(self):
        """An encoder of one token at all places answers otherwise at each of them."""
        m = built("universal", type="encoder")
        answer = m(torch.zeros(1, 5, dtype=torch.long)).logits[0]
        plain = built(type="encoder")(torch.zeros(1, 5, dtype=torch.long)).logits[0]

        assert (answer[1:] - answer[:-1]).abs().amin(0).max() > 1e-3
        torch.testing.assert_close(plain[1:], plain[:-1], rtol=0, atol=1e-14)

    @pytest.mark.parametrize("cuts", [(1,) * 7, (3, 1, 3)])
    def test_read_in_parts(self, cuts):
        m = built("universal", layers="3*attention(pattern=window(3))").eval()
        state, found = m.start(2), []
        for part in tokens().split(cuts, 1):
            out = m(part, state=state)
            state = out.state
            found.append(out.logits)

        assert sorted(state.parts) == ["0.mixer", "1.mixer", "2.mixer"]
        torch.testing.assert_close(torch.cat(found, 1), m(tokens()).logits, rtol=0, atol=1e-12)

    def test_padding_moves_no_place(self):
        m = built("universal", type="encoder", output="lm")
        mask = torch.tensor([[False, True, True, False, True, False, False], [True] * 7])
        answer = m(tokens(), mask=mask).logits

        alone = m(tokens()[:1, mask[0]]).logits
        torch.testing.assert_close(answer[0, mask[0]], alone[0], rtol=0, atol=1e-12)

    def test_rows_before_the_tokens_stand_before_place_one(self):
        m = built("universal", type="encoder", embedding="tokens(prefix=2)", output="none")
        seen = []
        m.layers[0].residual.norms[0].register_forward_hook(lambda module, given, out: seen.append(given[0]))
        m(tokens(3))
        rows = torch.cat([m.embedding.front(), m.embedding.tokens(tokens(3))[0]])

        for row, place in enumerate((-1, 0, 1, 2, 3)):
            torch.testing.assert_close(seen[0][0, row], rows[row] + coordinate(place, 1), rtol=0, atol=1e-14)

    def test_both_stacks_of_an_encoder_decoder(self):
        m = built("universal", **BOTH)
        encoder, decoder = (stack.blocks for stack in m.stacks().values())

        assert [block.before.step for block in encoder] == [1, 2, 3, 4]
        assert [block.before.step for block in decoder] == [1, 2]
        assert encoder[0].mixer is not decoder[0].mixer
        assert decoder[0].cross is decoder[1].cross

    def test_one_stack_by_name(self):
        m = built("universal(2, stacks=encoder)", **BOTH)
        encoder, decoder = (stack.blocks for stack in m.stacks().values())

        assert [block.before is None for block in encoder] == [False, True, False, True]
        assert all(block.before is None for block in decoder)
        assert decoder[0].mixer is not decoder[1].mixer

    def test_a_model_with_more_steps_takes_the_same_weights(self, tmp_path):
        place = save_weights(built("universal"), tmp_path / "w.safetensors")
        longer = built("universal", layers=5)
        load_weights(longer, place)

        expected = by_hand(longer, longer.embedding.tokens(tokens()))
        torch.testing.assert_close(longer(tokens()).logits, expected, rtol=0, atol=1e-12)
        assert torch.equal(longer.layers[4].ffn.up.weight, built("universal").layers[0].ffn.up.weight)

    def test_nothing_of_it_is_saved(self, tmp_path):
        place = save_weights(built("universal"), tmp_path / "w.safetensors")

        assert safetensors.torch.load_file(place).keys() == {
            name.removeprefix("model.") for name in built(layers=1).state_dict() if "output" not in name
        }


class TestRefusals:
    @pytest.mark.parametrize(
        ("position", "name"), [("rotary", "Rotary"), ("sinusoidal", "Sinusoidal"), ("alibi", "Alibi")]
    )
    def test_a_position_beside_its_own(self, position, name):
        found = refused("universal", position=position, heads=1)

        assert found.message == "universal adds positions before each step, and the model has positions of its own"
        assert found.label == f"{name}: each token would be told twice where it is"
        assert found.fixes == ("position: none", "universal(positions=false)")
        assert built("universal(positions=false)", position=position, heads=1).layers[0].before.positions is False

    def test_a_position_in_one_stack(self):
        found = refused("universal", **{**BOTH, "heads": 1, "decoder": {"layers": 2, "position": "rotary"}})

        assert found.message == (
            "universal adds positions before each step, and the stack 'decoder' has positions of its own"
        )

    def test_layers_that_make_up_no_block(self):
        found = refused("universal(2)")

        assert (found.message, found.code) == ("3 layers cannot be a block that is applied 2 times", "XC032")
        assert found.label == "the layers that a spec writes are those that are applied"
        assert found.fixes == ("layers: 2, which is one layer applied 2 times",)

    def test_one_layer(self):
        assert refused("universal", layers=1).message == "1 layer cannot be a block that is applied 2 times"
        assert refused("universal(6)", layers=1).fixes == ("layers: 6, which is one layer applied 6 times",)

    def test_a_residual_with_two_streams(self):
        found = refused("universal", residual="reversible")

        assert found.message == "universal adds to one stream, and the residual carries two streams"
        assert found.fixes == ("residual: post-norm", "share(all), which adds nothing")

    def test_an_odd_width(self):
        assert refused("universal", dim=7, heads=1).message == "universal needs an even 'dim', found 7"

    def test_layers_that_are_not_alike(self):
        found = refused("universal", layers="attention, attention(pattern=window(2)), attention")

        assert found.message == "layers 0 and 1 cannot share, they differ in mixer"

    def test_beside_share(self):
        assert refused("share(all)", "universal").message == "layers 0 and 1 share their mixer already"
        assert refused("universal", "share(ffn)").message == "layers 0 and 1 share their ffn already"

    def test_behind_an_adapter(self):
        assert refused("adapter(3)", "universal").message == "'universal' comes after 'adapter'"
