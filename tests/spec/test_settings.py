"""`train`, `search`, `expect`: every key with its value or default."""

from __future__ import annotations

import pytest

from xcompose.spec import Node, SpecName, train_settings
from xcompose.spec.objectives import Objective
from xcompose.spec.values import Budget, Growth, Range

from .catalogue import CATALOGUE
from .helpers import EXAMPLES, messages_of, spec_of

HEAD = "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 1, length: 99}\n"
DEFAULTS = {
    "budget": Budget(1000, "steps"),
    "batch": 8,
    "length": 99,
    "eval": {"every": 500, "batches": 20},
    "save": {"every": 500},
    "goal": None,
    "lr": 3e-4,
    "optimizer": Node("optimizer", "adamw", {"betas": (0.9, 0.95), "weight_decay": 0.1}),
    "schedule": Node("schedule", "cosine", {"warmup": 0}),
    "clip": 1.0,
    "seed": 0,
    "recompute": False,
    "addons": (),
}


def test_train_has_every_key():
    assert spec_of(HEAD + "train: {batch: 8}\n").train == DEFAULTS
    assert spec_of(HEAD + "train: {eval: {every: 7}, batch: null}\n").train == {
        **DEFAULTS, "eval": {"every": 7, "batches": 20},
    }  # fmt: skip


def test_without_a_section_the_defaults_wait_until_they_are_asked_for():
    spec = spec_of(HEAD)

    assert spec.train == {}
    assert train_settings(spec, CATALOGUE) == DEFAULTS
    assert train_settings(spec_of("xcompose: 1\n"), CATALOGUE)["length"] == 1024
    assert train_settings(spec_of(HEAD + "train: {length: 2Ki}\n"), CATALOGUE)["length"] == 2048


def test_goals_are_ranges_of_metrics():
    (goal,) = spec_of(HEAD + "train: {goal: {bits_per_byte: ..2.4}}\n").train["goal"]

    assert (goal.key, goal.value, goal.path) == ("bits_per_byte", Range(None, 2.4), "train.goal.bits_per_byte")


def test_expectations_are_read_element_by_element():
    text = """\
    xcompose: 1
    expect:
      params: 12.7M ± 1%
      state: [O(1), ..4MiB at 1Mi]
      time: ..2TFLOP
      causal: value
      deterministic: true
      reach: 3..9
      lengths: multiple of 64
    """

    assert [(e.key, e.value) for e in spec_of(text).expect] == [
        ("params", Range(12_573_000, 12_827_000)),
        ("state", Growth("O(1)", 0.0)),
        ("state", Range(None, 4 * 2**20, "B", 2**20)),
        ("time", Range(None, 2 * 10**12, "FLOP")),
        ("causal", "value"),
        ("deterministic", True),
        ("reach", Range(3, 9)),
        ("lengths", "multiple of 64"),
    ]


def test_an_expectation_can_be_dropped_and_overridden():
    text = "xcompose: 1\nexpect: {causal: strict, layers: 2, time: [O(n), ..3GFLOP at 1Ki]}\n"
    text += "variants:\n  a: {expect: {causal: null}}\n  b: {expect: {layers: 3}}\n  c: {expect.layers: null}\n"

    assert [(e.key, e.text) for e in spec_of(text, variants=("a",)).expect] == [("time", "O(n)")]
    assert [(e.key, e.text) for e in spec_of(text, variants=("b", "c")).expect] == [
        ("causal", "strict"),
        ("time", "O(n)"),
    ]
    assert ("layers", "4") in [(e.key, e.text) for e in spec_of(text, "expect.layers=4", variants=("a",)).expect]
    assert len(spec_of(text, "let.w=3").expect) == 4


def test_search_keeps_choices_as_overrides_would_write_them():
    text = HEAD + "search:\n  choices:\n    model.dim: [64, 128]\n    ffn: [mlp(2x), {type: gated}]\n"
    text += "  within: {params: ..25M, recall: 0.5..}\n  minimize: params\n"

    search = spec_of(text).search

    assert search["choices"] == {"model.dim": ("64", "128"), "ffn": ("mlp(2x)", "{type: gated}")}
    assert [(e.key, e.value) for e in search["within"]] == [
        ("params", Range(None, 25_000_000)),
        ("recall", Range(0.5, None)),
    ]
    assert (search["minimize"], search["budget"], search["seed"], search["strategy"]) == (
        (Objective("params"),), Budget(60, "trials"), 0, Node("strategy", "evolve", {"population": 20}),
    )  # fmt: skip


def test_a_teacher_is_a_spec_that_is_there(monkeypatch):
    from xcompose.spec import load

    monkeypatch.chdir(EXAMPLES)
    spec = load("runs/distill-linear.xc.yaml", catalogue=CATALOGUE)
    teacher = spec.train["addons"][0].options["teacher"]

    assert isinstance(teacher, SpecName)
    assert teacher == str((EXAMPLES / "beyond/dense-12m.xc.yaml").resolve())
    assert teacher.relative_to("runs") == "../beyond/dense-12m.xc.yaml"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("expect: {time: fast}", "3:16 XC014 expected a range such as ..2.5GFLOP or 1TFLOP..2TFLOP, found 'fast'"),
        ("expect: {parms: 3M}", "3:10 XC011 'expect' has no key 'parms'"),
        ("expect: {causal: yes}", "3:18 XC014 expected strict, value or none, found 'yes'"),
        ("expect: {lengths: some}", "3:19 XC014 expected 'any' or 'multiple of N', found 'some'"),
        ("expect: [12]", "3:9 XC014 'expect' wants a mapping, found a list"),
        ("train: {lr: 0}", "3:13 XC015 'lr' must be more than 0, found 0"),
        ("train: {eval: 3}", "3:15 XC014 'eval' wants a mapping, found '3'"),
        ("train: {eval: {evry: 3}}", "3:16 XC011 'eval' has no option 'evry'"),
        ("train: {goal: {loss: low}}",
         "3:22 XC014 expected a range such as 12.7M ± 1%, 12M..13M, ..13M or 30, found 'low'"),
        ("train: {optimizer: sgd}", "3:20 XC013 no optimizer is called 'sgd'"),
        ("train: {addons: [{type: distill, teacher: gone.xc.yaml}]}",
         "3:43 XC025 a spec that is in no file cannot name another file"),
        ("search: {choices: {model.dmi: [1]}}", "3:20 XC029 there is no place 'model.dmi' to choose for"),
        ("search: {choices: {model.dim: [wide]}}", "3:32 XC014 expected a whole number, found 'wide'"),
        ("task: gated", "3:7 XC013 no task is called 'gated'"),
        ("let: 3", "3:6 XC014 'let' wants a mapping of names to values"),
        ("length: 4k", "3:1 XC011 a spec has no section 'length'"),
    ],
)  # fmt: skip
def test_what_is_said_about_wrong_settings(text, found):
    assert messages_of(HEAD + text + "\n") == [found]


def test_a_length_in_thousands_earns_a_hint():
    assert messages_of("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 1, length: 4k}\n") == [
        "2:53 XC019 4k is 4,000; 4Ki is 4,096"
    ]


def test_a_choice_reads_back_as_it_was_written():
    long = "window(size=16) | window(4) | " * 4 + "window(8)"
    text = HEAD + "search:\n  choices:\n"
    text += f"    mixer: ['attention(pattern={long})', {{type: attention, pattern: 'window(size=16)'}}]\n"
    text += '    layers: [[{ffn: gated, mixer: "attention(heads=4)"}, {}], 3]\n'

    search = spec_of(text).search

    for path, values in search["choices"].items():
        for value in values:
            assert spec_of(text, f"{path}={value}").model is not None
    assert search["choices"]["mixer"][0] == f"attention(pattern={long})"
    assert search["choices"]["layers"] == ("[{ffn: gated, mixer: attention(heads=4)}, {}]", "3")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("minimize: latency at 4k3", "3:20 XC014 expected a length, found '4k3'"),
        ("minimize: params at 4Ki", "3:20 XC014 'params' has no length"),
        ("minimize: [params, 4x]", "3:29 XC014 expected a metric, params, trainable, or state, memory, time, latency "
         "at a length, found '4x'"),
        ("minimize: [params, params]", "3:29 XC006 'params' is made small twice"),
        ("within: {latency: ..4 apples}",
         "3:28 XC014 expected a range such as ..20ms or 1ms..0.5s, found '..4 apples'"),
        ("choices: {dim: []}", "3:25 XC014 there is nothing to choose for 'dim'"),
    ],
)  # fmt: skip
def test_words_of_a_search_are_checked(text, found):
    assert found in messages_of(HEAD + f"search: {{{text}}}\n")


def test_objectives_have_lengths_and_bounds_of_time_units():
    text = HEAD + "search:\n  minimize: [bits_per_byte, state at 64Ki, latency at 1k]\n"
    text += "  within: {latency: 1ms..0.02s at 4Ki}\n"
    search = spec_of(text).search

    assert search["minimize"] == (
        Objective("bits_per_byte"), Objective("state", 65536), Objective("latency", 1000),
    )  # fmt: skip
    assert [o.is_metric for o in search["minimize"]] == [True, False, False]
    assert [(e.key, e.value) for e in search["within"]] == [("latency", Range(0.001, 0.02, "s", 4096))]


def test_a_section_that_is_not_written_may_be_chosen():
    text = HEAD + "search: {choices: {addons: [[], [share]], task: [lm]}}\n"

    assert spec_of(text).search["choices"] == {"addons": ("[]", "[share]"), "task": ("lm",)}
