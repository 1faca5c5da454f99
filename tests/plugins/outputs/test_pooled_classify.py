"""PMA_k(Z) = MAB(S, rFF(Z)), then SABs on the seeds, then a linear layer."""

from __future__ import annotations

import pytest
import torch

import xcompose as xc
from tests.plugins.helpers import context, part, rows
from tests.plugins.mab import inner, linear, of_layer
from xcompose.attention.reads import Axis
from xcompose.compose.build import plan_model
from xcompose.cost.count import counts
from xcompose.diagnostics import PartError

B, N, C, H, K, CLASSES = 2, 7, 12, 3, 5, 11
FORMS = pytest.mark.parametrize("authors", [False, True], ids=["paper", "authors"])


def pooled(authors: bool = False, **given):
    before = part("ffn", "none" if authors else "single")
    given = {"classes": CLASSES, "seeds": K, "layers": 2, "before": before, **inner(H, authors), **given}
    made = context(C, "none").build(part("output", "pooled-classify", **given)).double()
    with torch.no_grad():
        for i, p in enumerate(made.parameters()):
            p.copy_(rows(*p.shape, seed=i) * 0.4)
    return made


def model(**keys):
    keys = {
        "type": "encoder", "dim": C, "heads": H, "layers": 2, "embedding": "vectors(3)", "position": "none",
        "ffn": "single", "residual": "post-norm", "mixer": "attention(pattern=none, memory=inducing(3))",
        "output": f"pooled-classify({CLASSES}, seeds={K}, layers=1)", **keys,
    }  # fmt: skip
    return xc.build({"xcompose": 1, "model": keys}, dtype=torch.float64)


@FORMS
@pytest.mark.parametrize(("seeds", "layers"), [(1, 0), (K, 0), (K, 2)])
def test_formula_and_gradients(authors, seeds, layers):
    made, z = pooled(authors, seeds=seeds, layers=layers), rows(B, N, C).requires_grad_()
    wanted = []
    for one in z:
        before = one if authors else torch.stack([torch.relu(linear(made.before.linear, row)) for row in one])
        y = of_layer(made.pool, made.seeds, before, authors)
        for layer in made.talk:
            y = of_layer(layer, y, y, authors)
        wanted.append(linear(made.linear, torch.cat(list(y))))
    wanted = torch.stack(wanted)

    found = made(z, Axis(range(N), total=N))

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
    inputs, upstream = [z, *made.parameters()], rows(B, CLASSES, seed=3)
    for one, other in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_padded_rows_are_not_read():
    made, z = pooled(), rows(3, N, C)
    valid = torch.arange(N) < torch.tensor([N, 4, 1])[:, None]
    found = made(torch.where(valid[..., None], z, 99.0), Axis(range(N), valid, total=N))

    for b, n in enumerate((N, 4, 1)):
        lone = made(z[b : b + 1, :n], Axis(range(n), total=n))
        torch.testing.assert_close(found[b : b + 1], lone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mixer", ["attention(pattern=none, memory=inducing(3))", "attention"])
def test_the_answer_of_a_model_does_not_depend_on_the_order(mixer):
    m, x = model(mixer=mixer), rows(B, N, 3)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1, 1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 0, 1, 0]]).bool()

    torch.testing.assert_close(m(x[:, order]).logits, m(x).logits, rtol=0, atol=1e-9)
    torch.testing.assert_close(m(x[:, order], mask=mask[:, order]).logits, m(x, mask=mask).logits, rtol=0, atol=1e-9)


def test_a_set_without_rows_gives_zeros():
    mask = torch.tensor([[False] * N, [True] * N])

    assert not model()(rows(B, N, 3), mask=mask).logits[0].any()


@pytest.mark.parametrize(("seeds", "layers"), [(1, 0), (K, 2)])
def test_pairs_are_those_of_the_closed_form(seeds, layers):
    """k n for the pooling, k^2 for each layer on the seeds: 4 c operations each."""
    keys = {
        "type": "encoder", "dim": C, "heads": H, "layers": 1, "ffn": "none", "position": "none",
        "output": f"pooled-classify({CLASSES}, seeds={seeds}, layers={layers})",
    }  # fmt: skip
    planned = plan_model(xc.read({"xcompose": 1, "model": keys}))
    for n in (5, 101):
        found = {path.partition(".")[0]: 0 for path, _ in counts(planned, n).mixers}
        for path, work in counts(planned, n).mixers:
            found[path.partition(".")[0]] += work

        assert found == {"stack": 4 * C * n * n, "output": 4 * C * (seeds * n + layers * seeds**2)}


def test_parameters_are_those_that_were_promised():
    """PMA has k d beyond a layer; seeds start as Xavier's."""
    made = pooled(layers=0)
    attention, single, norms = 4 * (C * C + C), C * C + C, 2 * 2 * C

    assert (
        sum(p.numel() for p in made.parameters()) == K * C + attention + 2 * single + norms + K * C * CLASSES + CLASSES
    )
    torch.manual_seed(0)
    seeds = context(96, "none").build(part("output", "pooled-classify", classes=2, seeds=32, **inner(3))).seeds
    assert seeds.std().item() == pytest.approx((2 / (96 + 32)) ** 0.5, rel=0.05)


def test_inside_it_is_made_as_the_model_around_it():
    m = model(norm="rms", ffn="mlp(7)", residual="pre-norm")

    assert type(m.output.pool.ffn) is type(m.layers[0].ffn)
    assert m.output.pool.ffn.up.out_features == 7
    assert [type(norm).__name__ for norm in m.output.talk[0].residual.norms] == ["RmsNorm", "RmsNorm"]
    assert m.output.pool.cross.heads == H


def test_layers_on_a_single_seed_are_refused():
    with pytest.raises(PartError) as caught:
        pooled(seeds=1, layers=2)

    assert caught.value.message == "2 layers on a single seed have nothing to weigh"
    assert caught.value.label == "their queries and keys would never get a gradient"
    assert caught.value.fixes == ("layers=0", "seeds=4")
    assert caught.value.option == "layers"


def test_what_it_says_of_itself():
    made = pooled()

    assert (made.each_row, made.predicts_tokens) == (False, False)
    assert made.extra_repr() == "5 seeds, 60 → 11"
    assert pooled(seeds=1, layers=0).extra_repr() == "1 seed, 12 → 11"
