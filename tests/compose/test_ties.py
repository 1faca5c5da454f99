"""Tables that embedding and output share: one tensor, wherever it is counted, moved, copied, saved or trained."""

from __future__ import annotations

import copy

import pytest
import safetensors.torch
import torch

import xcompose as xc
from xcompose.compose.build import plan_model
from xcompose.compose.summary import summarise
from xcompose.compose.summary_text import text
from xcompose.compose.weights import load_weights, save_weights
from xcompose.cost.count import parameters
from xcompose.train.learner import groups

C, R, V = 12, 5, 17
ONE = {"type": "decoder", "dim": C, "heads": 2, "vocab": V, "layers": 1}
MODELS = {
    "lm": ({**ONE, "output": "lm"}, V * C),
    "mlm": ({**ONE, "type": "encoder", "embedding": f"tokens(rank={R})", "output": f"mlm(rank={R})"}, V * R),
    "both": (
        {**{k: v for k, v in ONE.items() if k != "layers"}, "type": "encoder-decoder", "output": "lm",
         "encoder": {"layers": 1}, "decoder": {"layers": 1}},
        V * C,
    ),
    "adaptive": ({**ONE, "embedding": "adaptive(cutoffs=[5, 9], div=2)", "output": "adaptive(projections=own)"}, None),
}  # fmt: skip
"""By name: a model, and the numbers in the tensors that are tied."""


def spec(name: str, tied: bool = True) -> dict:
    model = dict(MODELS[name][0])
    output = model["output"]
    if not tied:
        model["output"] = f"{output[:-1]}, tied=false)" if "(" in output else f"{output}(tied=false)"
    return {"xcompose": 1, "model": model}


def built(name: str, tied: bool = True, seed: int = 0):
    return xc.build(spec(name, tied), seed=seed, dtype=torch.float64)


def ties(m) -> set[tuple[str, ...]]:
    """The names of each tensor that has several."""
    found: dict[int, list[str]] = {}
    for name, parameter in m.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), []).append(name)
    return {tuple(names) for names in found.values() if len(names) > 1}


def answer(m) -> torch.Tensor:
    tokens = torch.tensor([[3, 0, 16, 3], [8, 3, 1, 12]])
    return m(tokens, source=tokens.flip(1)).logits if m.reads_source else m(tokens).logits


@pytest.mark.parametrize("name", MODELS)
class TestEveryTie:
    def test_counted_once(self, name):
        m, size = built(name), MODELS[name][1]
        size = sum(m.get_parameter(names[0]).numel() for names in ties(m)) if size is None else size
        total = sum(p.numel() for p in m.parameters())

        assert ties(m)
        assert ties(built(name, tied=False)) == set()
        assert sum(p.numel() for p in built(name, tied=False).parameters()) == total + size
        assert parameters(m).total == total
        assert sum(p.numel() for group in groups(m) for p in group["params"]) == total
        assert summarise(plan_model(xc.read(spec(name)))).parameters == total

    def test_saved_once_and_tied_after_reading(self, name, tmp_path):
        saved, fresh = built(name), built(name, seed=1)
        before = ties(fresh)
        held = safetensors.torch.load_file(save_weights(saved, tmp_path / "w.safetensors"))
        load_weights(fresh, tmp_path / "w.safetensors")

        assert all(sum(tied in held for tied in names) == 1 for names in ties(saved))
        assert ties(fresh) == before == ties(saved)
        assert torch.equal(answer(fresh), answer(saved))

    def test_tied_after_everything_that_makes_another_of_it(self, name):
        m = built(name)

        assert ties(copy.deepcopy(m)) == ties(m)
        assert ties(built(name).to(torch.bfloat16)) == ties(m)
        assert ties(plan_model(xc.read(spec(name)))) == ties(m)

    def test_the_gradient_is_the_sum_of_all_uses(self, name):
        m, apart = built(name), built(name, tied=False)
        apart.load_state_dict({key: value for key, value in m.state_dict().items() if key in apart.state_dict()})
        torch.testing.assert_close(answer(m), answer(apart), rtol=0, atol=1e-13)
        answer(m).square().sum().backward()
        answer(apart).square().sum().backward()

        for names in ties(m):
            total = sum(apart.get_parameter(tied).grad for tied in names)
            torch.testing.assert_close(m.get_parameter(names[0]).grad, total, rtol=1e-11, atol=1e-11)


class TestOneTableForThree:
    """Source, target and output of an encoder-decoder, as in Vaswani et al., s. 3.4."""

    def test_it_is_the_only_table(self):
        m = built("both")

        assert [tuple(p.shape) for p in m.parameters()].count((V, C)) == 1
        assert ties(m) == {("embedding.tokens.weight", "output.linear.weight")}
        assert "17 → 12, tied to tokens" not in text(summarise(plan_model(xc.read(spec("both")))))
        assert "12 → 17, tied to tokens" in text(summarise(plan_model(xc.read(spec("both")))))

    def test_every_one_of_them_teaches_it(self):
        """Token 7 is a source only, token 9 a target only, token 11 an answer only."""
        m = built("both")
        source, target = torch.tensor([[7, 3]]), torch.tensor([[9, 4]])
        m(target, source=source).logits[0, 1, 11].backward()
        taught = m.embedding.tokens.weight.grad.abs().amax(1) > 0

        assert taught.nonzero().flatten().tolist() == [3, 4, 7, 9, 11]
