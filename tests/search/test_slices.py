"""Weights that are a part of larger ones: equal to slices taken by hand, values and gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.search.spaces import REGISTRY, SIZES, TINY, cells, space, supermodel, table_of
from xcompose.compose.build import build_model
from xcompose.compose.model import Model
from xcompose.diagnostics import PartError
from xcompose.search.slices import Skeleton, Table, covering, leading, places, within
from xcompose.search.supernet import SuperModel, survey

D = 4
"""Width of a head in the tiny model."""
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 9, 7]])


def by_hand(w: dict[str, Tensor], tokens: Tensor, c: int, h: int, f: int, layers: int) -> Tensor:
    """The tiny decoder from slices of the large weights: head by head, query by query."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, centred = x.mean(-1, keepdim=True), x - x.mean(-1, keepdim=True)
        assert mean.shape[-1] == 1
        root = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / root * w[f"{name}.weight"][:c] + w[f"{name}.bias"][:c]

    def attend(x: Tensor, at: str) -> Tensor:
        n, answer = x.shape[1], w[f"{at}.out.bias"][:c].expand_as(x)
        for head in range(h):
            rows = slice(head * D, head * D + D)
            q, k, v = (x @ w[f"{at}.{p}.weight"][rows, :c].T + w[f"{at}.{p}.bias"][rows] for p in "qkv")
            heard = []
            for i in range(n):
                logits = torch.einsum("b d, b m d -> b m", q[:, i], k[:, : i + 1]) / math.sqrt(D)
                heard.append(torch.einsum("b m, b m d -> b d", logits.softmax(-1), v[:, : i + 1]))
            answer = answer + torch.stack(heard, 1) @ w[f"{at}.out.weight"][:c, rows].T
        return answer

    x = w["embedding.tokens.weight"][:, :c][tokens]
    for layer in range(layers):
        at = f"stack.layers.{layer}"
        x = x + attend(norm(x, f"{at}.residual.norms.0"), f"{at}.mixer")
        inner = norm(x, f"{at}.residual.norms.1") @ w[f"{at}.ffn.up.weight"][:f, :c].T + w[f"{at}.ffn.up.bias"][:f]
        x = x + inner.relu() @ w[f"{at}.ffn.down.weight"][:c, :f].T + w[f"{at}.ffn.down.bias"][:c]
    return norm(x, "stack.norm") @ w["embedding.tokens.weight"][:, :c].T


def chosen(c: int, h: int, f: int, layers: int) -> dict[str, str]:
    return {"let.c": str(c), "let.h": str(h), "let.f": str(f), "let.l": str(layers)}


COMBINATIONS = list(itertools.product((8, 12), (2, 3), (7, 20), (1, 2)))


@pytest.mark.parametrize("sizes", COMBINATIONS, ids=str)
def test_a_sub_network_is_the_model_of_slices_taken_by_hand(sizes):
    model = supermodel()
    ours = cells(model)
    theirs = {name: p.detach().clone().requires_grad_() for name, p in ours.items()}
    heard = torch.randn(2, 7, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    with model.using(chosen(*sizes)) as one:
        logits = one(TOKENS).logits
        (logits * heard).sum().backward()
    expected = by_hand(theirs, TOKENS, *sizes)
    (expected * heard).sum().backward()

    assert torch.allclose(logits, expected, rtol=0, atol=1e-12)
    for name, cell in ours.items():
        if theirs[name].grad is None:
            assert cell.grad is None, name
        else:
            assert torch.allclose(cell.grad, theirs[name].grad, rtol=0, atol=1e-11), name


def test_a_gradient_lands_in_the_slice_and_nowhere_else():
    model = supermodel()
    with model.using(chosen(8, 2, 7, 1)) as one:
        one(TOKENS).logits.square().sum().backward()
    found = cells(model)

    up = found["stack.layers.0.ffn.up.weight"].grad
    assert (up[:7, :8] != 0).any()
    assert not up[7:].any()
    assert not up[:, 8:].any()
    q = found["stack.layers.0.mixer.q.weight"].grad
    assert (q[: 2 * D, :8] != 0).all()
    assert not q[2 * D :].any()
    assert not q[:, 8:].any()
    assert not found["embedding.tokens.weight"].grad[:, 8:].any()
    assert found["stack.layers.1.ffn.up.weight"].grad is None


def test_the_largest_choice_starts_as_the_plain_model_does():
    made = space(SIZES)
    found = survey(made)
    model = SuperModel(made, found, seed=7, draws=0)
    plain = build_model(made.resolve(chosen(12, 3, 20, 2)), seed=7, registry=REGISTRY)

    assert found.largest == chosen(12, 3, 20, 2)
    assert found.smallest == chosen(8, 2, 7, 1)
    assert found.painters == (found.largest,)
    weights = cells(model)
    assert set(weights) == {name for name, _ in plain.named_parameters()}
    for name, parameter in plain.named_parameters():
        assert torch.equal(weights[name], parameter), name
    with model.eval().using(found.largest) as one:
        assert torch.equal(one(TOKENS).logits, plain.eval()(TOKENS).logits)


class TestTied:
    text = TINY.replace("  layers: ${l}\n", "  layers: ${l}\naddons: [share(all)]\n")

    def test_tied_tensors_and_shared_layers_stay_one(self):
        model = supermodel({"let.c": ("8", "12")}, self.text)
        with model.using({"let.c": "8"}) as one:
            first, second = one.layers
            assert first.mixer is second.mixer
            assert one.output.linear.weight is one.embedding.tokens.weight
            assert one.embedding.tokens.weight.shape == (13, 8)
            one(TOKENS).logits.square().sum().backward()
        found = cells(model)

        assert not any(name.startswith("stack.layers.1") for name in found)
        assert "output.linear.weight" not in found
        assert (found["embedding.tokens.weight"].grad[:, :8] != 0).any()

    def test_one_choice_may_tie_what_another_has_apart(self):
        text = TINY.replace("  position: none\n", "  position: none\n  output: lm(tied=${t})\n").replace(
            "{c: 12", "{t: true, c: 12"
        )
        model = supermodel({"let.t": ("true", "false")}, text)

        with model.using({"let.t": "true"}) as one:
            assert one.output.linear.weight is one.embedding.tokens.weight
        with model.using({"let.t": "false"}) as one:
            assert one.output.linear.weight is cells(model)["output.linear.weight"]


def test_patterns_and_scores_share_weights():
    text = TINY.replace("  position: none\n", "  position: none\n  mixer: attention(pattern=window(${w}))\n").replace(
        "{c: 12", "{w: 3, c: 12"
    )
    model = supermodel({"let.w": ("2", "5"), "model.mixer.score": ("softmax", "linear")}, text)
    assert set(cells(model)) == set(cells(supermodel()))


class TestLending:
    def test_a_skeleton_keeps_no_weights(self):
        skeleton = Skeleton(build_model(space(SIZES).resolve({}), registry=REGISTRY))

        assert all(p.is_meta for p in skeleton.model.parameters())
        with skeleton.lent(supermodel().float().tensors()) as one:
            assert not any(p.is_meta for p in one.parameters())
        assert all(p.is_meta for p in skeleton.model.parameters())

    def test_weights_come_back_when_something_fails(self):
        model = supermodel()
        with pytest.raises(ZeroDivisionError), model.using(chosen(8, 2, 7, 1)) as one:
            raise ZeroDivisionError
        assert all(p.is_meta for p in one.parameters())

    def test_what_is_extracted_is_a_copy(self):
        model = supermodel()
        copy = model.extracted(chosen(8, 3, 7, 2)).double()
        with model.eval().using(chosen(8, 3, 7, 2)) as one:
            expected = one(TOKENS).logits.detach()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()

        assert torch.allclose(copy(TOKENS).logits, expected, rtol=0, atol=1e-5)

    def test_the_whole_of_a_tensor_is_the_tensor_itself(self):
        tensor = torch.arange(12.0).reshape(3, 4)
        assert leading(tensor, (3, 4)) is tensor
        assert leading(tensor, (2, 3)).tolist() == [[0, 1, 2], [4, 5, 6]]
        assert leading(tensor, (2, 3)).data_ptr() == tensor.data_ptr()


class TestCovering:
    def test_the_largest_alone_covers_what_lies_in_it(self):
        assert covering([{"a": (2, 3)}, {"a": (5, 7)}, {"a": (5, 3), "b": ()}]) == [1, 2]

    def test_neither_of_two_may_lie_in_the_other(self):
        assert covering([{"a": (2, 7)}, {"a": (5, 3)}, {"a": (2, 3)}]) == [1, 0]

    def test_every_shape_lies_in_one_that_was_chosen(self):
        sizes = list(itertools.product((2, 3, 5), repeat=3))
        shapes = [{"a": (x, y), "b": (y, z), "c": (x + z,)} for x, y, z in sizes if x + y + z < 12]
        chosen = covering(shapes)

        assert len(chosen) < len(shapes)
        for one in shapes:
            for name, shape in one.items():
                assert any(within(shape, shapes[number][name]) for number in chosen)


def with_a_flat_table(model: Model) -> Model:
    model.embedding.tokens.weight = torch.nn.Parameter(torch.zeros(13, device="meta"))
    return model


class TestRefusals:
    def refusal(self, choices: dict[str, tuple[str, ...]], text: str = TINY) -> PartError:
        with pytest.raises(PartError) as caught:
            table_of(space(choices, text))
        return caught.value

    def test_heads_of_other_widths(self):
        error = self.refusal({"model.head_dim": ("4", "6")})

        assert error.message == "'stack.layers.0.mixer.q' has heads of 4 with head_dim=4, of 6 with head_dim=6"
        assert error.label == "the leading rows of its weights are whole heads only where all heads are equally wide"
        assert error.fixes == ("write head_dim: N in the model; then more heads make it wider",)

    def test_heads_that_divide_another_width(self):
        error = self.refusal({"let.c": ("12", "24")}, TINY.replace("  head_dim: 4\n", ""))

        assert error.message == "'stack.layers.0.mixer.q' has heads of 4 with c=12, of 8 with c=24"

    def test_another_vocabulary(self):
        error = self.refusal({"model.vocab": ("13", "17")})

        assert error.message == "a decoder of 13 tokens with vocab=13, a decoder of 17 tokens with vocab=17"
        assert error.label == "all models of a super-network learn the same task from the same data"
        assert error.fixes == ("search over the two apart",)

    def test_addons_that_come_behind_training(self):
        error = self.refusal({"let.c": ("8",)}, TINY + "addons: [adapter(3)]\n")

        assert error.message == "addon 'adapter' cannot stand in a super-network"
        assert error.label == "it changes weights that are trained already, and those of a super-network are not yet"
        assert error.fixes == ("search without it, and list it in the addons of a winner",)

    def test_a_part_where_another_has_a_weight(self):
        table = Table()
        made = space({"let.c": ("8", "12")})
        model = made.plan({"let.c": "8"})
        model.embedding.tokens = torch.nn.Module()
        model.embedding.tokens.weight = torch.nn.Linear(2, 3)
        model.output.linear.weight = torch.nn.Parameter(torch.zeros(2, 3))
        table.add(made.plan({"let.c": "12"}), "c=12")
        with pytest.raises(PartError) as caught:
            table.add(model, "c=8")

        assert caught.value.message == (
            "'embedding.tokens.weight' is a weight with c=12, and a part with weights of its own with c=8"
        )
        assert caught.value.label == "a super-network has one place for each name"
        assert caught.value.fixes == ("search over the two apart",)

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (with_a_flat_table, "has 2 axes with c=12, 1 axis with c=8"),
            (lambda m: m.bfloat16(), "is float32 with c=12, bfloat16 with c=8"),
            (lambda m: m.requires_grad_(False), "is trained with c=12, frozen with c=8"),
        ],
    )
    def test_another_kind_of_tensor(self, change, text):
        made, table = space({"let.c": ("8", "12")}), Table()
        table.add(made.plan({"let.c": "12"}), "c=12")
        with pytest.raises(PartError) as caught:
            table.add(change(made.plan({"let.c": "8"})), "c=8")

        assert caught.value.message == f"'embedding.tokens.weight' {text}"
        assert caught.value.label == "of two such tensors none can be a part of the other"
        assert caught.value.fixes == ("search over the two apart",)


def test_places_names_buffers_that_training_moves():
    text = TINY.replace("  position: none\n", "  position: none\n  mixer: attention(score=favor(features=8))\n")
    found = places(space({}, text).plan({}))

    moved = {name for name, everywhere in found.items() if not everywhere[0].weight}
    assert moved == {f"stack.layers.{layer}.mixer.inner.score.{name}" for layer in (0, 1) for name in ("rows", "steps")}


def test_functional_norm_agrees_with_the_one_by_hand():
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    centred = x - x.mean(-1, keepdim=True)
    by_hand = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(functional.layer_norm(x, (5,)), by_hand, rtol=0, atol=1e-12)
