"""Rows of different kinds: each mixer answers some of the queries, all of them read the same rows.

Maths    y_i = f_p(x)_i for the first item p whose `rows` hold i; an item without `rows` takes what is left
Shapes   x, y (b n c);  n queries are divided, every member sees n keys
Cost     what each member costs for its own queries; keys and values are projected by each member, shared weights or not
Limits   `rows` looks at the query's place alone; kernel scores in decoders, learned patterns and cross-attention answer
         every query and are chosen from
Paper    a combinator of this project; global tokens with projections of their own: Beltagy, Peters, Cohan, Longformer,
         2020, arXiv:2004.05150, s. 3.1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from xcompose.api import (
    Axis,
    Component,
    Context,
    Difference,
    Everything,
    Heads,
    Intersection,
    Mixer,
    Part,
    PartError,
    Pattern,
    Projections,
    SideBySide,
    Visible,
    asks_keys,
    chosen,
    has_rows,
    hookimpl,
    only_rows,
    option,
    options,
    prefix_stable,
)

FAR = 4096
"""Where no length is written, a mixer must have a row among so many."""


@options
class RowsItem:
    """One mixer and the queries that it answers."""

    rows: Part.pattern | None = option(None)
    """Which queries: a pattern that looks at the query alone, such as first(1); all that are left if not written."""
    use: Part.mixer = option()
    """The mixer that answers them."""


@options
class RowsOptions:
    """Rows of different kinds."""

    of: tuple[RowsItem, ...] = option()
    """Items {rows: first(1), use: attention(...)}, from the first on; each takes rows that no earlier one took."""
    share: tuple[Literal["q", "k", "v", "out"], ...] = option(())
    """Projections that the mixers have in common; each has its own of the others."""


class Rows(SideBySide):
    """Takes each row from the member that it belongs to."""

    def __init__(self, options: RowsOptions, context: Context):
        rows = divided(options, context)
        super().__init__(context.dim, built(options, context, rows))
        self.rows, self.causal, self.prefix = rows, context.causal != "none", context.prefix

    def join(self, x: Tensor, mixed: Sequence[Tensor], axis: Axis) -> Tensor:
        y = mixed[-1]
        for rows, one in zip(self.rows[:-1], mixed[:-1], strict=True):
            y = torch.where(chosen(rows, axis, y)[..., None], one, y)
        return y

    def visible(self, n: int) -> tuple[Visible, ...]:
        return tuple(
            one._replace(label=f"{i}: {one.label}")
            for i, (member, rows) in enumerate(zip(self.members, self.rows, strict=True))
            for one in only_rows(member.visible(n), rows, self.causal, self.prefix)
        )


def divided(options: RowsOptions, context: Context) -> list[Pattern]:
    """The rows of each item, none of them twice.

    Raises:
        PartError: an item whose rows are not said by the query alone, or that has none; rows that no item has.
    """
    if len(options.of) < 2:
        raise PartError(
            f"mixer 'rows' divides queries among two mixers at least, found {len(options.of)}", option="of",
            fixes=("write the mixer alone",) if options.of else (),
        )  # fmt: skip
    found: list[Pattern] = []
    for i, item in enumerate(options.of):
        last = i == len(options.of) - 1
        if last != (item.rows is None):
            raise PartError(
                "the last item of mixer 'rows' takes what the others leave, so it alone has no 'rows'",
                option=f"of.{i}", fixes=("leave out 'rows'" if last else "write 'rows', such as rows: first(1)",),
            )  # fmt: skip
        # What needs these sizes is no pattern of rows, and is refused below.
        one = dict(heads=1, kv_heads=1, head_dim=1)
        own = Everything() if item.rows is None else context.build(item.rows, **one)
        refuse_rows(own, f"of.{i}.rows", item, context)
        left = Difference((own, *found)) if found else own
        if not has_rows(left, places(context)):
            raise PartError(
                "the earlier items of mixer 'rows' leave no row to this one", option=f"of.{i}",
                label="no query would be answered by it", fixes=("leave this item out", "fewer rows before it"),
            )  # fmt: skip
        found.append(left)
    return found


def places(context: Context) -> range:
    """Where rows stand, as far as is known."""
    return range(-context.prefix, context.length or FAR)


def refuse_rows(rows: Pattern, place: str, item: RowsItem, context: Context) -> None:
    """Refuse what does not say by the place of the query alone which rows are meant, or means none."""
    if isinstance(rows, Heads) or rows.learned or rows.per_head or asks_keys(rows):
        raise PartError(
            f"pattern '{context.name(item.rows)}' does not say which rows are meant",
            label="it looks at more than the place of the query", fixes=("rows: first(1)",), option=place,
        )  # fmt: skip
    if context.causal != "none" and (reason := prefix_stable(rows)):
        raise PartError(
            f"a decoder cannot divide rows by pattern '{context.name(item.rows)}'", label=reason, option=place,
            fixes=("count from the start: first(1)",),
        )  # fmt: skip
    if not has_rows(rows, places(context)):
        raise PartError(
            f"pattern '{context.name(item.rows)}' says that no row is meant",
            label="no query would be answered by this mixer", fixes=("rows: first(1)",), option=place,
        )  # fmt: skip


def built(options: RowsOptions, context: Context, rows: Sequence[Pattern]) -> list[Mixer]:
    """The members, each told which rows are its own, and which projections it has in common with others."""
    shared = Projections(options.share)
    members = []
    for item, own in zip(options.of, rows, strict=True):
        shared.next_member()
        own = own if context.rows is None else Intersection((context.rows, own))
        members.append(context.build(item.use, rows=own, projections=shared if options.share else context.projections))
    for name in shared.alone():
        raise PartError(
            f"projection '{name}' cannot be shared: fewer than two of the mixers have one of their own", option="share",
            fixes=("leave it out of 'share'",),
        )  # fmt: skip
    return members


@hookimpl
def components():
    return [Component(kind="mixer", name="rows", options=RowsOptions, build=Rows)]
