"""Counts on the meta device are those of the formulas, and of the real run."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import xcompose as xc
from xcompose import registry
from xcompose.compose.build import build_model, plan_model
from xcompose.cost.count import Flops, counts, parameters
from xcompose.cost.growths import growths
from xcompose.spec.resolve import load_text

DIM, HEADS, FFN, VOCAB = 24, 3, 96, 29


def spec(layers: str, kind: str = "decoder", **more: str):
    lines = [f"  {key}: {value}" for key, value in more.items()]
    text = "\n".join(
        ["xcompose: 1", "model:", f"  type: {kind}", f"  dim: {DIM}", f"  heads: {HEADS}", f"  vocab: {VOCAB}",
         f"  layers: {layers}", *lines, ""]
    )  # fmt: skip
    return load_text(text, "counted", catalogue=registry.load().catalogue)


def test_parameters_count_once_and_frozen_ones_are_not_trainable():
    model = plan_model(spec("2"))
    each = 4 * (DIM * DIM + DIM) + 2 * 2 * DIM + DIM * FFN + FFN + FFN * DIM + DIM
    total = VOCAB * DIM + 2 * each + 2 * DIM

    assert parameters(model).total == total
    model.embedding.requires_grad_(False)
    assert parameters(model).trainable == total - VOCAB * DIM


def rows_work(n: int, layers: int) -> int:
    """Projections, feed-forward and output of n rows."""
    return 2 * n * (layers * (4 * DIM * DIM + 2 * DIM * FFN) + DIM * VOCAB)


def test_what_is_stored_when_training_is_over_counts_as_trained():
    pytest.importorskip("torchao", reason="pip install 'xcompose[quantize]'")
    model = {"type": "decoder", "dim": 32, "heads": 2, "layers": 1}
    specs = [xc.read({"xcompose": 1, "model": model, "addons": addons}) for addons in ([], ["quantize(int8)"])]
    plain, stored = (parameters(plan_model(one)) for one in specs)

    assert stored == plain
    assert stored.trainable == stored.total


@pytest.mark.parametrize("n", [13, 64, 1000])
def test_a_dense_decoder_does_half_the_square(n):
    cost = counts(plan_model(spec("2")), n)
    pairs = n * (n + 1) // 2

    assert cost.attention == 2 * 4 * pairs * DIM
    assert cost.forward == rows_work(n, 2) + cost.attention


def test_a_window_does_what_its_pairs_say():
    n, w = 1000, 16
    cost = counts(plan_model(spec("attention(pattern=window(16))")), n)
    pairs = n * (w + 1) - w * (w + 1) // 2

    # Tiles of at most 64 queries compute the pairs of their corners, too.
    assert 4 * pairs * DIM <= cost.attention <= 4 * (n + 64) * (64 + w + 1) * DIM


def test_a_training_step_does_two_more_products_for_each():
    n = 50
    model = plan_model(spec("attention(score=linear)"))
    cost = counts(model, n, training=True)

    # Tokens have no gradient, everything else costs twice its forward pass; the executor may compute scores again.
    assert 2.9 * cost.forward <= cost.training <= 3.6 * cost.forward
    assert all(p.grad is None for p in model.parameters())


def test_counts_on_the_meta_device_are_those_of_the_real_run():
    one = spec("attention(pattern=window(5)), attention(score=linear)")
    planned, real = plan_model(one), build_model(one)
    flops = Flops()
    with torch.no_grad(), flops:
        real(torch.zeros(1, 40, dtype=torch.long))

    assert counts(planned, 40).forward == flops.total


def test_activations_are_bytes_that_backward_needs():
    n = 60
    cost = counts(plan_model(spec("1", ffn="none")), n, activations=True)
    rows = 4 * n * DIM

    # Embedded rows, two norms with their results, q, k, v, the answer and its merge: a handful of rows, nothing square.
    assert 6 * rows <= cost.activations <= 16 * rows
    assert counts(plan_model(spec("1")), n).activations == 0


def test_recomputing_residuals_keep_nothing_layer_by_layer():
    def kept(layers: int) -> int:
        one = spec(str(layers), residual="reversible", kind="encoder", output="mlm")
        return counts(plan_model(one), 64, activations=True).activations

    assert kept(8) - kept(4) <= 0.02 * kept(4)


def test_what_is_computed_again_for_the_gradient_is_no_work_of_the_forward_pass():
    once, again = (counts(plan_model(spec("2", residual=r)), 64, training=True) for r in ("pre-norm", "reversible"))

    assert (again.forward, again.attention, again.mixers) == (once.forward, once.attention, once.mixers)
    assert again.training > once.training


def test_explicit_tiles_of_a_long_text_are_counted_from_its_start():
    model = plan_model(spec("attention(pattern=window(16))", position="alibi"))
    near, far = counts(model, 4096), counts(model, 8192)

    # Twice the text, twice the pairs but for the first window.
    assert far.attention / near.attention == pytest.approx(2, rel=0.01)
    assert far.forward - far.attention == 2 * (near.forward - near.attention)


def test_a_length_that_the_model_cannot_take_is_a_value_error():
    with pytest.raises(ValueError, match="17"):
        counts(plan_model(spec("1", position="learned", length="16")), 17)


@pytest.mark.parametrize(
    ("layers", "time", "state"),
    [
        ("2", "O(n^2)", "O(n)"),
        ("attention(pattern=window(16)), attention(score=linear)", "O(n)", "O(1)"),
        ("6*attention(score=linear), attention", "O(n^2)", "O(n)"),
    ],
)
def test_growth_is_that_of_the_fastest_growing_mixer(layers, time, state):
    found = growths(plan_model(spec(layers)))

    assert str(found.of("time")) == time
    assert str(found.of("state")) == state


@pytest.mark.parametrize(("recurrence", "expected"), [("segments(150, memory=150)", "O(1)"), ("none", "O(n)")])
def test_a_state_that_swings_with_segments_does_not_grow(recurrence, expected):
    found = growths(plan_model(spec("2", recurrence=recurrence)))
    near, far = found.values("state")

    assert far > 1.05 * near
    assert str(found.of("state")) == expected


def test_growth_is_read_beyond_the_longest_length_of_the_spec():
    one = spec("1", position="learned", length="64")

    assert str(growths(plan_model(one), one).of("time")) == "O(n^2)"
    assert growths(plan_model(one)).lengths == (16, 32, 64)


SCRIPT = """
import resource, sys
import torch
import xcompose as xc
from xcompose import registry
from xcompose.compose.build import plan_model
from xcompose.cost.count import counts
from xcompose.spec.resolve import load_text
model = plan_model(load_text(sys.argv[1], "far", catalogue=registry.load().catalogue))
counts(model, 1024, activations=True, training=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cost = counts(model, 2**20, activations=True, training=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, cost.activations)
"""


def test_a_million_tokens_take_no_memory():
    text = """
xcompose: 1
model:
  type: decoder
  dim: 512
  heads: 8
  layers: 3*attention(pattern=window(256) | global(4)), attention(score=linear), attention
"""
    done = subprocess.run([sys.executable, "-c", SCRIPT, text], capture_output=True, text=True, check=True)
    used, activations = map(int, done.stdout.split())

    assert activations > 100 * 2**30
    assert used < 50 * 1024


def test_growth_of_a_grid_is_read_on_larger_grids_of_the_same_form():
    one = spec("1", position="none", grid="[4, 16]")
    found = growths(plan_model(one), one)

    assert found.lengths == (2**18, 2**20)
    assert [tuple(found.sized[n].node.options["grid"]) for n in found.lengths] == [(256, 1024), (512, 2048)]
    assert str(found.of("time")) == "O(n^2)"
    assert str(found.of("state")) == "O(n)"
