"""Parts that lose more than rounding explains in bfloat16 are found, named and told what to do."""

from __future__ import annotations

import attrs
import pytest
import torch
from small_models import DIM, Block, Feed, Small, Windowed, places, subject
from torch import Tensor, nn

from xcompose.api import Axis, Mixed, island
from xcompose.verify import precision
from xcompose.verify.runner import check_spec

AGAIN = "again: xcompose check small.xc.yaml --seed 3 --no-cache"


class OnIsland(Windowed):
    """Softmax where it belongs."""

    def attend(self, x: Tensor, at: Tensor, rows: Tensor, there: Tensor, valid: Tensor, axis: Axis) -> Tensor:
        near = self.allows(at[:, :, None], there[:, None, :]) & valid[:, None, :]
        with island(self.q(x), self.k(rows)) as (q, k):
            weights = (q @ k.mT / DIM**0.5).masked_fill(~near, -torch.inf).softmax(-1).nan_to_num(0.0)
        return self.out(weights @ self.v(rows))


class Runs(OnIsland):
    """Adds something made of projected rows, which stands on no island."""

    def mix(self, x: Tensor, axis: Axis, source=None) -> Mixed:
        at = places(axis, x)
        plain = self.attend(x, at, x, at, torch.ones_like(at, dtype=torch.bool), axis)
        return Mixed(plain + self.more(self.v(x)))

    def more(self, v: Tensor) -> Tensor:
        raise NotImplementedError


class OneByOne(Runs):
    def more(self, v: Tensor) -> Tensor:
        found, total = [], torch.zeros_like(v[:, 0])
        for row in v.unbind(1):
            total = total + row
            found.append(total)
        return torch.stack(found, 1)


class CumulativeSum(Runs):
    def more(self, v: Tensor) -> Tensor:
        return v.cumsum(1)


class Chooses(Runs):
    def more(self, v: Tensor) -> Tensor:
        return nn.functional.one_hot(v.argmax(-1), DIM).to(v)


class Overflows(Runs):
    def more(self, v: Tensor) -> Tensor:
        return 1e-9 / ((v.abs() + 1) / v.abs().add(1) - (8 * v.square().amax()).tanh() * (1 - 1e-6))


class Mismatched(Runs):
    def more(self, v: Tensor) -> Tensor:
        return torch.zeros(v.shape, dtype=exact_type_of(self)).index_add_(1, torch.arange(v.shape[1]), v)


def exact_type_of(module: Windowed) -> torch.dtype:
    return torch.float64 if module.q.bias.dtype == torch.float64 else torch.float32


def of(mixer: type[Windowed], *, low: bool = False):
    made = subject(mixers=lambda: [OnIsland(), mixer()])
    return attrs.evolve(made, far=512, low=low)


def test_a_model_that_keeps_its_statistics_is_fit():
    assert precision.certify(of(OnIsland), 0) == []


FAULTS = [
    (Windowed, "it takes a softmax of numbers that were rounded to 8 bits"),
    (CumulativeSum, "it takes a running sum of numbers that were rounded to 8 bits"),
    (Chooses, "it takes a choice of numbers that were rounded to 8 bits"),
    (OneByOne, "its answer is 2.1 % off that in float64; rounding alone explains 1.6 %"),
    (
        Mismatched,
        "it raises RuntimeError: index_add_(): self (Float) and source (BFloat16) must have the same scalar type",
    ),
    (Overflows, "its answer is not a number"),
]


@pytest.mark.parametrize(("mixer", "label"), FAULTS, ids=[mixer.__name__ for mixer, _ in FAULTS])
@pytest.mark.parametrize("low", [False, True])
def test_a_planted_fault_is_found_in_the_part_that_has_it(mixer, label, low):
    (finding,) = precision.certify(of(mixer, low=low), 0)

    look = "look for statistics that stand on no `island`, and for differences of numbers that are nearly alike"
    hint = f"hint: in the plugin 'windowed', {look}"
    assert (finding.code, finding.path, finding.stage) == ("XC069", "model.layers.1", "numerics")
    assert finding.message == "layer 1: mixer 'windowed' is not fit for bfloat16"
    assert finding.label == label
    assert [note.text for note in finding.notes] == [
        hint if low else f"{hint}; without `precision(bf16)` it does no harm", AGAIN,
    ]  # fmt: skip
    assert finding.severity == ("error" if low else "warning")


def test_a_feed_forward_network_is_measured_too():
    made = subject(mixers=lambda: [OnIsland()], ffn="sum over time")
    (finding,) = precision.certify(made, 0)

    assert finding.message == "layer 0: ffn 'feed' is not fit for bfloat16"
    assert finding.label == "it takes a running sum of numbers that were rounded to 8 bits"


class FarFromZero(Small):
    """Parts that are fit, and a sum behind them in which most digits are lost."""

    def run(self, tokens, valid, state):
        out = super().run(tokens, valid, state)
        return out._replace(logits=(out.logits + 100) - 100)


def test_a_model_whose_parts_are_fit_may_still_lose_too_much():
    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return FarFromZero(Block(OnIsland(), Feed()))

    (finding,) = precision.certify(attrs.evolve(of(OnIsland), build=build, low=True), 0)

    assert finding.message == "the model is not fit for bfloat16"
    assert finding.label == "its answer is 8.8 % off that in float64; rounding alone explains 2.7 %"
    assert [note.text for note in finding.notes] == [AGAIN]


@pytest.mark.parametrize("addons", ["", "addons: [precision(bf16)]\n"])
def test_features_that_magnify_rounding_are_refused_only_where_bfloat16_is_wanted(tmp_path, addons):
    file = tmp_path / "mine.xc.yaml"
    file.write_text(
        "xcompose: 1\n"
        "model: {type: encoder, dim: 32, heads: 2, layers: 2,\n"
        "        mixer: 'attention(score=favor(32, kernel=trigonometric))'}\n" + addons
    )
    report = check_spec(str(file))

    (finding,) = [finding for finding in report.findings if finding.code == "XC069"]
    assert finding.message == "layer 0: mixer 'attention' is not fit for bfloat16"
    assert finding.severity == ("error" if addons else "warning")
