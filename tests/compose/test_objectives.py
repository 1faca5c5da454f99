"""Whether the words of a search mean something for a model and its task."""

from __future__ import annotations

import pytest

from xcompose.compose.build import plan_model
from xcompose.compose.objectives import asked, search_findings
from xcompose.registry import load
from xcompose.spec import load_text

DECODER = "model: {type: decoder, dim: 8, heads: 2, layers: 1, vocab: 16}\n"
ENCODER = DECODER.replace("decoder", "encoder")
COPY = "task: copy(10)\n"
CHOICES = "choices: {dim: [8, 16]}"


def spec_of(search: str, rest: str = DECODER + COPY):
    return load_text(f"xcompose: 1\n{rest}search: {{{search}}}\n", "s", catalogue=load().catalogue)


def found(search: str, rest: str = DECODER + COPY):
    spec = spec_of(search, rest)
    findings = search_findings(spec, plan_model(spec), load())
    return [(f.code, f.span.line if f.span else 0, f.message, f.label, f.fixes) for f in findings]


def test_what_makes_sense_is_not_spoken_of():
    words = "minimize: [accuracy, loss, params, trainable, state, memory at 64, time at 64, latency at 64]"

    assert found(f"{CHOICES}, {words}, within: {{loss: ..3, latency: ..1s, params: ..3M}}, budget: 3min") == []


def test_only_metrics_need_a_task():
    assert found(f"{CHOICES}, minimize: [params, latency]", DECODER) == []
    assert asked(spec_of(f"{CHOICES}, minimize: [params, loss], within: {{accuracy: 0.5.., time: O(n)}}")) == (
        "loss", "accuracy",
    )  # fmt: skip
    assert found(f"{CHOICES}, minimize: loss", DECODER) == [
        ("XC030", 0, "'loss' is measured on a task, and 's' has none", "",
         ("add one, for example: task: lm(data=stdlib)", "make counts small: minimize: [params]"))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("search", "rest", "finding"),
    [
        ("minimize: params", DECODER,
         ("XC012", 0, "a search needs something to choose", "",
          ("write for example: choices: {model.dim: [64, 128]}",))),
        (CHOICES, DECODER,
         ("XC012", 0, "a search needs something to make small", "", ("write for example: minimize: [loss, params]",))),
        (f"{CHOICES}, minimize: params, budget: 200 steps", DECODER,
         ("XC030", 0, "a search lasts for trials or for a time, found '200 steps'", "",
          ("write for example: 60 trials, or 20min",))),
        (f"{CHOICES}, minimize: [params, state at 1Ki]", ENCODER,
         ("XC060", 3, "this model has no state to make small", "only a decoder keeps one", ())),
        (f"{CHOICES}, minimize: [acuracy]", DECODER + COPY,
         ("XC060", 4, "the task has no metric 'acuracy'", "",
          ("did you mean 'accuracy'?", "it has accuracy and loss"))),
        (f"{CHOICES}, minimize: loss, within: {{parms: ..3}}", DECODER + COPY,
         ("XC060", 4, "the task has no metric 'parms'", "", ("did you mean 'params'?", "it has accuracy and loss"))),
    ],
)  # fmt: skip
def test_what_makes_none_is_refused_with_its_place(search, rest, finding):
    assert found(search, rest) == [finding]


def test_a_task_may_refuse():
    refused = found(f"{CHOICES}, minimize: loss", ENCODER + COPY)

    assert [(line, message) for _, line, message, _, _ in refused] == [(3, "task 'copy' needs a causal model")]
