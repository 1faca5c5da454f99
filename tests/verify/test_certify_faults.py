"""Every certificate finds the faults planted for it, names the layer and the plugin, and says what it measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_models import BlockMeans, ReadsPooled, TwoWindows, Windowed, subject
from torch import nn

from xcompose.diagnostics import Diagnostic, Note
from xcompose.verify import alive, causal, decode, deterministic, gradients, padding, saving, spans, work
from xcompose.verify.subject import Subject

AGAIN = "again: xcompose check small.xc.yaml --seed 3 --no-cache"


class Case:
    def __init__(self, name: str, certificate: Any, faulty: Callable[[], Subject], *expected: tuple[Any, ...]):
        self.name, self.certificate, self.faulty, self.expected = name, certificate, faulty, expected


def error(code: str, path: str, message: str, label: str, *notes: str) -> tuple[Any, ...]:
    return code, path, message, label, (*notes, AGAIN)


def said(finding: Diagnostic) -> tuple[Any, ...]:
    assert all(isinstance(note, Note) for note in finding.notes)
    return finding.code, finding.path, finding.message, finding.label, tuple(note.text for note in finding.notes)


CASES = [
    Case(
        "a row too far",
        causal,
        lambda: subject("", "leaks by one"),
        error(
            "XC070",
            "model.layers.1",
            "layer 1: mixer 'windowed' sees the future",
            "output 1 moved by 0.59 when the rows from 2 on were replaced",
            "measured: outputs see up to 1 token ahead, of 17",
            "hint: in the plugin 'windowed', look for a mask, shift or summary that ends one position too late",
        ),
    ),
    Case(
        "a statistic over time",
        causal,
        lambda: subject("", "statistic over time"),
        error(
            "XC070",
            "model.layers.1",
            "layer 1: mixer 'windowed' sees the future",
            "output 1 moved by 0.071 when the rows from 10 on were replaced",
            "measured: outputs see up to 12 tokens ahead, of 17",
            "hint: in the plugin 'windowed', look for a missing causal rule, or a statistic over all positions",
        ),
    ),
    Case(
        "the stream shifted",
        causal,
        lambda: subject("", "", model="shifted"),
        error(
            "XC070",
            "model",
            "the model sees the future",
            "output 7 moved by 1 when the tokens from 8 on were replaced",
            "measured: outputs see up to 1 token ahead, of 17",
            "hint: no part does so alone: look at how the layers are joined",
        ),
    ),
    Case(
        "a memory visible a step early",
        causal,
        lambda: subject(mixers=lambda: [Windowed(), BlockMeans(fault="memory a step early")]),
        error(
            "XC070",
            "model.layers.1",
            "layer 1: mixer 'windowed' sees the future",
            "output 1 moved by 0.72 when the rows from 2 on were replaced",
            "measured: outputs see up to 1 token ahead, of 17",
            "hint: in the plugin 'windowed', look for a mask, shift or summary that ends one position too late",
        ),
    ),
    Case(
        "a pooling window one wider",
        spans,
        lambda: subject(mixers=lambda: [Windowed(), ReadsPooled("window wider than its stride")]),
        error(
            "XC071",
            "model.layers.1",
            "a slot uses a row outside its span",
            "slot 0 says positions 0..2, but moved by 0.54 when row 3 was replaced",
            "measured: 5 of 5 slots leave their span; every one reads 1 too far",
            "hint: a pooling window wider than its stride",
        ),
    ),
    Case(
        "the leak that this makes",
        causal,
        lambda: subject(mixers=lambda: [Windowed(), ReadsPooled("window wider than its stride")]),
        error(
            "XC070",
            "model.layers.1",
            "layer 1: mixer 'windowed' sees the future",
            "output 2 moved by 0.84 when the rows from 3 on were replaced",
            "measured: outputs see up to 1 token ahead, of 17",
            "hint: in the plugin 'windowed', look for a mask, shift or summary that ends one position too late",
        ),
    ),
    Case(
        "a mask that hides one",
        alive,
        lambda: subject("", "hides one"),
        error(
            "XC072",
            "model.layers.1",
            "layer 1: mixer 'windowed' hides what it declares visible",
            "output 16 may read row 12, but did not move when that row was replaced",
            "measured: 13 of 75 declared pairs have no influence, of 17 positions",
            "hint: in the plugin 'windowed', look for a mask that is one short: every dead pair is 4 apart",
        ),
    ),
    Case(
        "a sum over the wrong axis",
        alive,
        lambda: subject("wrong axis", ""),
        error(
            "XC072",
            "model.layers.0",
            "layer 0: mixer 'windowed' hides what it declares visible",
            "output 16 may read row 15, but did not move when that row was replaced",
            "measured: 58 of 75 declared pairs have no influence, of 17 positions",
            "hint: in the plugin 'windowed', look for a sum over the wrong axis: no position hears of any other",
        ),
    ),
    Case(
        "a group of heads behind another",
        alive,
        lambda: subject(mixers=lambda: [Windowed(), TwoWindows(fault="second head hides one")]),
        error(
            "XC072",
            "model.layers.1",
            "layer 1: mixer 'windowed' hides what it declares visible in head 1",
            "output 16 may read row 14, but did not move when that row was replaced",
            "measured: 15 of 48 declared pairs have no influence, of 17 positions",
            "hint: in the plugin 'windowed', look for a mask that is one short: every dead pair is 2 apart",
        ),
    ),
    Case(
        "more than declared",
        alive,
        lambda: subject("", "declares one less"),
        error(
            "XC053",
            "model.layers.1",
            "layer 1: mixer 'windowed' reads what it does not declare visible",
            "output 16 moved by 0.22 when row 12 was replaced",
            "measured: 13 pairs beyond the declared ones, of 17 positions",
            "hint: in the plugin 'windowed', let `visible` say all that is read, or read less",
        ),
    ),
    Case(
        "an ffn that mixes rows",
        alive,
        lambda: subject("", "", ffn="sum over time"),
        error(
            "XC053",
            "",
            "layer 0: ffn 'feed' mixes rows, which only a mixer may do",
            "output 16 moved by 0.29 when row 15 was replaced",
            "hint: in the plugin 'feed', take sums and statistics over the last axis only",
        ),
    ),
    Case(
        "a lost stream",
        alive,
        lambda: subject("", "", model="only the last layer"),
        error(
            "XC072",
            "model",
            "token 15 does not reach output 16 of the model, though a path through the layers is declared",
            "output 16 has a gradient of 0 with respect to token 15",
            "hint: no part does so alone: look at how the layers are joined, and at the output",
        ),
    ),
    Case(
        "padding in a denominator",
        padding,
        lambda: subject("", "padding in the denominator", causal="none"),
        error(
            "XC073",
            "model.layers.1",
            "padding changes what layer 1: mixer 'windowed' gives",
            "right padding to 17: outputs of 16 real rows differ by 0.087 from those rows alone",
            "hint: in the plugin 'windowed', look for absent rows in a sum, a count or a denominator",
        ),
    ),
    Case(
        "a mask that is ignored",
        padding,
        lambda: subject("", "", model="ignores the mask"),
        error(
            "XC073",
            "model",
            "padding changes the model's outputs",
            "right padding: outputs moved by 1.2 when the tokens behind the mask were replaced",
        ),
    ),
    Case(
        "answers for padding",
        padding,
        lambda: subject("", "", model="answers for padding"),
        error(
            "XC073",
            "model",
            "padded places do not give zeros",
            "right padding: padded places give 1 instead of zeros",
        ),
    ),
    Case(
        "a batch that counts itself",
        padding,
        lambda: subject("", "", model="batch counts"),
        error(
            "XC073",
            "model",
            "padding changes what the model gives",
            "no padding: outputs of 17 real rows differ by 0.68 from those rows alone",
            "hint: no mixer does so alone: look at positions, at the output, and at how rows are gathered",
        ),
    ),
    Case(
        "a cache one short",
        decode,
        lambda: subject("", "cache one short"),
        error(
            "XC074",
            "model.layers.1",
            "layer 1: mixer 'windowed' decodes something else than it computes in parallel",
            "cut into 10, 1, 1, 1, 1, 1 ...: output 10 is the first that differs, by 0.1",
            "hint: in the plugin 'windowed', look for a cache that is one short, or a time that starts again at 0",
        ),
    ),
    Case(
        "a state larger than said",
        decode,
        lambda: subject("", "keeps too much"),
        error(
            "XC078",
            "model.layers.1",
            "layer 1: mixer 'windowed' keeps more than it says",
            "after 5 tokens its state holds 35 numbers a sequence; `state_shape` says 28",
            "hint: in the plugin 'windowed', drop what no later query reads, and say what is kept",
        ),
    ),
    Case(
        "a state smaller than said",
        decode,
        lambda: subject("", "says too much"),
        error(
            "XC078",
            "model.layers.1",
            "layer 1: mixer 'windowed' keeps less than it says",
            "after 5 tokens its state holds 28 numbers a sequence; `state_shape` says 35",
            "hint: in the plugin 'windowed', drop what no later query reads, and say what is kept",
        ),
    ),
    Case(
        "work that is not counted",
        work,
        lambda: subject("", "works more in truth"),
        error(
            "XC078",
            "model.layers.1",
            "layer 1: mixer 'windowed' does other work than is counted",
            "21,658 FLOPs in a real pass of 17 rows, 11,832 counted on the meta device",
            "hint: in the plugin 'windowed', look for a question where tensors are, or for work that no operator shows",
        ),
    ),
    Case(
        "one time for all rows",
        decode,
        lambda: subject("", "time of the first row"),
        error(
            "XC074",
            "model.layers.1",
            "rows at different times do not decode what layer 1: mixer 'windowed' computes in parallel",
            "step 1 after [8, 5] rows gives outputs that differ by 0.76",
            "hint: rows in unison are right: look for a place that takes the time of one row for that of all",
        ),
    ),
    Case(
        "a dead parameter",
        gradients,
        lambda: subject("", "dead parameter"),
        error(
            "XC075",
            "model.layers.1",
            "layer 1: mixer 'windowed' has parameters that nothing depends on",
            "no gradient reaches unused.weight, unused.bias",
            "measured: 17 positions, random weights, every output asked",
            "hint: a part that is built but not used, or a gradient that is stopped on the way",
        ),
    ),
    Case(
        "a stopped gradient",
        gradients,
        lambda: subject("gradient stopped", ""),
        error(
            "XC075",
            "model.layers.0",
            "layer 0: mixer 'windowed' has parameters that nothing depends on",
            "no gradient reaches q.weight, q.bias, k.weight, k.bias and 2 more",
            "measured: 17 positions, random weights, every output asked",
            "hint: a part that is built but not used, or a gradient that is stopped on the way",
        ),
        error(
            "XC075",
            "",
            "layer 0: norm 'Layered' has parameters that nothing depends on",
            "no gradient reaches norm.weight, norm.bias",
            "measured: 17 positions, random weights, every output asked",
            "hint: a part that is built but not used, or a gradient that is stopped on the way",
        ),
    ),
    Case(
        "a mask drawn anew",
        deterministic,
        lambda: subject("", "redrawn"),
        error(
            "XC076",
            "model.layers.1",
            "evaluating layer 1: mixer 'windowed' twice gives two results",
            "outputs of one input differ by 1.2",
            "hint: draw once, keep the draw in a buffer, and let no batch change what the next one gets",
        ),
    ),
    Case(
        "a batch that is remembered",
        deterministic,
        lambda: subject("", "", model="remembers the last batch"),
        error(
            "XC076",
            "model",
            "evaluating the model twice gives two results",
            "outputs of one input differ by 0.55",
            "hint: draw once, keep the draw in a buffer, and let no batch change what the next one gets",
        ),
    ),
    Case(
        "another formula in training",
        deterministic,
        lambda: subject("", "differs in training"),
        error(
            "XC076",
            "model.layers.1",
            "layer 1: mixer 'windowed' computes something else in training than in evaluation",
            "without dropout, outputs of one input differ by 0.37",
            "hint: only dropout may ask whether it is training",
        ),
    ),
    Case(
        "a wrong executor in float32",
        deterministic,
        lambda: subject("", "differs in float32"),
        error(
            "XC076",
            "model.layers.1",
            "layer 1: mixer 'windowed' gives something else in float32",
            "outputs differ from those in float64 by 0.028",
            "hint: sums in single precision, or a fast executor that is wrong: `xcompose build --explain` names it",
        ),
    ),
    Case(
        "a constant that is not saved",
        saving,
        lambda: subject("", "", model="hidden constant"),
        error(
            "XC077",
            "model",
            "a loaded model answers differently",
            "outputs differ by 1.2 though every saved tensor is equal",
            "hint: something that matters is no parameter, no saved buffer, and not drawn from a fixed seed",
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_a_planted_fault_is_found(case):
    found = case.certificate.certify(case.faulty(), seed=3)

    assert [said(finding) for finding in found] == list(case.expected)


def test_a_finding_stands_at_the_layer_in_the_spec():
    (found,) = causal.certify(subject("", "leaks by one"), seed=3)

    assert (found.span.file, found.span.line, found.spec, found.stage) == ("small.xc.yaml", 6, "small", "contracts")


def test_two_builds_differ_in_what_one_of_them_lacks(monkeypatch):
    one, both, twin, wide = torch.zeros(2), torch.ones(2), torch.zeros(2), torch.zeros(3)

    assert deterministic._difference("w", one, twin) == ""
    assert deterministic._difference("w", one, both) == "'w' differs in 2 places"
    assert deterministic._difference("w", None, one) == "'w' is in one of them only"
    assert deterministic._difference("w", one, wide) == (
        "'w' is float32 (2,) in one of them, in the other one float32 (3,)"
    )
    first, more = nn.Linear(3, 2, bias=False), nn.Linear(3, 2)
    more.weight = first.weight
    for pair in ((first, more), (more, first)):
        models = iter(pair)
        monkeypatch.setattr(deterministic, "_build", lambda subject, noise, models=models: next(models))
        (found,) = deterministic._builds(subject("", ""))
        assert (found.message, found.label) == ("two builds from one seed differ", "'bias' is in one of them only")
