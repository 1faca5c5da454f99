"""Numbers in the spelling of specs: `12`, `1.5k`, `4Ki`, `3e-4`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction

from xcompose.spec.formats import BINARY, DECIMAL
from xcompose.spec.tokens import STRICT_NUMBER, strict_number

LARGEST = (1 << 63) - 1
DIGITS = 40
EXPONENT = 400
SHOWN = 60
PARTS = re.compile(r"(?P<digits>[0-9]+(?:\.[0-9]+)?)(?:e(?P<exponent>[+-]?[0-9]+))?(?P<unit>[A-Za-z]*)")


class Problem(ValueError):
    """A text that is not of the type its place wants."""

    def __init__(self, message: str, *, label: str = "", fixes: Iterable[str] = (), code: str = "XC014"):
        super().__init__(message)
        self.message, self.label, self.fixes, self.code = message, label, tuple(fixes), code


def parse_number(text: str) -> tuple[Fraction, str]:
    """A number and its unit, exactly.

    Raises:
        Problem: it is not well formed, or absurdly large.
    """
    match = PARTS.fullmatch(text) if STRICT_NUMBER.fullmatch(text) else None
    if match is None:
        mended = strict_number(text)
        raise Problem(f"expected a number, found {shown(text)}", fixes=(f"write {mended}",) if mended else ())
    exponent = match["exponent"] or "0"
    if len(match["digits"]) > DIGITS or len(exponent) > 5 or abs(int(exponent)) > EXPONENT:
        raise Problem(f"the number {shown(text)} is too large", code="XC015")
    return Fraction(match["digits"]) * Fraction(10) ** int(exponent), match["unit"]


def parse_count(text: str, what: str = "a whole number") -> int:
    """A number that is whole and not negative: `12`, `1.5k`, `4Ki`.

    Raises:
        Problem: it is not.
    """
    try:
        number, unit = parse_number(text)
    except Problem as problem:
        if problem.code == "XC015":
            raise
        if text.startswith("-"):
            raise Problem(f"expected {what}, found {shown(text)}", label="it may not be negative") from None
        raise Problem(f"expected {what}, found {shown(text)}", fixes=problem.fixes) from None
    if unit == "x":
        raise Problem(f"expected {what}, found {shown(text)}", label="`x` is for widths: times the model's width")
    value = number * {**DECIMAL, **BINARY, "": 1}[unit]
    if value.denominator != 1:
        raise Problem(f"expected {what}, found {shown(text)}", label="it is not whole")
    if value > LARGEST:
        raise Problem(f"the number {shown(text)} is too large", code="XC015")
    return int(value)


def parse_length(text: str) -> int:
    """A count of positions: `4096`, `4Ki`.

    Raises:
        Problem: it is none.
    """
    return parse_count(text, "a length")


def length_hint(text: str) -> str:
    """What to say about a length with a decimal unit: `4k` is 4000, not 4096; empty if nothing."""
    if not re.fullmatch(r"[0-9.]+[kMGT]", text):
        return ""
    binary = text.replace("k", "K") + "i"
    number, unit = parse_number(binary)
    return f"{text} is {parse_length(text):,}; {binary} is {int(number * BINARY[unit]):,}"


def parse_real(text: str) -> float:
    """A number: `0.1`, `3e-4`, `-1`.

    Raises:
        Problem: it is none, or not finite.
    """
    sign, body = (-1, text[1:]) if text.startswith("-") else (1, text)
    try:
        number, unit = parse_number(body)
    except Problem as problem:
        if problem.code == "XC015":
            raise
        fixes = tuple(fix.replace("write ", "write -" if sign < 0 else "write ") for fix in problem.fixes)
        raise Problem(f"expected a number, found {shown(text)}", fixes=fixes) from None
    if unit:
        raise Problem(f"expected a number, found {shown(text)}", label=f"the unit {unit} is for counts")
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if math.isinf(value):
        raise Problem(f"the number {shown(text)} is too large", code="XC015")
    return sign * value


def shown(text: str) -> str:
    """A user's text for a message: quoted, on one line, not too long."""
    plain = " ".join(text.split())
    return "nothing" if not plain else f"'{plain}'" if len(plain) <= SHOWN else f"'{plain[: SHOWN - 3]}...'"
