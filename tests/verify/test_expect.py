"""The contract of a spec against what was counted: whole messages."""

from __future__ import annotations

import pytest

from xcompose import registry
from xcompose.compose.build import plan_model
from xcompose.diagnostics.render import text
from xcompose.spec.resolve import check_text
from xcompose.verify import expect
from xcompose.verify.facts import Facts

SPEC = """\
xcompose: 1
model:
  type: decoder
  dim: 64
  heads: 2
  layers:
    - 3*attention(pattern=window(16))
    - {layers}
expect: {expect}
"""


def facts_of(expected: str, layers: str = "attention(kv_heads=1)"):
    source = SPEC.replace("{layers}", layers).replace("{expect}", expected)
    spec, found = check_text(source, "assistant", catalogue=registry.load().catalogue)
    assert spec is not None, found
    return spec, Facts(plan_model(spec), spec)


def findings(expected: str, layers: str = "attention(kv_heads=1)"):
    spec, facts = facts_of(expected, layers)
    return expect.counted(spec.expect, facts, spec.name)


@pytest.mark.parametrize(
    "expected",
    [
        "{params: 212k ± 1%, trainable: ..1M, layers: 4}",
        "{time: O(n^2), memory: O(n), state: O(n)}",
        '{time: "10M..100GFLOP at 1Ki", state: "..1MiB at 1Ki", memory: "..100MiB at 1Ki"}',
        "{reach: all, lengths: any}",
        "{reach: 1Ki}",
        "{reach: 3 at 3, lengths: multiple of 7}",
    ],
)
def test_what_holds_is_not_mentioned(expected):
    assert findings(expected) == []


def test_a_state_that_grows_names_the_layer_that_keeps_everything():
    (found,) = findings('{state: [O(1), "..4MiB at 64Ki"]}')[:1]

    assert (found.code, found.message) == ("XC061", "expected state O(1), found O(n)")
    assert found.label == "288 KiB at 1Ki, 16.5 MiB at 64Ki"
    assert found.notes[0].text == "layer 3 keeps more with every token; layers 0 to 2 keep 24.4 KiB at 64Ki"
    assert found.notes[0].span.line == 8
    assert found.fixes == ("give layer 3 a window or score=linear; or, if it is meant, expect O(n)",)
    assert (found.spec, found.stage, found.path) == ("assistant", "build", "expect.state")


def test_it_is_shown_in_place():
    shown = text(findings("{state: O(1)}"))

    assert shown == (
        "error[XC061]: expected state O(1), found O(n)\n"
        " --> assistant:9:17   expect.state\n"
        "  |\n"
        "9 | expect: {state: O(1)}\n"
        "  |                 ^^^^ 288 KiB at 1Ki, 16.5 MiB at 64Ki\n"
        " ::: assistant:8:7\n"
        "  |\n"
        "8 |     - attention(kv_heads=1)\n"
        "  |       --------- layer 3 keeps more with every token; layers 0 to 2 keep 24.4 KiB at 64Ki\n"
        "  = fix: give layer 3 a window or score=linear; or, if it is meant, expect O(n)"
    )


def test_work_that_grows_names_the_layers_that_do_it():
    (found,) = findings("{time: O(n)}", "attention, attention(score=linear), attention")

    assert found.message == "expected time O(n), found O(n^2)"
    assert found.notes[0].text == "layers 3 and 5 do O(n^2) work"
    assert found.fixes == ("give layers 3 and 5 a window or score=linear; or, if it is meant, expect O(n^2)",)


@pytest.mark.parametrize(
    ("expected", "message", "label", "fixes"),
    [
        ("{params: 300k ± 1%}", "expected params 300k ± 1%, found 212k",
         "212,288: 28.5 % less than 297,000", ("if it is meant, expect params: 212k ± 1%",)),
        ("{params: ..100k}", "expected params ..100k, found 212k",
         "212,288: 112 % more than 100,000", ("if it is meant, expect params: 212k ± 1%",)),
        ("{layers: 5..}", "expected layers 5.., found 4", "", ("if it is meant, expect layers: 4",)),
        ("{reach: 2..9}", "expected reach 2..9, found 1,024",
         "1,024 of 1,024 positions can reach the last output", ()),
        ('{reach: "9 at 16Ki"}', "expected reach 9 at 16Ki, found a text too long to trace",
         "reach is worked out up to 8Ki positions", ()),
    ],
)  # fmt: skip
def test_what_does_not_hold_says_what_was_found(expected, message, label, fixes):
    (found,) = findings(expected)

    assert (found.message, found.label, found.fixes) == (message, label, fixes)


def test_local_layers_do_not_reach_far():
    (found,) = findings("{reach: all}", "attention(pattern=window(16))")

    assert found.label == "65 of 1,024 positions can reach the last output"
    assert found.fixes == ("a layer that reads everything, or wider or more layers",)


def test_an_amount_over_its_bound_names_the_heaviest_layer():
    (found,) = findings('{state: "..64KiB at 1Ki"}')

    assert found.message == "expected state ..64KiB at 1Ki, found 288 KiB"
    assert found.label == "288 KiB at 1Ki, 351 % over the bound"
    assert found.notes[0].text == "layer 3 takes 264 KiB of 288 KiB in all mixers"


class TestSharedLayers:
    """One set of weights is counted once; what it does and keeps is that of each layer."""

    def findings(self, expected: str):
        text = SPEC.replace("3*attention(pattern=window(16))", "3*attention").replace("{layers}", "attention")
        shared = text.replace("{expect}", expected) + "addons: [share(all)]\n"
        spec, found = check_text(shared, "shared", catalogue=registry.load().catalogue)
        assert spec is not None, found
        return expect.counted(spec.expect, Facts(plan_model(spec), spec), spec.name)

    def test_parameters_count_once(self):
        layer = 4 * (64 * 64 + 64) + 2 * 2 * 64 + 64 * 256 + 256 + 256 * 64 + 64

        assert self.findings(f"{{params: {256 * 64 + layer + 2 * 64}, layers: 4}}") == []

    def test_every_layer_keeps_its_own(self):
        (found,) = self.findings("{state: O(1)}")

        assert found.notes[0].text == "layers 0 to 3 keep more with every token"

    def test_work_is_that_of_every_layer(self):
        (found,) = self.findings("{time: O(n)}")

        assert found.notes[0].text == "layers 0 to 3 do O(n^2) work"


def test_behaviour_may_be_stricter_than_expected_but_none_means_none():
    spec, _ = facts_of("{causal: value, decode: exact, deterministic: true}")
    results = {"causal": "strict", "decode": "exact", "deterministic": True}

    assert expect.measured(spec.expect, results) == []
    loose = {"causal": "none", "decode": "none", "deterministic": False}
    assert [f.message for f in expect.measured(spec.expect, loose)] == [
        "expected causal value, found none",
        "expected decode exact, found none",
        "expected deterministic true, found false",
    ]
    none, _ = facts_of("{causal: none}")
    assert [f.message for f in expect.measured(none.expect, results)] == ["expected causal none, found strict"]


def test_a_suggestion_holds_when_it_is_pasted():
    _, facts = facts_of("{layers: 4}")
    suggestion = expect.suggest(facts, {"causal": "strict", "decode": "exact"})

    assert suggestion == (
        "expect:\n  params: 212k ± 1%\n  causal: strict\n  decode: exact\n  time: O(n^2)\n  state: O(n)\n"
    )
    assert findings("{params: 212k ± 1%, time: O(n^2), state: O(n)}") == []


def test_lengths_that_a_mechanism_wants_are_tried():
    class Blocks(Facts):
        def takes(self, n: int) -> bool:
            return n % 4 == 0

    spec, facts = facts_of("{lengths: any}")
    (found,) = expect.counted(spec.expect, Blocks(facts.model, spec), spec.name)

    assert found.message == "expected lengths any, found multiple of 4"
    assert found.fixes == ("expect lengths: multiple of 4",)
    multiple, _ = facts_of("{lengths: multiple of 12}")
    assert expect.counted(multiple.expect, Blocks(facts.model, multiple)) == []
