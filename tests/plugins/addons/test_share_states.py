"""Shared layers of every kind of mechanism: what belongs to one application stays with it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils import _pytree as pytree

import xcompose as xc
from tests.plugins.addons.twins import same_gradients, twin
from xcompose.compose.observe import Observer, Tally
from xcompose.compose.parts import AfterStep

MODEL = {"type": "decoder", "dim": 16, "heads": 2, "vocab": 17, "layers": 3}
N = 13
MECHANISMS = {
    "window": {"mixer": "attention(pattern=window(3))"},
    "linear": {"mixer": "attention(score=linear)"},
    "favor": {"mixer": "attention(score=favor(8))"},
    "segments": {"recurrence": "segments(4, memory=4)", "position": "transformer-xl"},
    "compressive": {"recurrence": "compressive(4, memory=4, compressed=4, rate=2)", "position": "transformer-xl"},
    "routing": {"mixer": "attention(pattern=routing(3, window=4))", "position": "none"},
    "lsh": {"mixer": "attention(pattern=lsh(buckets=4, chunk=2), shared_qk=true)", "position": "none"},
    "adaptive-span": {
        "mixer": "attention(pattern=adaptive-span(6, ramp=3, start=0.5), silence=zero)",
        "position": "relative(6)",
    },
    "conv": {"mixer": "attention(pattern=window(3), memory=conv(4))"},
}
"""A pattern, kernels, recurrences, learned patterns, a memory: keys of a model."""


def built(name: str, *addons: str, **keys):
    spec = {"xcompose": 1, "model": {**MODEL, **MECHANISMS[name], **keys}, "addons": list(addons)}
    return xc.build(spec, dtype=torch.float64)


def tokens(batch: int = 2, n: int = N) -> torch.Tensor:
    return torch.randint(0, 17, (batch, n), generator=torch.Generator().manual_seed(4))


def loss_of(m) -> torch.Tensor:
    out = m(tokens())
    return out.logits.square().sum() + 10 * sum(out.losses.values())


@pytest.mark.parametrize("name", MECHANISMS)
class TestEveryMechanism:
    def test_equals_layers_of_equal_weights(self, name):
        """Answers, losses, and gradients that are the sums over all layers; in training, too."""
        shared = built(name, "share(all)")
        plain = twin(shared, built(name))
        for training in (False, True):
            ours, theirs = shared.train(training)(tokens()), plain.train(training)(tokens())
            torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=1e-11)
            assert ours.losses.keys() == theirs.losses.keys()
            for key, value in theirs.losses.items():
                torch.testing.assert_close(ours.losses[key], value, rtol=1e-10, atol=1e-12)
        loss_of(shared).backward()
        loss_of(plain).backward()
        assert same_gradients(shared, plain) > 10

    @pytest.mark.parametrize("cuts", [(1,) * N, (5, 1, 7), (N,)])
    def test_every_layer_remembers_by_itself(self, name, cuts):
        shared = built(name, "share(all)").eval()
        plain = twin(shared, built(name)).eval()
        found = []
        for m in (shared, plain):
            state, logits = m.start(2), []
            for part in tokens().split(cuts, 1):
                out = m(part, state=state)
                state = out.state
                logits.append(out.logits)
            found.append((torch.cat(logits, 1), state))
        (ours, state), (theirs, expected) = found

        torch.testing.assert_close(ours, shared(tokens()).logits, rtol=0, atol=1e-10)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)
        assert state.parts.keys() == expected.parts.keys() == {"0.mixer", "1.mixer", "2.mixer"}
        for own, other in zip(pytree.tree_leaves(state), pytree.tree_leaves(expected), strict=True):
            if isinstance(own, torch.Tensor):
                torch.testing.assert_close(own, other, rtol=0, atol=1e-11)
        first, second = (pytree.tree_leaves(state.parts[key]) for key in ("0.mixer", "1.mixer"))
        floats = [(a, b) for a, b in zip(first, second, strict=True) if a.is_floating_point() and a.numel()]
        assert any(not torch.equal(a, b) for a, b in floats)

    def test_one_application_changes_nothing_for_the_next_call(self, name):
        """No module keeps anything from a forward pass."""
        m = built(name, "share(all)").train()
        before = copy.deepcopy(m.state_dict())
        first = m(tokens()).logits
        m(tokens(3, 5))

        assert all(torch.equal(before[key], value) for key, value in m.state_dict().items())
        assert torch.equal(m(tokens()).logits, first)


class TestCentroids:
    def test_they_count_every_application_and_learn_once(self):
        shared = built("routing", "share(all)").train()
        plain = twin(shared, built("routing")).train()
        ours, theirs = Tally(), Tally()
        with torch.no_grad():
            ours.add(shared(tokens()).stats)
            theirs.add(plain(tokens()).stats)
        (centroids,) = [module for module in shared.modules() if isinstance(module, Observer)]
        apart = [module for module in plain.modules() if isinstance(module, Observer)]
        sums = {
            name: sum(theirs.sums[module.label, name] for module in apart) for name in ("counts", "sums")
        }  # fmt: skip

        assert len(apart) == 3
        assert sorted(ours.sums) == [(centroids.label, "counts"), (centroids.label, "sums")]
        assert ours.sums[centroids.label, "counts"].sum() == 3 * 2 * 2 * 2 * N  # layers, heads, q and k, batch, rows
        expected = copy.deepcopy(centroids)
        with torch.no_grad():
            expected.learn(sums)
            ours.teach(shared)
        for name in ("means", "counts", "sums"):
            torch.testing.assert_close(getattr(centroids, name), getattr(expected, name), rtol=1e-12, atol=1e-12)
        assert not torch.equal(centroids.means, apart[0].means)

    def test_computing_layers_again_counts_nothing_twice(self):
        plain, again = built("routing", "share(all)").train(), built("routing", "share(all)").train()
        again.stack.recompute = True
        found = []
        for m in (plain, again):
            tally = Tally()
            with tally.watching(m):
                out = m(tokens())
                (out.logits.square().sum() + sum(out.losses.values())).backward()
            found.append(tally.sums)

        assert found[0].keys() == found[1].keys()
        assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


class TestBetweenSteps:
    def steps(self, m) -> list[AfterStep]:
        return [module for module in m.modules() if isinstance(module, AfterStep)]

    def test_features_are_drawn_once_for_all_layers(self):
        m = built("favor", "share(all)", mixer="attention(score=favor(8, redraw=2))")
        (score,) = self.steps(m)
        drawn = [score.rows.clone()]
        for _ in range(4):
            for module in self.steps(m):
                module.after_step()
            drawn.append(score.rows.clone())

        assert int(score.steps) == 4
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[1], drawn[2])
        assert torch.equal(drawn[2], drawn[3])

    def test_spans_are_clamped_once(self):
        (pattern,) = self.steps(built("adaptive-span", "share(all)"))
        with torch.no_grad():
            pattern.v.fill_(7.0)
            pattern.after_step()

        assert pattern.v.tolist() == [1.0, 1.0]

    def test_a_loss_of_a_layer_is_added_for_each_application(self):
        m = built("adaptive-span", "share(all)").train()
        losses = m(tokens()).losses

        assert sorted(losses) == ["0.mixer.span", "1.mixer.span", "2.mixer.span"]
        assert len({value.item() for value in losses.values()}) == 1


class TestHashes:
    def test_all_layers_hash_in_the_directions_of_the_first(self):
        shared, plain = built("lsh", "share(all)"), built("lsh")
        ours, theirs = (
            [buffer for name, buffer in m.named_buffers() if name.endswith("rotations")] for m in (shared, plain)
        )

        assert len(ours) == 1
        assert len(theirs) == 3
        assert torch.equal(ours[0], theirs[0])
        assert not torch.equal(theirs[0], theirs[1])

    def test_random_blocks_are_those_of_the_first_layer(self):
        mixer = "attention(pattern=random-blocks(1, block=2) | blocks(2), silence=zero)"
        keys = {"type": "encoder", "mixer": mixer, "length": 16, "position": "none"}
        shared, plain = built("window", "share(all)", **keys), built("window", **keys)
        blocks = [[group.matrix.tolist() for group in block.mixer.visible(16)] for block in plain.layers]

        assert blocks[0] != blocks[1]
        for block in shared.layers:
            assert [group.matrix.tolist() for group in block.mixer.visible(16)] == blocks[0]
