"""Axis: on a grid, a query reads the keys that differ from it in one coordinate only: its row, its column.

Maths    S_i = {j : x_b(j) = x_b(i) for every axis b but a};  in a decoder also j <= i
         x_b(i) is coordinate b of position i on the model's grid, counted from 0, the last axis fastest
Shapes   q (b n h d), k (b m g d);  one sequence that fills a grid, or the beginning of one
Cost     n N_a pairs per head, N_a the side of axis a; all D axes of a grid of equal sides take D n^(1 + 1/D);
         n (N_a + 1) / 2 in a decoder; the cache keeps the lines along a that are not yet complete, for axis 0 all
Limits   one axis alone never leaves its line: a sum of mixers, axis(0) | axis(1), or layers in turn join them;
         in a decoder one layer over the column and one over the row do not see what lies above and to the right:
         the model type `axial-decoder` does
Paper    Ho et al., Axial Attention in Multidimensional Transformers, 2019, arXiv:1912.12180, s. 3.1
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import attrs
import numpy as np

from xcompose.api import (
    NEVER,
    Component,
    Context,
    Count,
    Gather,
    Grid,
    PartError,
    Pattern,
    Point,
    Run,
    Steady,
    Tiles,
    hookimpl,
    option,
    options,
)


@options
class AxisOptions:
    """Lines of a grid."""

    along: Count = option(main=True)
    """The axis along which a query reads, counted from 0: of an image 0 is its column, 1 its row."""


@attrs.frozen
class Lines(Pattern):
    """All lines of a grid along one axis."""

    grid: Grid
    along: int

    @property
    def stride(self) -> int:
        """Distance of neighbours on a line, where the grid is filled row by row."""
        return prod(self.grid.sides[self.along + 1 :])

    def allows(self, q: Point, k: Point) -> Any:
        pairs = list(zip(self.grid.coordinates(q.at), self.grid.coordinates(k.at), strict=True))
        same = (q.at - k.at) * 0 == 0
        for axis, (mine, other) in enumerate(pairs):
            if axis != self.along:
                same = same & (mine == other)
        return same

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if not queries or not keys or queries.step != 1 or keys.step != 1:
            return super().cover(queries, keys, causal)
        if self.grid.block is not None:
            return self._gathered(queries, keys)
        return tuple(self._runs(queries, keys))

    def _runs(self, queries: range, keys: range) -> Iterator[Run]:
        """A line steps by `stride`; lines lie side by side in slabs, one slab behind the other."""
        stride = self.stride
        if self.along == 0:
            yield from _slab(stride, queries, keys)
            return
        slab = stride * self.grid.sides[self.along]
        first, last = queries[0] // slab, queries[-1] // slab
        if stride == 1 and first < last:
            # Whole rows, one tile each, are one run.
            yield Run(
                count=last - first + 1, rows=slab, cols=slab, q_start=first * slab, q_step=slab,
                k_start=first * slab, k_step=slab,
            )  # fmt: skip
            return
        for number in range(first, last + 1):
            own = range(number * slab, (number + 1) * slab)
            yield from _slab(stride, _common(own, queries), _common(own, keys))

    def _gathered(self, queries: range, keys: range) -> Tiles:
        """Lines one by one, where blocks scatter them."""
        side = self.grid.sides[self.along]
        at = np.arange(min(queries.start, keys.start), max(queries.stop, keys.stop))
        places = [np.asarray(x) for x in self.grid.coordinates(at)]
        along = places.pop(self.along)
        line = np.unique(np.stack(places), axis=1, return_inverse=True)[1].reshape(-1) if places else at * 0
        beyond = int(along.max()) + 1 if self.along == 0 else side
        table = np.full((int(line.max()) + 1, beyond), -1)
        table[line, along] = at
        q, k = (np.where((table >= r.start) & (table < r.stop), table, -1) for r in (queries, keys))
        there = (q >= 0).any(1) & (k >= 0).any(1)
        return (Gather(queries=q[there], keys=k[there]),) if there.any() else ()

    def steady(self, length: int) -> Steady | None:
        if self.grid.block is not None:
            return None
        return Steady(1 if self.along == 0 else self.stride * self.grid.sides[self.along])

    def last_reader(self, at: Any) -> Any:
        if self.along == 0:
            # Row after row may be added to a grid, as far as this rule goes.
            return at * 0 + NEVER
        end = list(self.grid.coordinates(at))
        end[self.along] = end[self.along] * 0 + self.grid.sides[self.along] - 1
        return self.grid.index(tuple(end))


def _slab(stride: int, queries: range, keys: range) -> Iterator[Run]:
    """The lines of one slab: those that have a query, with the places from the first to the last that are there."""
    if not queries or not keys:
        return
    begin = queries.start // stride * stride
    few = queries[-1] < begin + stride
    first, count = (queries.start, len(queries)) if few else (begin, stride)
    k_start = keys.start - (keys.start - first) % stride
    if k_start + count <= keys.start:
        k_start += stride
    yield Run(
        count=count, rows=(queries[-1] - first) // stride + 1, cols=max(0, (keys[-1] - k_start) // stride + 1),
        q_start=first, q_step=1, k_start=k_start, k_step=1, q_stride=stride, k_stride=stride,
    )  # fmt: skip


def _common(a: range, b: range) -> range:
    return range(max(a.start, b.start), min(a.stop, b.stop))


def build(options: AxisOptions, context: Context) -> Pattern:
    if context.grid is None:
        raise PartError(
            "pattern 'axis' needs the grid of the model", label="it reads along lines of it",
            fixes=("model.grid: [32, 32]",),
        )  # fmt: skip
    sides = context.grid.sides
    if options.along >= len(sides):
        legal = ", ".join(str(axis) for axis in range(len(sides)))
        raise PartError(
            f"there is no axis {options.along} in a grid of {len(sides)} sides", option="along",
            fixes=(f"one of {legal}",),
        )  # fmt: skip
    return Lines(context.grid, options.along)


@hookimpl
def components():
    return [
        Component(
            kind="pattern", name="axis", options=AxisOptions, build=build, also=("axial-attention", "row", "column"),
            facts={"needs": ("grid",)},
        )
    ]  # fmt: skip
