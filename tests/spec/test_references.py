"""References: the closed language of sums and paths, and how values are followed."""

from __future__ import annotations

import random

import pytest

from xcompose.diagnostics import Span, SpecError
from xcompose.diagnostics.sources import SOURCES
from xcompose.spec.references import Arithmetic, Digits, Path, as_reference, evaluate, parse, paths
from xcompose.spec.tree import Reference, Scalar

from . import goldens


def scalar(text: str, line: int = 1) -> Scalar:
    return Scalar(text, Span("f", line, 1, line, len(text) + 1))


VALUES = {
    "w": scalar("100", 10), "a": scalar("${b}", 11), "b": scalar("${a}", 12), "s": scalar("hello", 13), "n": 7,
    "lst": ("x",), "big": scalar("9e18", 14), "neg": scalar("-3", 15), "model.dim": 512,
    **{f"c{i}": scalar(f"${{c{i + 1}}}", 20 + i) for i in range(19)},
}  # fmt: skip


def value(text: str):
    SOURCES.register("f", text)
    reference = as_reference(scalar(text))
    assert reference is not None
    return evaluate(reference, lambda path: VALUES[path], list(VALUES))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${12}", 12), ("${w}", VALUES["w"]), ("${w + 1}", 101), ("${2-5}", -3), ("${n*(w-2)/7}", 98),
        ("${model.dim / 8}", 64), ("${ 1 + 2 * 3 }", 7), ("${(1 + 2) * 3}", 9), ("${8 / 2 / 2}", 2),
        ("${8 - 2 - 2}", 4), ("${neg + 1}", -2), ("${lst}", ("x",)), ("  ${n}  ", 7), ("${0 / n}", 0),
        ("${s}", VALUES["s"]),
    ],
)  # fmt: skip
def test_a_value(text, expected):
    assert value(text) == expected


def test_random_sums_agree_with_python():
    chance = random.Random(0)

    def sum_of(depth: int) -> str:
        if depth == 0 or chance.random() < 0.2:
            return str(chance.randrange(1, 30))
        return f"({sum_of(depth - 1)} {chance.choice('+-*')} {sum_of(depth - 1)})"

    for _ in range(300):
        text = sum_of(4)
        assert value(f"${{{text}}}") == eval(text)  # the oracle: text of numbers, signs and brackets


def test_sixty_four_operations():
    assert value("${" + "+".join("1" * 65) + "}") == 65
    with pytest.raises(SpecError, match="more than 64 operations in a reference"):
        value("${" + "+".join("1" * 9_000) + "}")
    with pytest.raises(SpecError, match="more than 32 levels of brackets"):
        value("${" + "(" * 33 + "1" + ")" * 33 + "}")


def test_no_reference():
    assert as_reference(scalar("window(256)")) is None
    assert as_reference(scalar("$w {w}")) is None


@pytest.mark.parametrize(("text", "message"), goldens.cases("references.txt"))
def test_what_is_said(text, message):
    with pytest.raises(SpecError) as caught:
        value(text.removesuffix("\n"))
    assert str(caught.value) == message


def test_one_circle_is_one_finding_wherever_it_is_entered():
    messages = set()
    for text in ("${a}", "${b}", "${a + 1}"):
        with pytest.raises(SpecError) as caught:
            value(text)
        messages.add(str(caught.value))
    assert messages == {"error[XC022]: reference cycle: a -> b -> a\n  --> f:11:3\n  ::: f:12:3\n   = and this"}


def test_a_value_that_refers_to_itself():
    itself = {"a": scalar("${a}", 3)}
    reference = as_reference(scalar("${a}"))
    assert reference is not None
    with pytest.raises(SpecError, match="reference cycle: a -> a"):
        evaluate(reference, itself.__getitem__)


def test_sixteen_in_a_chain():
    chain = {f"c{i}": scalar(f"${{c{i + 1}}}", 20 + i) for i in range(16)} | {"c16": 5}
    for text, expected in (("${c1}", 5), ("${c1 * 2}", 10)):
        reference = as_reference(scalar(text))
        assert reference is not None
        assert evaluate(reference, chain.__getitem__) == expected
    reference = as_reference(scalar("${c0}"))
    assert reference is not None
    with pytest.raises(SpecError, match="more than 16 references in a chain"):
        evaluate(reference, chain.__getitem__)


def test_a_diamond_is_no_circle():
    values = {"a": scalar("${b + c}", 2), "b": scalar("${d}", 3), "c": scalar("${d}", 4), "d": 4}
    reference = as_reference(scalar("${a}"))
    assert reference is not None
    assert evaluate(reference, values.__getitem__) == 8


def test_the_tree_of_a_sum():
    reference = Reference("w + 2 * model.layers.0.dim", Span("f", 1, 3, 1, 29))
    product = Arithmetic("*", Digits(2), Path("model.layers.0.dim", 8, 26), 4, 26)
    assert parse(reference) == Arithmetic("+", Path("w", 0, 1), product, 0, 26)
    assert paths(reference) == ("w", "model.layers.0.dim")


def test_a_finding_has_the_path_it_is_given():
    reference = as_reference(scalar("${gone}"))
    assert reference is not None
    with pytest.raises(SpecError) as caught:
        evaluate(reference, {}.__getitem__, path="model.dim")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.path) == ("XC021", "model.dim")


def test_nothing_is_looked_up_but_what_the_caller_gives(monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    for text in ("${oc.env:SECRET}", "${oc.env}", "${env.SECRET}", "${eval:1}", "${${s}}", "${oc.decode:'1'}"):
        with pytest.raises(SpecError) as caught:
            value(text)
        assert "hunter2" not in str(caught.value)
