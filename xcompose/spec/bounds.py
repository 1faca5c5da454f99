"""Budgets, ranges and growths: how long to train, and what `expect` holds a model to."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import attrs

from xcompose.diagnostics.suggest import nearest
from xcompose.spec.formats import BINARY, DECIMAL
from xcompose.spec.numbers import Problem, parse_count, parse_length, parse_number, shown
from xcompose.spec.tokens import STRICT_NUMBER

BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
FLOPS = {f"{prefix}FLOP{end}": size for prefix, size in {"": 1, **DECIMAL}.items() for end in ("", "s")}
BUDGET_UNITS = {"steps": "steps", "epochs": "epochs", "tokens": "tokens", "trials": "trials"}
TIMES = {"s": 1, "min": 60, "h": 3600}
SECONDS = {"s": Fraction(1), "ms": Fraction(1, 1000), "us": Fraction(1, 10**6)}
EXAMPLES = {
    "": "12.7M ± 1%, 12M..13M, ..13M or 30", "B": "..4MiB, 1MB..2MB or 512KiB",
    "FLOP": "..2.5GFLOP or 1TFLOP..2TFLOP", "s": "..20ms or 1ms..0.5s",
}  # fmt: skip
GROWTH = re.compile(
    r"O\(\s*(?:(?P<one>1)|(?P<n>n)?(?:\^(?P<exponent>[0-9](?:\.[0-9]{1,3})?))?\s*(?P<log>log\s+n)?)\s*\)"
)


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
    unit: Literal["", "B", "FLOP", "s"] = ""
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


def parse_range(text: str, unit: Literal["", "B", "FLOP", "s"] = "", *, whole: bool = True) -> Range:
    """A range: `12.7M ± 1%`, `12M..13M`, `..13M`, `12M..`, `30`, `..4MiB at 64Ki`.

    Args:
        text: as written.
        unit: `B` for bytes, `FLOP` for work, `s` for seconds, empty for plain numbers.
        whole: counts; otherwise real numbers, which bytes and work never are.

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
    exact = unit in ("B", "FLOP") or whole
    return Range(_end(low, exact, math.ceil), _end(high, exact, math.floor), unit, at, text)


def _end(value: Fraction | None, whole: bool, rounded: Callable[[Fraction], int]) -> int | float | None:
    return None if value is None else rounded(value) if whole else float(value)


def _without_length(text: str) -> tuple[str, int | None]:
    body, found, length = text.partition(" at ")
    return (body.strip(), parse_length(length.strip())) if found else (text.strip(), None)


def _amount(piece: str, unit: str, text: str) -> Fraction:
    units = {
        "B": BYTES, "FLOP": {**FLOPS, **DECIMAL, "": 1}, "s": SECONDS, "": {**DECIMAL, **BINARY, "": 1},
    }[unit]  # fmt: skip
    match = re.fullmatch(r"(?P<number>[0-9][0-9.]*(?:e[+-]?[0-9]+)?)\s*(?P<unit>[A-Za-z]*)", piece.strip())
    if match is None or not STRICT_NUMBER.fullmatch(match["number"]) or match["unit"] not in units:
        raise _no_range(text, unit)
    return parse_number(match["number"])[0] * units[match["unit"]]


def _no_range(text: str, unit: str) -> Problem:
    example = EXAMPLES[unit]
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
