"""Small pictures of patterns, in characters: a row for each query, a column for each key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics import PartError

if TYPE_CHECKING:
    from xcompose.attention.pattern import Pattern
    from xcompose.registry import Component

ROWS, COLUMNS = 12, 16
READ, UNREAD = "■", "·"
GAP = 4
MOST = 4
"""So many pictures stand side by side."""
NUMBERS = ("count", "length")
SAMPLES = (3, 4, 2)
"""Values tried for an option that must be a number."""


@attrs.frozen
class Picture:
    """One small picture and what is said above it."""

    title: str
    lines: tuple[str, ...]


def picture(pattern: Pattern, *, causal: bool, rows: int = ROWS, columns: int = COLUMNS) -> tuple[str, ...]:
    """Who reads whom by a pattern in a sequence of `columns` tokens: the first `rows` queries, one line each.

    Head 0 is drawn where heads differ. Where contents decide, all that may be read is drawn.

    Raises:
        DependsOnLength: the pattern needs to know where the sequence ends, and a decoder does not.
    """
    from xcompose.attention.visible import visible_matrix

    matrix = visible_matrix(pattern, columns, causal)[0]
    return tuple("".join(READ if cell else UNREAD for cell in row) for row in matrix[:rows])


def pictures_of(component: Component) -> list[str]:
    """Lines for `xcompose show`: the pictures of a pattern, side by side."""
    return side_by_side(pictures(component))


def pictures(component: Component) -> tuple[Picture, ...]:
    """What a pattern lets queries read, with small numbers for its options: in an encoder, in a decoder, and changed.

    Nothing for a component that is no pattern, for one made of other patterns, and for one whose contents decide.
    """
    if component.kind != "pattern":
        return ()
    return tuple(p for p in _pictures(component) if p is not None)[:MOST]


def side_by_side(pictures: Sequence[Picture]) -> list[str]:
    """Pictures in one block of lines, titles above them."""
    columns = [[p.title, *p.lines] for p in pictures]
    widths = [max(map(len, column)) + GAP for column in columns]
    rows = zip_longest(*columns, fillvalue="")
    return ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _pictures(component: Component) -> Iterator[Picture | None]:
    """In an encoder, in a decoder, and with each further number changed: in a decoder if that shows there."""
    options = component.schema.options
    base = {o.name: None for o in options if o.main or o.required}
    if any(o.type.name not in NUMBERS for o in options if o.name in base):
        return
    plain = _picture(component, base, causal=True)
    yield _picture(component, base, causal=False)
    yield plain and attrs.evolve(plain, title="in a decoder")
    for one in options:
        if one.name not in base and one.type.name in NUMBERS and one.name != "seed" and one.default is not None:
            wanted = {**base, one.name: int(one.default) + 1}
            found = _picture(component, wanted, causal=True)
            shows = found is not None and (plain is None or found.lines != plain.lines)
            yield found if shows else _picture(component, wanted, causal=False, remark=", encoder")


def _picture(
    component: Component, wanted: Mapping[str, int | None], *, causal: bool, remark: str = ""
) -> Picture | None:
    from xcompose.attention.pattern import DependsOnLength

    for sample in SAMPLES:
        values = {name: sample if value is None else value for name, value in wanted.items()}
        try:
            pattern = _build(component, values, causal=causal)
            if pattern.learned:
                return None
            lines = picture(pattern, causal=causal)
        except (PartError, DependsOnLength):
            continue
        return Picture(_call(component, values) + remark, lines)
    return None


def _build(component: Component, values: Mapping[str, int], *, causal: bool) -> Any:
    from xcompose.compose.parts import Context

    options = component.options(**values)
    if component.build is None:
        return options
    inside = dict(heads=1, kv_heads=1, head_dim=64, value_dim=64)
    return component.build(
        options,
        Context(dim=64, causal="strict" if causal else "none", length=COLUMNS, **inside),  # type: ignore[arg-type]
    )


def _call(component: Component, values: Mapping[str, int]) -> str:
    main = component.schema.main
    said = [str(v) if main is not None and key == main.name else f"{key}={v}" for key, v in values.items()]
    return f"{component.full_name}({', '.join(said)})" if said else component.full_name
