"""What the text of a scalar means where the place wants a number, a flag, a word, a budget or a bound.

Every parser takes a text and raises `Problem`; `parse_value` does it by type and gives a located finding instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, Literal

import attrs

from xcompose.diagnostics import Diagnostic, Span
from xcompose.diagnostics.suggest import nearest
from xcompose.schema import OptionSchema, ValueType
from xcompose.spec.formats import BINARY, DECIMAL
from xcompose.spec.formats import format_bytes as format_bytes
from xcompose.spec.formats import format_count as format_count
from xcompose.spec.formats import format_flops as format_flops
from xcompose.spec.formats import format_length as format_length
from xcompose.spec.formats import format_short as format_short
from xcompose.spec.tokens import STRICT_NUMBER, strict_number

LARGEST = (1 << 63) - 1
DIGITS = 40
EXPONENT = 400
SHOWN = 60
BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
FLOPS = {f"{prefix}FLOP{end}": size for prefix, size in {"": 1, **DECIMAL}.items() for end in ("", "s")}
PARTS = re.compile(r"(?P<digits>[0-9]+(?:\.[0-9]+)?)(?:e(?P<exponent>[+-]?[0-9]+))?(?P<unit>[A-Za-z]*)")
BUDGET_UNITS = {"steps": "steps", "epochs": "epochs", "tokens": "tokens", "trials": "trials"}
TIMES = {"s": 1, "min": 60, "h": 3600}
GROWTH = re.compile(r"O\(\s*(?:(?P<one>1)|(?P<n>n)?(?:\^(?P<exponent>[0-9]+(?:\.[0-9]+)?))?\s*(?P<log>log\s+n)?)\s*\)")
SWITCHES = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}


class Problem(ValueError):
    """A text that is not of the type its place wants."""

    def __init__(self, message: str, *, label: str = "", fixes: Iterable[str] = (), code: str = "XC014"):
        super().__init__(message)
        self.message, self.label, self.fixes, self.code = message, label, tuple(fixes), code


@attrs.frozen
class WidthValue:
    """Features: a number of them, or a multiple of the model's width."""

    amount: Fraction
    relative: bool = False

    def of(self, dim: int) -> int:
        """The number of features in a model of width `dim`.

        Raises:
            Problem: it does not come out whole.
        """
        value = self.amount * dim if self.relative else self.amount
        if value.denominator != 1:
            near = f"{round(value)} is the nearest whole width"
            raise Problem(f"{_decimal(self.amount)}x of {dim:,} is {_decimal(value)}, not whole", fixes=(near,))
        return int(value)

    def __str__(self) -> str:
        return f"{_decimal(self.amount)}x" if self.relative else str(self.amount)


@attrs.frozen
class Budget:
    """How long to train or to search."""

    amount: int | float
    """In the unit; seconds for a time."""
    unit: Literal["steps", "epochs", "tokens", "trials", "seconds"]
    text: str = attrs.field(default="", eq=False)
    """As written: `2min`."""

    def __str__(self) -> str:
        return self.text or (f"{self.amount:g}s" if self.unit == "seconds" else f"{self.amount} {self.unit}")


@attrs.frozen
class Range:
    """A bound from one side or from both, at a length if that matters."""

    low: int | float | None
    high: int | float | None
    unit: Literal["", "B", "FLOP"] = ""
    at: int | None = None
    text: str = attrs.field(default="", eq=False)

    def holds(self, value: float) -> bool:
        """Whether a value lies within; both ends belong to it."""
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        return (
            self.text or f"{'' if self.low is None else self.low}..{'' if self.high is None else self.high}{self.unit}"
        )


@attrs.frozen
class Growth:
    """An upper bound of growth with the length n: n to a power, with a logarithm or without."""

    text: str = attrs.field(eq=False)
    """Canonical: `O(n log n)`."""
    exponent: float
    log: bool = False

    def covers(self, other: Growth) -> bool:
        """Whether what grows like `other` keeps this bound."""
        return (other.exponent, other.log) <= (self.exponent, self.log)

    def __str__(self) -> str:
        return self.text


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


def parse_budget(text: str) -> Budget:
    """`200 steps`, `3 epochs`, `2M tokens`, `60 trials`, `90s`, `2min`, `3h`.

    Raises:
        Problem: none of these.
    """
    wanted = "a budget such as 200 steps, 3 epochs, 2M tokens, 60 trials, 90s, 2min or 3h"
    match = re.fullmatch(r"(?P<amount>[0-9.]+?)\s*(?P<unit>s|min|h)", text)
    if match and STRICT_NUMBER.fullmatch(match["amount"]):
        seconds = parse_number(match["amount"])[0] * TIMES[match["unit"]]
        budget = Budget(float(seconds) if seconds.denominator > 1 else int(seconds), "seconds", text)
    else:
        amount, _, unit = text.partition(" ")
        name = BUDGET_UNITS.get(unit.strip(), BUDGET_UNITS.get(f"{unit.strip()}s", ""))
        try:
            budget = Budget(parse_count(amount), name, text) if name else None  # type: ignore[arg-type]
        except Problem as problem:
            raise Problem(f"expected {wanted}, found {shown(text)}", label=problem.label, fixes=problem.fixes) from None
    if budget is None:
        raise Problem(f"expected {wanted}, found {shown(text)}", fixes=_budget_fixes(text))
    if budget.amount <= 0:
        raise Problem(f"expected {wanted}, found {shown(text)}", label="it must be more than nothing")
    return budget


def _budget_fixes(text: str) -> tuple[str, ...]:
    if STRICT_NUMBER.fullmatch(text):
        return (f"did you mean {text} steps?",)
    glued = re.fullmatch(r"([0-9.]+[kMGT]?)(steps?|epochs?|tokens?|trials?)", text)
    if glued:
        return (f"write {glued[1]} {glued[2]}",)
    near = nearest(text.partition(" ")[2], BUDGET_UNITS, most=1)
    return (f"did you mean {text.partition(' ')[0]} {near[0]}?",) if near else ()


def parse_range(text: str, unit: Literal["", "B", "FLOP"] = "", *, whole: bool = True) -> Range:
    """A range: `12.7M ± 1%`, `12M..13M`, `..13M`, `12M..`, `30`, `..4MiB at 64Ki`.

    Args:
        text: as written.
        unit: `B` for bytes, `FLOP` for work, empty for plain numbers.
        whole: counts; otherwise real numbers.

    Raises:
        Problem: it is none.
    """
    body, at = _without_length(text)

    def number(piece: str) -> Fraction:
        return _amount(piece, unit, text)

    tolerance = re.fullmatch(r"(?P<middle>[^±]+?)\s*(?:±|\+-)\s*(?P<percent>[0-9.]+)\s*%", body)
    low: Fraction | None
    high: Fraction | None
    if tolerance:
        middle = number(tolerance["middle"])
        part = parse_number(tolerance["percent"])[0] / 100
        low, high = middle * (1 - part), middle * (1 + part)
    elif ".." in body:
        first, _, last = (piece.strip() for piece in body.partition(".."))
        if not first and not last:
            raise _no_range(text, unit)
        if first and last and unit and re.fullmatch(r"[0-9.]+", first):
            first += re.sub(r"^[0-9.]+", "", last)
        low, high = number(first) if first else None, number(last) if last else None
    else:
        low = high = number(body)
    if low is not None and high is not None and low > high:
        raise Problem(f"the range {shown(text)} is empty", fixes=("write the smaller end first",))
    exact = unit != "" or whole
    return Range(_end(low, exact, math.ceil), _end(high, exact, math.floor), unit, at, text)


def _end(value: Fraction | None, whole: bool, rounded: Callable[[Fraction], int]) -> int | float | None:
    return None if value is None else rounded(value) if whole else float(value)


def _without_length(text: str) -> tuple[str, int | None]:
    body, found, length = text.partition(" at ")
    return (body.strip(), parse_length(length.strip())) if found else (text.strip(), None)


def _amount(piece: str, unit: str, text: str) -> Fraction:
    units = {"B": BYTES, "FLOP": {**FLOPS, **DECIMAL, "": 1}, "": {**DECIMAL, **BINARY, "": 1}}[unit]
    match = re.fullmatch(r"(?P<number>[0-9][0-9.]*(?:e[+-]?[0-9]+)?)\s*(?P<unit>[A-Za-z]*)", piece.strip())
    if match is None or not STRICT_NUMBER.fullmatch(match["number"]) or match["unit"] not in units:
        raise _no_range(text, unit)
    return parse_number(match["number"])[0] * units[match["unit"]]


def _no_range(text: str, unit: str) -> Problem:
    example = {"B": "..4MiB, 1MB..2MB or 512KiB", "FLOP": "..2.5GFLOP or 1TFLOP..2TFLOP"}.get(
        unit, "12.7M ± 1%, 12M..13M, ..13M or 30"
    )
    mended = re.search(r"[0-9][0-9.]*\s*[A-Za-z]*", text)
    fixes = (
        (f"did you mean {mended[0].strip()} ± 5%?",)
        if mended and not unit and re.match(r"\s*[a-zA-Z~<>=]", text)
        else ()
    )
    return Problem(f"expected a range such as {example}, found {shown(text)}", fixes=fixes)


def parse_growth(text: str) -> Growth:
    """A bound of growth: `O(1)`, `O(log n)`, `O(n)`, `O(n log n)`, `O(n^1.5)`, `O(n^2)`.

    Raises:
        Problem: it is none.
    """
    match = GROWTH.fullmatch(text.strip())
    if match is None or (not match["one"] and not match["n"] and (match["exponent"] or not match["log"])):
        raise Problem(f"expected a growth such as O(1), O(n), O(n log n) or O(n^1.5), found {shown(text)}")
    exponent = float(match["exponent"] or 1) if match["n"] else 0.0
    log = bool(match["log"])
    power = "n" if exponent == 1 else f"n^{exponent:g}"
    written = " ".join(([power] if exponent else []) + (["log n"] if log else [])) or "1"
    return Growth(f"O({written})", exponent, log)


def parse_bound(text: str, unit: Literal["", "B", "FLOP"]) -> Range | Growth:
    """A growth or an amount, as `expect` takes for `time`, `memory` and `state`.

    Raises:
        Problem: neither.
    """
    return parse_growth(text) if text.lstrip().startswith("O") else parse_range(text, unit)


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


def shown(text: str) -> str:
    """A user's text for a message: quoted, on one line, not too long."""
    plain = " ".join(text.split())
    return "nothing" if not plain else f"'{plain}'" if len(plain) <= SHOWN else f"'{plain[: SHOWN - 3]}...'"


def one_of(words: tuple[str, ...]) -> str:
    """`a`, `b` or `c`, for a message."""
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) <= 12 else f"one of {', '.join(words[:12])} ..."


def _decimal(value: Fraction) -> str:
    return f"{float(value):.10g}"
