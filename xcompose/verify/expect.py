"""The contract of a spec, `expect`, held against what was counted and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from xcompose.cost.growth import classify
from xcompose.decode.state import size_of_state, widths_of
from xcompose.diagnostics import Diagnostic, Note
from xcompose.spec.model import Expectation
from xcompose.spec.values import Growth, Range, format_bytes, format_flops, format_length, format_short
from xcompose.verify.facts import FARTHEST, Facts
from xcompose.verify.subject import Place

CODE = "XC061"
COUNTED = ("params", "trainable", "layers", "time", "memory", "state", "reach", "lengths")
"""Expectations that need no run."""
MEASURED = ("causal", "decode", "deterministic")
SHOWN = (2**10, 2**16)
"""Lengths at which a state that grows is shown."""
FORMATS: Mapping[str, Callable[[float], str]] = {"time": format_flops, "memory": format_bytes, "state": format_bytes}
STRICTER = {"strict": 2, "value": 1, "none": 0}


def counted(expectations: Iterable[Expectation], facts: Facts, spec: str = "") -> list[Diagnostic]:
    """Findings about expectations of counts that do not hold."""
    found = [_one(e, facts) for e in expectations if e.key in COUNTED]
    return [attrs.evolve(f, spec=spec, stage="build") for f in found if f]


def measured(expectations: Iterable[Expectation], results: Mapping[str, Any], spec: str = "") -> list[Diagnostic]:
    """Findings about expectations of behaviour that do not hold.

    Args:
        expectations: of a spec.
        results: `causal` (`strict`, `value` or `none`), `decode` (`exact` or `none`), `deterministic` (a flag).
        spec: its name.
    """
    found = []
    for e in expectations:
        if e.key in results and not _behaves(e, results[e.key]):
            found.append(attrs.evolve(_broken(e, _word(results[e.key]), ""), spec=spec, stage="contracts"))
    return found


def _behaves(e: Expectation, result: Any) -> bool:
    if e.key == "causal" and e.value != "none":
        return STRICTER[result] >= STRICTER[e.value]
    return result == e.value


def _one(e: Expectation, facts: Facts) -> Diagnostic | None:
    if e.key in ("params", "trainable", "layers"):
        return _number(e, facts)
    if e.key == "reach":
        return _reach(e, facts)
    if e.key == "lengths":
        return _lengths(e, facts)
    return _growth(e, facts) if isinstance(e.value, Growth) else _amount(e, facts)


def _number(e: Expectation, facts: Facts) -> Diagnostic | None:
    value = {
        "params": facts.parameters.total, "trainable": facts.parameters.trainable, "layers": facts.layers,
    }[e.key]  # fmt: skip
    if e.value.holds(value):
        return None
    label = "" if e.key == "layers" else f"{value:,}: {_off(value, e.value)}"
    shown = f"{value}" if e.key == "layers" else format_short(value)
    exact = shown if e.key == "layers" else f"{shown} ± 1%"
    return _broken(e, shown, label, fixes=(f"if it is meant, expect {e.key}: {exact}",))


def _off(value: float, bound: Range) -> str:
    """`1.2 % more than 12,827,000`."""
    if bound.high is not None and value > bound.high:
        return f"{_percent(value, bound.high)} more than {bound.high:,}"
    assert bound.low is not None
    return f"{_percent(value, bound.low)} less than {bound.low:,}"


def _percent(value: float, limit: float) -> str:
    return f"{100 * abs(value - limit) / limit:.3g} %" if limit else f"{abs(value - limit):,}"


def _amount(e: Expectation, facts: Facts) -> Diagnostic | None:
    n = e.value.at or facts.length
    try:
        value = facts.amount(e.key, n)
    except ValueError as error:
        return _broken(e, "a length that the model does not take", f"at {format_length(n)}: {error}")
    if e.value.holds(value):
        return None
    shown = FORMATS[e.key](value)
    most = e.value.high if e.value.high is not None and value > e.value.high else e.value.low
    label = f"{shown} at {format_length(n)}, {_percent(value, most)} {'over' if value > most else 'under'} the bound"
    return _broken(e, shown, label, notes=_heaviest(e.key, n, facts))


def _heaviest(kind: str, n: int, facts: Facts) -> tuple[Note, ...]:
    """Which layer takes most of it."""
    shares = {path: size for path, _, size in _by_layer(kind, n, facts)}
    if not shares:
        return ()
    path = max(shares, key=lambda p: shares[p])
    place = next(place for p, place, _ in facts.mixers() if p == path)
    total = sum(shares.values())
    text = f"layer {place.layer} takes {FORMATS[kind](shares[path])} of {FORMATS[kind](total)} in all mixers"
    return (Note(text, place.span),)


def _growth(e: Expectation, facts: Facts) -> Diagnostic | None:
    growths = facts.growths
    found = growths.of(e.key)
    if found is None:
        return _broken(e, "one length only", "growth cannot be read: the model does not take longer and shorter texts")
    if e.value.covers(found):
        return None
    guilty = list(_guilty(e, facts))
    fixes = (f"if it is meant, expect {e.key}: {found}",)
    if guilty and e.key in ("time", "state"):
        layers = _layers([place for place, _ in guilty])
        fixes = (f"give {layers} a window or score=linear; or, if it is meant, expect {found}",)
    return _broken(e, str(found), _at_two(e.key, facts), notes=_blame(e, guilty, facts), fixes=fixes)


def _at_two(kind: str, facts: Facts) -> str:
    """`4.0 MiB at 1Ki, 67.0 MiB at 64Ki`."""
    if kind == "state":
        pairs = [(n, facts.amount("state", n)) for n in SHOWN]
    else:
        values = facts.growths.values(kind)
        pairs = [(facts.growths.lengths[k], values[k]) for k in (0, -1)]
    return ", ".join(f"{FORMATS[kind](value)} at {format_length(n)}" for n, value in pairs)


def _guilty(e: Expectation, facts: Facts) -> Iterator[tuple[Place, Growth]]:
    """The mixers that grow faster than expected."""
    lengths = facts.growths.lengths
    tables = [_by_layer(e.key, n, facts) for n in lengths]
    for column in zip(*tables, strict=True):
        values = [size for _, _, size in column]
        growth = classify(lengths, values)
        if not e.value.covers(growth):
            yield column[0][1], growth


def _by_layer(kind: str, n: int, facts: Facts) -> list[tuple[str, Place, int]]:
    """What each mixer takes: path, place, FLOPs or bytes. Nothing for activations, which no single layer owns."""
    if kind == "memory":
        return []
    if kind == "time":
        cost = facts.growths.cost(n) if n in facts.growths.lengths else facts.cost(n)
        work = dict(cost.mixers)
        return [(path, place, work.get(path, 0)) for path, place, _ in facts.mixers()]
    like = facts.model.remembered(1)
    remembering = {id(m) for stack in facts.model.decoding() for _, m in stack.applications()}
    decoding = [(path, place, m) for path, place, m in facts.mixers() if id(m) in remembering]
    return [
        (path, place, size_of_state(m.state_shape(n), like.element_size(), widths_of(m.start(1, like))))
        for path, place, m in decoding
    ]


def _blame(e: Expectation, guilty: list[tuple[Place, Growth]], facts: Facts) -> tuple[Note, ...]:
    if not guilty:
        return ()
    place, growth = guilty[0]
    layers = _layers([p for p, _ in guilty])
    several = len({p.layer for p, _ in guilty}) > 1
    if e.key != "state":
        return (Note(f"{layers} {'do' if several else 'does'} {growth} work", place.span),)
    text = f"{layers} {'keep' if several else 'keeps'} more with every token"
    innocent = [(p, size) for _, p, size in _by_layer("state", SHOWN[1], facts) if p not in [g for g, _ in guilty]]
    if innocent:
        kept = format_bytes(sum(size for _, size in innocent))
        many = len(innocent) > 1
        text += (
            f"; {_layers([p for p, _ in innocent])} {'keep' if many else 'keeps'} {kept} at {format_length(SHOWN[1])}"
        )
    return (Note(text, place.span),)


def _layers(places: list[Place]) -> str:
    """`layer 3`, `layers 0 to 2`, `layers 0, 2 and 5`."""
    numbers = sorted({p.layer for p in places if p.layer is not None})
    if not numbers:
        return "the model"
    if len(numbers) == 1:
        return f"layer {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"layers {numbers[0]} to {numbers[-1]}"
    return f"layers {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _reach(e: Expectation, facts: Facts) -> Diagnostic | None:
    fixed = e.value.at if isinstance(e.value, Range) else None
    if fixed and fixed > FARTHEST:
        return _broken(e, "a text too long to trace", f"reach is worked out up to {format_length(FARTHEST)} positions")
    reach, n, exact = facts.reach_of(fixed or facts.length)
    if e.value == "all" and reach == n or e.value != "all" and e.value.holds(reach):
        return None
    return _broken(
        e, f"{reach:,}", f"{'' if exact else 'at most '}{reach:,} of {n:,} positions can reach the last output",
        fixes=("a layer that reads everything, or wider or more layers",) if _too_few(e, reach) else (),
    )  # fmt: skip


def _too_few(e: Expectation, reach: int) -> bool:
    return e.value == "all" or (e.value.low is not None and reach < e.value.low)


def _lengths(e: Expectation, facts: Facts) -> Diagnostic | None:
    wanted = 1 if e.value == "any" else int(e.value.rpartition(" ")[2])
    if facts.step == 1 or (facts.step and wanted % facts.step == 0):
        return None
    found = f"multiple of {facts.step}" if facts.step else "no such rule"
    return _broken(e, found, "tried on the meta device", fixes=(f"expect lengths: {found}",) if facts.step else ())


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _broken(
    e: Expectation, found: str, label: str, notes: tuple[Note, ...] = (), fixes: tuple[str, ...] = ()
) -> Diagnostic:
    return Diagnostic(
        code=CODE, message=f"expected {e.key} {e.text}, found {found}", span=e.span, label=label, path=e.path,
        notes=notes, fixes=fixes, stage="build",
    )  # fmt: skip


def suggest(facts: Facts, results: Mapping[str, Any]) -> str:
    """An `expect` section that holds today, to paste."""
    lines = [f"params: {format_short(facts.parameters.total)} ± 1%"]
    if facts.parameters.trainable != facts.parameters.total:
        lines.append(f"trainable: {format_short(facts.parameters.trainable)} ± 1%")
    lines += [f"{key}: {_word(results[key])}" for key in ("causal", "decode") if results.get(key)]
    for kind in ("time", "state") if facts.model.decodes else ("time",):
        growth = facts.growths.of(kind)
        lines += [f"{kind}: {growth}"] if growth else []
    return "expect:\n" + "".join(f"  {line}\n" for line in lines)
