"""Log-probabilities in two steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import xcompose as xc
from tests.plugins.built import built, leaf
from xcompose.api import Axis, TokenClusters
from xcompose.diagnostics import SpecError

V, C = 17, 12
EDGES = (0, 3, 7, V)


def clusters(div: int = 2, width: int = C) -> TokenClusters:
    torch.manual_seed(0)
    widths = [width] if div == 1 else [width // div**s for s in range(3)]
    return TokenClusters(EDGES, widths, C, equal=div > 1).double()


def output(found: TokenClusters, **given):
    made = built("output", "adaptive", C, {"clusters": found}, **given)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "bias" in name:
                p.copy_(torch.linspace(-1, 1, len(p)))
    return made


def naive(made, x: Tensor) -> Tensor:
    """One row (c) to the log-probabilities of all tokens, by sums over tokens and clusters."""

    def row(t: int) -> tuple[Tensor, Tensor]:
        s = next(s for s in range(3) if EDGES[s] <= t < EDGES[s + 1])
        table, at = (made.tables[0], t) if made.one_table else (made.tables[s], t - EDGES[s])
        return table.weight[at], table.bias[at]

    def narrow(s: int) -> Tensor:
        return made.projections[s].weight.T @ x if len(made.projections) else x

    def score(t: int, s: int) -> Tensor:
        weight, bias = row(t)
        return (weight @ narrow(s) + bias).exp()

    gates = [(made.gate.weight[s] @ narrow(0) + made.gate.bias[s]).exp() for s in range(2)]
    whole = sum(score(t, 0) for t in range(3)) + sum(gates)
    found = [score(t, 0) / whole for t in range(3)]
    for s in (1, 2):
        own = range(EDGES[s], EDGES[s + 1])
        cluster = sum(score(t, s) for t in own)
        found += [gates[s - 1] / whole * score(t, s) / cluster for t in own]
    return torch.stack(found).log()


class TestAdaptive:
    @pytest.mark.parametrize("given", [{}, {"tied": False}, {"projections": "own"}, {"projections": "tied"}], ids=str)
    @pytest.mark.parametrize("shape", [{}, {"div": 1}, {"div": 1, "width": 5}, {"width": 8}], ids=str)
    def test_equals_its_formula(self, given, shape):
        if shape == {"div": 1} and "projections" in given:
            given = {}  # there are none
        made, x = output(clusters(**shape), **given), leaf(2, 3, C)
        found = made(x, Axis(range(3)))
        wanted = torch.stack([naive(made, row) for row in x.flatten(0, 1)]).unflatten(0, (2, 3))

        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, 3, dtype=x.dtype), rtol=0, atol=1e-13)
        torch.testing.assert_close(found.log_softmax(-1), found, rtol=0, atol=1e-13)
        upstream, inputs = leaf(2, 3, V, seed=9).detach(), [x, *made.parameters()]
        for one, other in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)

    def test_equals_that_of_torch(self):
        """Which has no bias behind the head, and two layers a cluster: a projection, and a table."""
        theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(C, V, list(EDGES[1:-1]), div_value=2.0, head_bias=True).double()
        made = output(clusters(), tied=False)
        with torch.no_grad():
            made.projections[0].weight.copy_(torch.eye(C))
            made.tables[0].weight.copy_(theirs.head.weight[:3])
            made.tables[0].bias.copy_(theirs.head.bias[:3])
            made.gate.weight.copy_(theirs.head.weight[3:])
            made.gate.bias.copy_(theirs.head.bias[3:])
            for s, tail in enumerate(theirs.tail, 1):
                made.projections[s].weight.copy_(tail[0].weight.T)
                made.tables[s].weight.copy_(tail[1].weight)
                made.tables[s].bias.zero_()
        x = leaf(5, C)

        torch.testing.assert_close(made(x[None], Axis(range(5)))[0], theirs.log_prob(x), rtol=0, atol=1e-12)

    @pytest.mark.parametrize(
        ("projections", "same"), [("own", [False] * 3), ("tail", [False, True, True]), ("tied", [True] * 3)]
    )
    def test_what_is_tied(self, projections, same):
        found = clusters()
        made = output(found, projections=projections)

        assert all(own.weight is table.weight for own, table in zip(made.tables, found.tables, strict=True))
        pairs = zip(made.projections, found.projections, strict=True)
        assert [own.weight is theirs.weight for own, theirs in pairs] == same
        assert not any(
            own.weight is t.weight for own, t in zip(output(found, tied=False).tables, found.tables, strict=True)
        )
        assert made.extra_repr() == "12 → 17"

    def test_without_clusters_it_is_refused(self):
        with pytest.raises(SpecError) as caught:
            xc.build(
                {"xcompose": 1, "model": {"type": "decoder", "dim": 8, "heads": 2, "layers": 1, "output": "adaptive"}}
            )
        (found,) = caught.value.diagnostics

        assert found.message == "output 'adaptive' takes its clusters from the embedding, and this one has none"
        assert found.fixes == ("embedding: adaptive(...)", "output: lm")

    def test_projections_that_the_embedding_does_not_have_are_refused(self):
        embedding, output = "adaptive(3, 7, div=1)", "adaptive(projections=tied)"
        with pytest.raises(SpecError) as caught:
            xc.build(
                {
                    "xcompose": 1,
                    "model": {
                        "type": "decoder", "vocab": V, "dim": C, "heads": 2, "layers": 1, "embedding": embedding,
                        "output": output,
                    },
                }
            )  # fmt: skip
        (found,) = caught.value.diagnostics

        assert found.message == "output 'adaptive' has no use for 'projections' here"
        assert found.fixes == ("leave projections out",)

    def test_rows_of_another_width_are_refused(self):
        with pytest.raises(SpecError) as caught:
            built("output", "adaptive", 5, {"clusters": clusters()})

        assert caught.value.diagnostics[0].message == (
            "rows of width 5 do not fit clusters of an embedding of width 12"
        )

    def test_a_model_learns_through_it_and_keeps_what_is_tied(self):
        model = {"type": "decoder", "vocab": V, "dim": C, "heads": 2, "layers": 1, "embedding": "adaptive(3, 7, div=2)"}
        m = xc.build({"xcompose": 1, "model": {**model, "output": "adaptive"}}, dtype=torch.float64)
        assert m.output.tables[2].weight is m.embedding.made.tables[2].weight
        tokens = torch.arange(12).reshape(1, 12) % V
        optimizer = torch.optim.Adam(m.parameters(), 0.01)
        losses = []
        for _ in range(30):
            loss = torch.nn.functional.cross_entropy(m(tokens[:, :-1]).logits[0], tokens[0, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

        assert losses[-1] < losses[0] / 2
