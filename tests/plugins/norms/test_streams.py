from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import xcompose as xc
from tests.plugins.helpers import context, part, rows
from xcompose.diagnostics import PartError

B, G, N, C = 2, 3, 7, 5


def streams(branch: str = "mixer", **given):
    made = context(C, "none", prefix=G, branch=branch).build(part("norm", "streams", **given)).double()
    with torch.no_grad():
        for seed, p in enumerate(made.parameters()):
            p.copy_(rows(*p.shape, seed=seed))
    return made


def test_formula_and_gradients():
    made, x = streams(), rows(B, G + N, C, seed=9).requires_grad_()
    upstream = rows(B, G + N, C, seed=8)

    found = made(x)
    wanted = torch.cat(
        [
            functional.layer_norm(x[:, :G], (C,), made.first.weight, made.first.bias),
            functional.layer_norm(x[:, G:], (C,), made.tokens.weight, made.tokens.bias),
        ],
        1,
    )

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    inputs = [x, *made.parameters()]
    assert len(inputs) == 5
    for one, other in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_beside_a_feed_forward_network_both_streams_have_one_norm():
    x = rows(B, G + N, C)

    assert [name for name, _ in streams("ffn").named_parameters()] == ["tokens.weight", "tokens.bias"]
    torch.testing.assert_close(streams("ffn")(x), streams("ffn").tokens(x))
    assert len(list(streams("ffn", ffn=True).parameters())) == 4
    assert len(list(streams("").parameters())) == 4


@pytest.mark.parametrize(("residual", "per_layer", "behind"), [("pre-norm", 3, 2), ("post-norm", 3, 0)])
def test_in_a_model_the_residual_says_which_branch(residual, per_layer, behind):
    keys = {"type": "encoder", "dim": 8, "heads": 2, "vocab": 17, "layers": 2, "residual": residual}
    m = xc.build({"xcompose": 1, "model": {**keys, "norm": "streams", "embedding": "tokens(prefix=3)"}})
    norms = [m for m in m.stack.modules() if type(m).__name__ == "LayerNorm"]

    assert len(norms) == 2 * per_layer + behind
    assert type(m.layers[0].residual.norms[1].first) is type(None)
    assert m.layers[0].residual.norms[0].first is not None


def test_without_prefix_rows_it_is_refused():
    with pytest.raises(PartError) as caught:
        context(C, "none").build(part("norm", "streams"))

    assert caught.value.message == "norm 'streams' needs rows before the tokens, and there are none"
    assert caught.value.fixes == ("embedding: tokens(prefix=...)", "norm: layer")
