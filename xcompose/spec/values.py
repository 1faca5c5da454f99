"""What the text of a scalar means where the place wants a number, a flag, a word, a budget or a bound.

Every parser takes a text and raises `Problem`; `parse_value` does it by type and gives a located finding instead.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import attrs

from xcompose.diagnostics import Diagnostic, Span
from xcompose.diagnostics.suggest import nearest
from xcompose.schema import OptionSchema, ValueType
from xcompose.spec.bounds import Budget as Budget
from xcompose.spec.bounds import Growth as Growth
from xcompose.spec.bounds import Range as Range
from xcompose.spec.bounds import parse_bound as parse_bound
from xcompose.spec.bounds import parse_budget as parse_budget
from xcompose.spec.bounds import parse_growth as parse_growth
from xcompose.spec.bounds import parse_range as parse_range
from xcompose.spec.formats import format_bytes as format_bytes
from xcompose.spec.formats import format_count as format_count
from xcompose.spec.formats import format_flops as format_flops
from xcompose.spec.formats import format_length as format_length
from xcompose.spec.formats import format_short as format_short
from xcompose.spec.numbers import LARGEST
from xcompose.spec.numbers import Problem as Problem
from xcompose.spec.numbers import length_hint as length_hint
from xcompose.spec.numbers import parse_count as parse_count
from xcompose.spec.numbers import parse_length as parse_length
from xcompose.spec.numbers import parse_number as parse_number
from xcompose.spec.numbers import parse_real as parse_real
from xcompose.spec.numbers import shown as shown
from xcompose.spec.tokens import STRICT_NUMBER

SWITCHES = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}


@attrs.frozen
class WidthValue:
    """Features: a number of them, or a multiple of the model's width."""

    amount: Fraction
    relative: bool = False

    def of(self, dim: int) -> int:
        """The number of features in a model of width `dim`.

        Raises:
            Problem: it does not come out whole, or is absurdly large.
        """
        value = self.amount * dim if self.relative else self.amount
        if value.denominator != 1:
            near = f"{round(value)} is the nearest whole width"
            raise Problem(f"{_decimal(self.amount)}x of {dim:,} is {_decimal(value)}, not whole", fixes=(near,))
        if value > LARGEST:
            raise Problem(f"{_decimal(self.amount)}x of {dim:,} is too large", code="XC015")
        return int(value)

    def __str__(self) -> str:
        return f"{_decimal(self.amount)}x" if self.relative else str(self.amount)


def parse_width(text: str) -> WidthValue:
    """Features: `2048`, `4x`.

    Raises:
        Problem: neither.
    """
    if text.endswith("x") and STRICT_NUMBER.fullmatch(text):
        return WidthValue(parse_number(text)[0], relative=True)
    return WidthValue(Fraction(parse_count(text, "a width such as 2048 or 4x")))


def parse_flag(text: str) -> bool:
    """`true` or `false`.

    Raises:
        Problem: anything else.
    """
    if text in ("true", "false"):
        return text == "true"
    meant = SWITCHES.get(text.lower(), text.lower() if text.lower() in ("true", "false") else "")
    raise Problem(f"expected true or false, found {shown(text)}", fixes=(f"write {meant}",) if meant else ())


def parse_word(text: str, words: tuple[str, ...]) -> str:
    """One of `words`.

    Raises:
        Problem: another word.
    """
    if text in words:
        return text
    near = nearest(text, words, most=1)
    fixes = (f"did you mean '{near[0]}'?",) if near else ()
    raise Problem(f"expected {one_of(words)}, found {shown(text)}", fixes=fixes)


PARSERS: dict[str, Callable[[str], Any]] = {
    "count": parse_count,
    "length": parse_length,
    "real": parse_real,
    "width": parse_width,
    "flag": parse_flag,
    "budget": parse_budget,
    "text": str,
    "spec": str,
}


def parse_value(type: ValueType, text: str, span: Span | None, path: str = "") -> Any:
    """The value that a scalar's text stands for, or the `Diagnostic` that says why it stands for none.

    Args:
        type: count, length, real, width, flag, word, text, budget or spec.
        text: of the scalar; quotes change nothing.
        span: of the scalar.
        path: of the place.
    """
    try:
        return parse_word(text, type.words) if type.name == "word" else PARSERS[type.name](text)
    except Problem as problem:
        return Diagnostic(
            problem.code, problem.message, span, problem.label, path=path, fixes=problem.fixes, stage="schema"
        )


def check_bounds(option: OptionSchema, value: float, span: Span | None, path: str = "") -> Diagnostic | None:
    """The finding for a number outside the bounds of its option, or None."""
    limits = []
    if option.at_least is not None and value < option.at_least:
        limits.append(f"at least {option.at_least:g}")
    if option.above is not None and value <= option.above:
        limits.append(f"more than {option.above:g}")
    if option.at_most is not None and value > option.at_most:
        limits.append(f"at most {option.at_most:g}")
    if not limits:
        return None
    message = f"'{option.name}' must be {' and '.join(limits)}, found {value:g}"
    return Diagnostic("XC015", message, span, path=path, stage="schema")


def one_of(words: tuple[str, ...]) -> str:
    """`a`, `b` or `c`, for a message; at most twelve of them."""
    listed = ", ".join(words[:12])
    if len(words) > 12:
        return f"one of {listed} ..."
    return " or ".join(listed.rsplit(", ", 1))


def _decimal(value: Fraction) -> str:
    return f"{float(value):.10g}"
