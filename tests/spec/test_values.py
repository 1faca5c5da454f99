"""What texts mean where the place wants a number, a flag, a budget or a bound, and what is said of others."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcompose.diagnostics import Diagnostic, Span
from xcompose.schema import OptionSchema, ValueType
from xcompose.spec.values import (
    Budget,
    Growth,
    Problem,
    Range,
    WidthValue,
    check_bounds,
    format_bytes,
    format_count,
    format_flops,
    format_length,
    format_short,
    length_hint,
    parse_bound,
    parse_budget,
    parse_count,
    parse_flag,
    parse_growth,
    parse_length,
    parse_range,
    parse_real,
    parse_value,
    parse_width,
    parse_word,
)

HERE = Span("f", 1, 1, 1, 2)


def refused(parse, *arguments) -> str:
    """The message, the label and the fixes, joined."""
    with pytest.raises(Problem) as caught:
        parse(*arguments)
    problem = caught.value
    return " | ".join([problem.message, *([problem.label] if problem.label else []), *problem.fixes])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("12", 12), ("1.5k", 1500), ("2M", 2_000_000), ("1G", 10**9), ("1T", 10**12), ("4Ki", 4096),
        ("1.5Mi", 1_572_864), ("1Gi", 2**30), ("1Ti", 2**40), ("3e4", 30_000), ("9223372036854775807", 2**63 - 1),
    ],
)  # fmt: skip
def test_a_count(text, value):
    assert parse_count(text) == value
    assert type(parse_count(text)) is int


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about", "expected a whole number, found 'about'"),
        ("", "expected a whole number, found nothing"),
        ("-3", "expected a whole number, found '-3' | it may not be negative"),
        ("2.5", "expected a whole number, found '2.5' | it is not whole"),
        ("1.0001k", "expected a whole number, found '1.0001k' | it is not whole"),
        ("4x", "expected a whole number, found '4x' | `x` is for widths: times the model's width"),
        ("017", "expected a whole number, found '017' | write 17"),
        ("1_000", "expected a whole number, found '1_000' | write 1000"),
        ("1K", "expected a whole number, found '1K' | write 1k"),
        ("4ki", "expected a whole number, found '4ki' | write 4Ki"),
        ("0x10", "expected a whole number, found '0x10'"),
        (".5k", "expected a whole number, found '.5k' | write 0.5k"),
        ("5.", "expected a whole number, found '5.' | write 5"),
        ("1 000", "expected a whole number, found '1 000'"),
        ("nan", "expected a whole number, found 'nan'"),
        ("inf", "expected a whole number, found 'inf'"),
        ("٣", "expected a whole number, found '٣'"),
        ("9223372036854775808", "the number '9223372036854775808' is too large"),
        ("1e300", "the number '1e300' is too large"),
        ("1e999999999", "the number '1e999999999' is too large"),
        ("9" * 5000, f"the number '{'9' * 57}...' is too large"),
        ("12\n34", "expected a whole number, found '12 34'"),
    ],
)
def test_no_count(text, message):
    assert refused(parse_count, text) == message


def test_a_length():
    assert parse_length("16Ki") == 16_384
    assert refused(parse_length, "long") == "expected a length, found 'long'"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("4k", "4k is 4,000; 4Ki is 4,096"),
        ("1.5M", "1.5M is 1,500,000; 1.5Mi is 1,572,864"),
        ("4Ki", ""),
        ("4000", ""),
        ("long", ""),
    ],
)
def test_a_length_in_thousands_earns_a_hint(text, hint):
    assert length_hint(text) == hint


@pytest.mark.parametrize(
    ("text", "value"), [("0.1", 0.1), ("3e-4", 3e-4), ("-1", -1.0), ("2", 2.0), ("1e-400", 0.0), ("-0.5e1", -5.0)]
)
def test_a_real(text, value):
    assert parse_real(text) == value
    assert type(parse_real(text)) is float


@given(st.floats(0, 1e300))
def test_every_float_comes_back(value):
    text = repr(value)
    digits, _, exponent = text.partition("e")
    assert parse_real(digits + (f"e{int(exponent)}" if exponent else "")) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nan", "expected a number, found 'nan'"),
        ("inf", "expected a number, found 'inf'"),
        ("1e400", "the number '1e400' is too large"),
        ("1e401", "the number '1e401' is too large"),
        (".1", "expected a number, found '.1' | write 0.1"),
        ("-.1", "expected a number, found '-.1' | write -0.1"),
        ("1E-3", "expected a number, found '1E-3' | write 1e-3"),
        ("1k", "expected a number, found '1k' | the unit k is for counts"),
        ("0,1", "expected a number, found '0,1'"),
        ("--1", "expected a number, found '--1'"),
        ("", "expected a number, found nothing"),
    ],
)
def test_no_real(text, message):
    assert refused(parse_real, text) == message


def test_a_width():
    assert parse_width("2048") == WidthValue(Fraction(2048))
    assert parse_width("2048").of(7) == 2048
    assert parse_width("4x").of(384) == 1536
    assert parse_width("2.5x").of(384) == 960
    assert (str(parse_width("2.5x")), str(parse_width("2k"))) == ("2.5x", "2000")


def test_no_width():
    assert refused(parse_width, "wide") == "expected a width such as 2048 or 4x, found 'wide'"
    assert refused(parse_width("2.67x").of, 384) == (
        "2.67x of 384 is 1025.28, not whole | 1025 is the nearest whole width"
    )
    assert refused(parse_width("1e300x").of, 384) == "1e+300x of 384 is too large"


def test_a_flag():
    assert parse_flag("true") is True
    assert parse_flag("false") is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no", "expected true or false, found 'no' | write false"),
        ("On", "expected true or false, found 'On' | write true"),
        ("TRUE", "expected true or false, found 'TRUE' | write true"),
        ("maybe", "expected true or false, found 'maybe'"),
    ],
)
def test_no_flag(text, message):
    assert refused(parse_flag, text) == message


def test_a_word():
    assert parse_word("relu", ("relu", "gelu")) == "relu"
    assert refused(parse_word, "rleu", ("relu", "gelu")) == (
        "expected relu or gelu, found 'rleu' | did you mean 'relu'?"
    )
    assert refused(parse_word, "x", ("strict",)) == "expected strict, found 'x'"
    assert refused(parse_word, "x", ("one", "two", "three")) == "expected one, two or three, found 'x'"
    many = tuple(f"word{i}" for i in range(20))
    assert refused(parse_word, "x", many) == f"expected one of {', '.join(many[:12])} ..., found 'x'"


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("200 steps", 200, "steps"), ("1 step", 1, "steps"), ("5k steps", 5000, "steps"), ("3 epochs", 3, "epochs"),
        ("2M tokens", 2_000_000, "tokens"), ("60 trials", 60, "trials"), ("90s", 90, "seconds"),
        ("2min", 120, "seconds"), ("3h", 10_800, "seconds"), ("0.5h", 1800, "seconds"), ("1.5s", 1.5, "seconds"),
        ("2 min", 120, "seconds"),
    ],
)  # fmt: skip
def test_a_budget(text, amount, unit):
    budget = parse_budget(text)
    assert budget == Budget(amount, unit)
    assert str(budget) == text


BUDGET = "expected a budget such as 200 steps, 3 epochs, 2M tokens, 60 trials, 90s, 2min or 3h, found"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("200", f"{BUDGET} '200' | did you mean 200 steps?"),
        ("200steps", f"{BUDGET} '200steps' | write 200 steps"),
        ("200 stepps", f"{BUDGET} '200 stepps' | did you mean 200 steps?"),
        ("2.5 epochs", f"{BUDGET} '2.5 epochs' | it is not whole"),
        ("1 steps.5k", f"{BUDGET} '1 steps.5k' | did you mean 1 steps?"),
        ("0 steps", f"{BUDGET} '0 steps' | it must be more than nothing"),
        ("-3 steps", f"{BUDGET} '-3 steps' | it may not be negative"),
        ("long", f"{BUDGET} 'long'"),
        ("", f"{BUDGET} nothing"),
        ("1.2.3s", f"{BUDGET} '1.2.3s'"),
    ],
)
def test_no_budget(text, message):
    assert refused(parse_budget, text) == message


@pytest.mark.parametrize(
    ("text", "unit", "low", "high", "at"),
    [
        ("12.7M ± 1%", "", 12_573_000, 12_827_000, None),
        ("12.7M+-1%", "", 12_573_000, 12_827_000, None),
        ("11.3M ± 3%", "", 10_961_000, 11_639_000, None),
        ("10 ± 5%", "", 10, 10, None),
        ("12M..13M", "", 12_000_000, 13_000_000, None),
        ("..13M", "", None, 13_000_000, None),
        ("12M..", "", 12_000_000, None, None),
        ("30", "", 30, 30, None),
        ("1Ki .. 2Ki", "", 1024, 2048, None),
        ("..4MiB", "B", None, 4 << 20, None),
        ("..4MiB at 64Ki", "B", None, 4 << 20, 65_536),
        ("1..2MB", "B", 10**6, 2 * 10**6, None),
        ("512 KiB", "B", 512 << 10, 512 << 10, None),
        ("0B", "B", 0, 0, None),
        ("..2.5GFLOP at 1k", "FLOP", None, 2_500_000_000, 1000),
        ("1T..2 TFLOPs", "FLOP", 10**12, 2 * 10**12, None),
    ],
)
def test_a_range(text, unit, low, high, at):
    found = parse_range(text, unit)
    assert found == Range(low, high, unit, at)
    assert str(found) == text


def test_a_range_of_reals():
    assert parse_range("..2.4", whole=False) == Range(None, 2.4)
    assert parse_range("2 ± 10%", whole=False) == Range(1.8, 2.2)


def test_both_ends_of_a_range_hold():
    found = parse_range("12..13")
    assert [found.holds(n) for n in (11, 12, 13, 14)] == [False, True, True, False]
    assert parse_range("12..").holds(10**30)
    assert not parse_range("..12").holds(12.001)


RANGE = "expected a range such as 12.7M ± 1%, 12M..13M, ..13M or 30, found"


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("about 12M", "", f"{RANGE} 'about 12M' | did you mean 12M ± 5%?"),
        ("~12M", "", f"{RANGE} '~12M' | did you mean 12M ± 5%?"),
        ("..", "", f"{RANGE} '..'"),
        ("1...2", "", f"{RANGE} '1...2'"),
        ("12M ± 1", "", f"{RANGE} '12M ± 1'"),
        ("13..12", "", "the range '13..12' is empty | write the smaller end first"),
        ("4MiB", "", f"{RANGE} '4MiB'"),
        ("4Mi", "B", "expected a range such as ..4MiB, 1MB..2MB or 512KiB, found '4Mi'"),
        ("fast", "FLOP", "expected a range such as ..2.5GFLOP or 1TFLOP..2TFLOP, found 'fast'"),
        ("..4MiB at long", "B", "expected a length, found 'long'"),
        ("", "", f"{RANGE} nothing"),
    ],
)
def test_no_range(text, unit, message):
    assert refused(parse_range, text, unit) == message


@pytest.mark.parametrize(
    ("text", "canonical", "exponent", "log"),
    [
        ("O(1)", "O(1)", 0, False), ("O(log n)", "O(log n)", 0, True), ("O(n)", "O(n)", 1, False),
        ("O(n log n)", "O(n log n)", 1, True), ("O( n^1.5 )", "O(n^1.5)", 1.5, False), ("O(n^2)", "O(n^2)", 2, False),
        ("O(n^2 log  n)", "O(n^2 log n)", 2, True), ("O(n^1)", "O(n)", 1, False),
    ],
)  # fmt: skip
def test_a_growth(text, canonical, exponent, log):
    found = parse_growth(text)
    assert found == Growth(canonical, exponent, log)
    assert str(found) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "O()",
        "O(n",
        "o(n)",
        "n",
        "O(m)",
        "O(2)",
        "O(^2)",
        "O(n^-1)",
        "O(log)",
        "O(nlog)",
        "O(n n)",
        "O(n^10)",
        "O(n^1000000)",
    ],
)
def test_no_growth(text):
    assert refused(parse_growth, text) == (
        f"expected a growth such as O(1), O(n), O(n log n) or O(n^1.5), found '{text}'"
    )


def test_growths_are_ordered():
    bounds = [parse_growth(f"O({g})") for g in ("1", "log n", "n", "n log n", "n^1.5", "n^2")]
    for i, bound in enumerate(bounds):
        assert [bound.covers(other) for other in bounds] == [j <= i for j in range(len(bounds))]


def test_a_bound_is_a_growth_or_an_amount():
    assert parse_bound("O(n)", "B") == Growth("O(n)", 1)
    assert parse_bound("..4MiB", "B") == Range(None, 4 << 20, "B")


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        (ValueType("count"), "1k", 1000), (ValueType("length"), "1Ki", 1024), (ValueType("real"), "0.5", 0.5),
        (ValueType("width"), "4x", WidthValue(Fraction(4), relative=True)), (ValueType("flag"), "true", True),
        (ValueType("word", words=("a", "b")), "b", "b"), (ValueType("text"), "12: #", "12: #"),
        (ValueType("budget"), "3h", Budget(10_800, "seconds")), (ValueType("spec"), "x.xc.yaml@tiny", "x.xc.yaml@tiny"),
    ],
)  # fmt: skip
def test_a_value_of_each_type(type, text, value):
    assert parse_value(type, text, HERE) == value


def test_a_value_that_is_none():
    assert parse_value(ValueType("count"), "017", HERE, "model.dim") == Diagnostic(
        "XC014", "expected a whole number, found '017'", HERE, path="model.dim", fixes=("write 17",), stage="schema"
    )
    assert parse_value(ValueType("count"), "9" * 30, HERE).code == "XC015"


@pytest.mark.parametrize(
    ("bounds", "value", "message"),
    [
        ({"at_least": 1}, 0, "'p' must be at least 1, found 0"),
        ({"at_least": 0, "at_most": 1}, 2, "'p' must be at most 1, found 2"),
        ({"above": 0}, 0, "'p' must be more than 0, found 0"),
        ({"at_least": 0, "at_most": 1}, 1, None),
    ],
)
def test_bounds(bounds, value, message):
    found = check_bounds(OptionSchema("p", ValueType("real"), **bounds), value, HERE, "model.p")
    assert (found and (found.code, found.message, found.path)) == (message and ("XC015", message, "model.p"))


def test_formats():
    assert format_count(12_741_632) == "12,741,632"
    assert [format_short(n) for n in (0, 512, 999, 1000, 3_225_088, 12_741_632, 999_999, 831_000, 2_000_000_000)] == [
        "0", "512", "999", "1k", "3.23M", "12.7M", "1M", "831k", "2G",
    ]  # fmt: skip
    assert [format_length(n) for n in (0, 100, 1000, 1024, 65_536, 1_048_576, 3 << 19)] == [
        "0", "100", "1,000", "1Ki", "64Ki", "1Mi", "1536Ki",
    ]  # fmt: skip
    assert [format_bytes(n) for n in (0, 512, 1023, 1024, 8 << 20, 67 << 20, 128 << 20, 8 << 30, 5 << 50)] == [
        "0 B", "512 B", "1023 B", "1.0 KiB", "8.0 MiB", "67.0 MiB", "128 MiB", "8.0 GiB", "5.0 PiB",
    ]  # fmt: skip
    assert [format_flops(n) for n in (12, 999, 1e3, 8.7e9, 655e9, 2.26e15, 0.9999e12)] == [
        "12 FLOP", "999 FLOP", "1 kFLOP", "8.7 GFLOP", "655 GFLOP", "2.26 PFLOP", "1 TFLOP",
    ]  # fmt: skip


PIECES = [
    *"0123456789.-+eEkKMGTix%± \n",
    *["Ki", "steps", "tokens", "at", "..", "min", "O(", "n", "^", "log", ")", "KiB", "GFLOP", "1e99999", "٣"],
    "9" * 50,
]
PARSERS = (
    parse_count, parse_length, parse_real, parse_width, parse_flag, parse_budget, parse_growth, parse_range,
    lambda text: parse_range(text, "B"), lambda text: parse_range(text, "FLOP"),
    lambda text: parse_range(text, whole=False),
)  # fmt: skip


def test_random_texts_are_read_or_refused():
    chance = random.Random(0)
    read = 0
    for _ in range(3_000):
        text = "".join(chance.choice(PIECES) for _ in range(chance.randrange(7)))
        for parse in PARSERS:
            try:
                assert str(parse(text))
            except Problem:
                continue
            read += 1
    assert read > 1_000
