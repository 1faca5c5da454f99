"""The grammar of expressions: every construct, every refusal, and the way back to text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcompose.diagnostics import Span, SpecError
from xcompose.diagnostics.sources import SOURCES
from xcompose.spec.expression import parse_expression, parse_sequence, unparse
from xcompose.spec.tree import (
    Argument,
    Call,
    Element,
    Expression,
    Group,
    List,
    Literal_,
    Name,
    Operation,
    Reference,
    Scalar,
)

from . import goldens

HERE = Span("f", 1, 1, 1, 2)


def scalar(text: str) -> Scalar:
    SOURCES.register("f", text)
    return Scalar(text, Span("f", 1, 1, 1, len(text) + 1))


def one(value: Expression, number: str | None = None) -> Element:
    return Element(value, None if number is None else Literal_("number", number, HERE), HERE)


def name(text: str) -> Name:
    return Name(text, HERE)


def literal(text: str, kind="number") -> Literal_:
    return Literal_(kind, text, HERE)


def call(called: str, *unnamed: Expression, **named: Expression) -> Call:
    arguments = [Argument(None, one(value), HERE) for value in unnamed]
    arguments += [Argument(option, one(value), HERE) for option, value in named.items()]
    return Call(called, tuple(arguments), HERE, HERE)


def joined(operator, *operands: Expression) -> Operation:
    return Operation(operator, operands, HERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dense", name("dense")),
        ("pre-norm", name("pre-norm")),
        ("acme/nystrom@12", name("acme/nystrom@12")),
        ("window(256)", call("window", literal("256"))),
        ("window()", call("window")),
        ("window( 256 ,\n dilation = 2 )", call("window", literal("256"), dilation=literal("2"))),
        (
            "f(1.5k, 4Ki, 4x, 3e-4, 0.5, -1)",
            call("f", *(literal(t) for t in ("1.5k", "4Ki", "4x", "3e-4", "0.5", "-1"))),
        ),
        ('f("a, (b", "")', call("f", literal("a, (b", "string"), literal("", "string"))),
        ("f(true, false, null)", call("f", literal("true", "flag"), literal("false", "flag"), literal("null", "null"))),
        ("f(${w}, k=${a.0 / 8})", call("f", Reference("w", HERE), k=Reference("a.0 / 8", HERE))),
        ("f([a, 2], [])", call("f", List((one(name("a")), one(literal("2"))), HERE), List((), HERE))),
        ("(a)", name("a")),
        ("((a))", name("a")),
        ("(a, b)", Group((one(name("a")), one(name("b"))), HERE)),
        ("(2*a)", Group((one(name("a"), "2"),), HERE)),
        ("a | b | c", joined("|", name("a"), name("b"), name("c"))),
        ("a | (b | c)", joined("|", name("a"), joined("|", name("b"), name("c")))),
        ("a & b & c", joined("&", joined("&", name("a"), name("b")), name("c"))),
        ("a - b & c", joined("&", joined("-", name("a"), name("b")), name("c"))),
        (
            "a | b & c - d",
            joined("|", name("a"), joined("-", joined("&", name("b"), name("c")), name("d"))),
        ),
        ("(a | b) & c", joined("&", joined("|", name("a"), name("b")), name("c"))),
        ("dense-global", name("dense-global")),
        ("dense - global", joined("-", name("dense"), name("global"))),
        ("dense -global", joined("-", name("dense"), name("global"))),
        ("dense- global", joined("-", name("dense"), name("global"))),
        ("window(4)-global", joined("-", call("window", literal("4")), name("global"))),
        ("a - -1", joined("-", name("a"), literal("-1"))),
    ],
)
def test_an_expression(text, expected):
    assert parse_expression(scalar(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", [one(literal("12"))]),
        ("3*near, far", [one(name("near"), "3"), one(name("far"))]),
        ("3*(near, 2*far)", [one(Group((one(name("near")), one(name("far"), "2")), HERE), "3")]),
        ("2*a | b", [one(joined("|", name("a"), name("b")), "2")]),
        ("2 * a", [one(name("a"), "2")]),
    ],
)
def test_a_sequence(text, expected):
    assert list(parse_sequence(scalar(text))) == expected


def test_numbers_before_groups_of_heads():
    (found,) = parse_sequence(scalar("heads(3*a, b)"))
    assert isinstance(found.value, Call)
    assert [a.value for a in found.value.arguments] == [one(name("a"), "3"), one(name("b"))]


@pytest.mark.parametrize(("text", "message"), goldens.cases("sequence.txt"))
def test_what_is_said_of_a_sequence(text, message):
    with pytest.raises(SpecError) as caught:
        parse_sequence(scalar(text.removesuffix("\n")))
    assert str(caught.value) == message


@pytest.mark.parametrize(("text", "message"), goldens.cases("expression.txt"))
def test_what_is_said_of_an_expression(text, message):
    with pytest.raises(SpecError) as caught:
        parse_expression(scalar(text.removesuffix("\n")))
    assert str(caught.value) == message


def test_a_finding_knows_its_path_and_stage():
    with pytest.raises(SpecError) as caught:
        parse_sequence(scalar("near,"), "model.layers")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.path, diagnostic.stage) == ("model.layers", "parse")


def test_an_empty_text():
    with pytest.raises(SpecError, match="expected an expression, found nothing"):
        parse_expression(scalar("  "))


def test_places():
    (found,) = parse_sequence(scalar("3*attention(pattern=window(${w}) | x)"))
    assert isinstance(found.value, Call)
    (argument,) = found.value.arguments
    operation = argument.value.value
    assert isinstance(operation, Operation)
    (window, _) = operation.operands
    assert isinstance(window, Call)
    reference = window.arguments[0].value.value
    assert isinstance(reference, Reference)
    assert reference.inner is not None
    places = {
        "element": found.span, "number": found.number and found.number.span, "call": found.value.span,
        "name": found.value.name_span, "argument": argument.span, "option": argument.option_span,
        "operation": operation.span, "window": window.span, "reference": reference.span, "source": reference.inner.span,
    }  # fmt: skip
    columns = {key: (span.column, span.end_column) for key, span in places.items() if span}
    assert columns == {
        "element": (1, 38), "number": (1, 2), "call": (3, 38), "name": (3, 12), "argument": (13, 37),
        "option": (13, 20), "operation": (21, 37), "window": (21, 33), "reference": (28, 32), "source": (30, 31),
    }  # fmt: skip


def test_thirty_two_levels():
    assert parse_expression(scalar("(" * 32 + "a" + ")" * 32)) == name("a")
    with pytest.raises(SpecError, match="more than 32 levels of brackets"):
        parse_expression(scalar("f(" * 33 + "a" + ")" * 33))


def test_thirty_two_operators_that_nest():
    assert parse_expression(scalar(" - ".join("a" * 33)))
    with pytest.raises(SpecError, match="more than 32 `&` and `-` in a row"):
        parse_expression(scalar(" & ".join("a" * 34)))
    found = parse_expression(scalar(" | ".join("a" * 20_000)))
    assert isinstance(found, Operation)
    assert len(found.operands) == 20_000


def test_the_whole_depth_is_bounded():
    chain = "a" + " - a" * 32
    assert parse_expression(scalar(f"({chain}) - ({chain})"))
    with pytest.raises(SpecError, match="an expression of more than 64 levels"):
        parse_expression(scalar("(" * 9 + chain + f"){' - a' * 32}" * 9))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("window( 256 ,dilation= 2)", "window(256, dilation=2)"),
        ("((a|b))&c", "(a | b) & c"),
        ("a|(b&c)", "a | b & c"),
        ("a-(b&c)", "a - (b & c)"),
        ("(a - b)&c", "a - b & c"),
        ("3*(a|b),(c)", "3*(a | b), c"),
        ("[ a,2 ]", "[a, 2]"),
        ("${ w }", "${w}"),
        ('f("x")', 'f("x")'),
        ("(2*a, b)", "(2*a, b)"),
    ],
)
def test_the_canonical_spelling(text, canonical):
    parsed = parse_sequence(scalar(text))
    assert unparse(parsed) == canonical
    assert unparse(parse_sequence(scalar(canonical))) == canonical


PIECES = [
    "window",
    "a",
    "3",
    "*",
    "(",
    ")",
    "[",
    "]",
    ",",
    "|",
    "&",
    "-",
    "=",
    "size",
    "1.5k",
    "4x",
    "${w}",
    "${model.dim/8}",
    "true",
    "null",
    "acme/n@2",
    "heads",
    "_",
    "$",
    "{",
    "3e-4",
    "..",
    "${",
    "-",
    "(",
    ")",
    ",",
] + [" ", "\n", '"x y"']


def test_random_texts_never_crash_and_what_is_read_comes_back():
    chance = random.Random(0)
    read = 0
    for _ in range(20_000):
        text = "".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 16)))
        try:
            found = parse_sequence(Scalar(text, HERE))
        except SpecError:
            continue
        read += 1
        assert parse_sequence(Scalar(unparse(found), HERE)) == found
    assert read > 500


words = st.from_regex(r"[a-z][a-z0-9]{0,3}(-[a-z0-9]{1,3})?", fullmatch=True).filter(
    lambda w: w not in ("true", "false", "null")
)
names = st.builds(
    lambda space, word, version: space + word + version,
    st.sampled_from(["", "acme/"]),
    words,
    st.sampled_from(["", "@2"]),
)
numbers = st.builds(
    lambda whole, rest, unit: f"{whole}{rest}{unit}",
    st.integers(0, 5000), st.sampled_from(["", ".5", "e3", "e-4"]), st.sampled_from(["", "k", "Ki", "Gi", "x"]),
)  # fmt: skip
strings = st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cs"]), max_size=5)
leaves = st.one_of(
    st.builds(name, names),
    st.builds(literal, numbers),
    st.builds(lambda number: literal(f"-{number}"), numbers),
    st.builds(lambda text: literal(text, "string"), strings),
    st.sampled_from(
        [literal("true", "flag"), literal("null", "null"), Reference("w", HERE), Reference("a.b / 2", HERE)]
    ),
)


@st.composite
def elements(draw, values: st.SearchStrategy[Expression]) -> Element:
    return one(draw(values), draw(st.one_of(st.none(), st.none(), numbers)))


@st.composite
def larger(draw, values: st.SearchStrategy[Expression]) -> Expression:
    shape = draw(st.sampled_from(["call", "union", "pair", "list", "group"]))
    if shape == "union":
        return joined("|", *draw(st.lists(values, min_size=2, max_size=3)))
    if shape == "pair":
        return joined(draw(st.sampled_from("&-")), draw(values), draw(values))
    items = tuple(draw(st.lists(elements(values), max_size=3)))
    if shape == "list":
        return List(items, HERE)
    if shape == "group":
        return Group((*items, one(name("last"), "2")), HERE)
    options = draw(st.lists(st.sampled_from(["size", "kv_heads", "at"]), unique=True, max_size=3))
    options = [None] * max(0, len(items) - len(options)) + options
    arguments = (Argument(option, item, HERE) for option, item in zip(options, items, strict=False))
    return Call(draw(names), tuple(arguments), HERE, HERE)


@settings(max_examples=120, deadline=None)
@given(st.recursive(leaves, larger, max_leaves=12))
def test_every_tree_comes_back_from_its_text(tree):
    assert parse_expression(Scalar(unparse(tree), HERE)) == tree


@settings(max_examples=60, deadline=None)
@given(st.lists(elements(st.recursive(leaves, larger, max_leaves=6)), min_size=1, max_size=4).map(tuple))
def test_every_sequence_comes_back_from_its_text(items):
    assert parse_sequence(Scalar(unparse(items), HERE)) == items
