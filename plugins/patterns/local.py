"""Local: a query reads its block, of the sequence or of the grid that it fills, and a margin around the block.

Maths    S_i = {j : corner(i) - memory <= x(j) < corner(i) + block + memory on every side},  x(j): where j lies,
         corner(i): the first position of the block of i;  in a decoder also j <= i, which leaves of the margin what is
         generated before the block
Shapes   q (b n h d), k (b m g d);  one sequence;  block and memory: one number for each side of the grid, or one
         number for a sequence without a grid
Cost     l = block's size, in a decoder inside the grid: l (l + 1) / 2 + l memory pairs for a block of a sequence;
         l (l + 1) / 2 + l (h_m (w_q + 2 w_m) + h_q w_m) for a block (h_q, w_q) with memory (h_m, w_m);
         the cache keeps memory + l keys; h_m width + h_q (w_m + w_q) on a grid
Limits   over two sides a decoder's sequence must fill the grid block by block: `grid_block` is then the block, which
         has to divide the grid. In an encoder the order is free, and blocks at the edges may be cut off;
         rows before the tokens lie on no grid
Paper    Parmar et al., Image Transformer, ICML 2018, arXiv:1802.05751, s. 3.3
"""

from __future__ import annotations

from functools import partial
from math import lcm, prod
from typing import Any, Literal

import attrs

from xcompose.api import (
    TILE,
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
class LocalOptions:
    """Blocks with a margin."""

    block: tuple[Count, ...] = option(main=True, at_least=1)
    """Sides of a block: one for each side of the grid, or one number of positions."""
    memory: tuple[Count, ...] = option()
    """How far around its block a query reads, for each side."""


@attrs.frozen
class Local(Pattern):
    """Blocks with a margin on a grid; without one, `grid` has a single side, which has no end."""

    block: tuple[int, ...]
    memory: tuple[int, ...]
    grid: Grid = Grid((1,))

    @property
    def prefix_pairs(self) -> Literal["none", "some"]:  # type: ignore[override]
        return "some" if len(self.block) == 1 else "none"

    def allows(self, q: Point, k: Point) -> Any:
        found = True if len(self.block) == 1 else (q.at >= 0) & (k.at >= 0)
        asking, asked = self.grid.coordinates(q.at), self.grid.coordinates(k.at)
        for here, there, part, more in zip(asking, asked, self.block, self.memory, strict=True):
            corner = here // part * part
            found = (there >= corner - more) & (there < corner + part + more) & found
        return found

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        if not queries or not keys or queries.step != 1 or keys.step != 1:
            return super().cover(queries, keys, causal)
        if len(self.block) == 1:
            return self._line(queries, keys, causal)
        return self._tiles(queries, keys, causal)

    def steady(self, length: int) -> Steady:
        below = lcm(self.block[0], self.grid.block[0] if self.grid.block else 1)
        period = below * prod(self.grid.sides[1:])
        return Steady(period) if len(self.block) == 1 else Steady(period, low=0)

    def last_reader(self, at: Any) -> Any:
        corner = []
        for number, there in enumerate(self.grid.coordinates(at)):
            part, edge = self.block[number], self.grid.sides[number] - 1
            last = ((there + self.memory[number]) // part + 1) * part - 1
            corner.append(last + (last > edge) * (edge - last) if number else last)
        return self.grid.index(tuple(corner))

    def _line(self, queries: range, keys: range, causal: bool) -> Tiles:
        """Blocks of a sequence: one run of even tiles."""
        (size,), (memory,) = self.block, self.memory
        first, last = queries[0] // size, queries[-1] // size
        behind = min(memory, max(0, last * size - keys[0]))
        ahead = 0 if causal else min(memory, max(0, keys[-1] + 1 - (first + 1) * size))
        run = Run(
            count=last - first + 1, rows=size, cols=behind + size + ahead,
            q_start=first * size, q_step=size, k_start=first * size - behind, k_step=size,
        ).clipped(queries, keys)  # fmt: skip
        return (run,) if run.cols else ()

    def _tiles(self, queries: range, keys: range, causal: bool) -> Tiles:
        """Blocks of a grid: for each its margin, in which it reads everything, and itself.

        Small blocks that lie side by side make one tile, with a mask.
        """
        import numpy as np

        width = self.grid.sides[-1]
        together = min(-(-TILE // prod(self.block)), -(-width // self.block[-1]))
        tile = (*self.block[:-1], self.block[-1] * together)
        places = self.grid.coordinates(np.arange(queries.start, queries.stop))
        corners = _corners(places, tile, self.grid.sides)
        height = 1 + int(max(self.grid.coordinates(keys[-1])[0], places[0].max()))
        reach = [min(more, side) for more, side in zip(self.memory, (height, *self.grid.sides[1:]), strict=True)]
        own, margin = _around(tile, reach, below=not causal)
        rows = self._index(corners, own, queries)
        allows = None if together == 1 else self.allows
        found = []
        for offsets in (margin, own):
            cols = self._index(corners, offsets, keys)
            if causal:
                cols = np.where(cols <= rows.max(1, keepdims=True), cols, -1)
            cols = np.sort(cols, 1)
            cols = cols[:, (cols >= 0).any(0)]
            if cols.size:
                found.append(Gather(queries=rows, keys=cols, allows=allows))
        return tuple(found)

    def _index(self, corners: Any, offsets: Any, within: range) -> Any:
        """The positions (count, many) at offsets (many, sides) from corners (count, sides); -1 outside."""
        import numpy as np

        places = np.moveaxis(corners[:, None] + offsets, -1, 0)
        inside = places[0] >= 0
        for place, side in zip(places[1:], self.grid.sides[1:], strict=True):
            inside &= (place >= 0) & (place < side)
        at = self.grid.index(tuple(places))
        return np.where(inside & (at >= within.start) & (at < within.stop), at, -1)


def _corners(places: Any, tile: tuple[int, ...], sides: tuple[int, ...]) -> Any:
    """The corners (count, sides) of the tiles in which places lie, each once."""
    import numpy as np

    numbers = [-(-side // part) for side, part in zip(sides[1:], tile[1:], strict=True)]
    each = Grid((1, *numbers))
    which = np.unique(each.index(tuple(place // part for place, part in zip(places, tile, strict=True))))
    return np.stack(each.coordinates(which), 1) * np.asarray(tile)


def _around(tile: tuple[int, ...], reach: list[int], below: bool) -> tuple[Any, Any]:
    """Offsets (many, sides) from the corner of a tile: of the tile, and of the margin around it."""
    import numpy as np

    ends = [part + more * (below or number > 0) for number, (part, more) in enumerate(zip(tile, reach, strict=True))]
    lines = [np.arange(-more, end) for more, end in zip(reach, ends, strict=True)]
    every = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, len(tile))
    inside = ((every >= 0) & (every < np.asarray(tile))).all(1)
    return every[inside], every[~inside]


def _build(options: LocalOptions, context: Context) -> Local:
    block, memory, grid = options.block, options.memory, context.grid
    if len(block) != len(memory) or not block:
        raise PartError(
            f"local needs one memory for each side of a block, found {len(block)} and {len(memory)}",
            fixes=("local(256, memory=256)", "local([16, 16], memory=[16, 32])"), option="memory",
        )  # fmt: skip
    if len(block) == 1:
        return Local(block, memory)
    refused = partial(PartError, option="block")
    if grid is None:
        raise refused(
            f"local in blocks of {len(block)} sides needs the model's grid", code="XC033",
            label="positions lie beside each other on a grid only",
            fixes=("model.grid: [32, 96]", "local(256, memory=256)"),
        )  # fmt: skip
    if len(grid.sides) != len(block):
        raise refused(
            f"local has blocks of {len(block)} sides, the grid has {len(grid.sides)}",
            fixes=("one number for each side of the grid", "local(256, memory=256)"),
        )
    if context.causal != "none" and _order(grid.sides, block) != _order(grid.sides, grid.block):
        filled = f"in blocks of {_times(grid.block)}" if grid.block else "row by row"
        raise refused(
            f"in a decoder, local in blocks of {_times(block)} needs a sequence that fills the grid in these blocks",
            label=f"this one fills it {filled}: the blocks beside a query's own hold positions that come after it",
            fixes=(f"model.grid_block: {list(block)}", "use it in an encoder"),
        )
    return Local(block, memory, grid)


def _order(sides: tuple[int, ...], block: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The blocks in which a grid is filled; None where that is row by row."""
    if block is None:
        return None
    wide = next((number for number, part in enumerate(block) if part > 1), len(block))
    return None if block[wide + 1 :] == sides[wide + 1 :] else block


def _times(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))


@hookimpl
def components():
    return [
        Component(
            kind="pattern", name="local", options=LocalOptions, build=_build,
            also=("image-transformer", "block-local"),
        )
    ]  # fmt: skip
