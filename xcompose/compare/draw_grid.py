"""Pictures of a model on its grid: what one query reads in each layer, and what has reached it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xcompose.attention.grid import Grid, grid_of
from xcompose.compare.draw import EMPTY, FUTURE, GROUPS, Card, Page, cards_of, rgb, write
from xcompose.compose.model import Model
from xcompose.compose.parts import Visible

QUERY = "#d62828"


def grid_of_model(model: Model) -> Grid | None:
    """The grid that the sequences of a model fill, where it has one of two sides or more."""
    grid = grid_of(model.options.grid, model.options.grid_block)
    return None if grid is None or len(grid.sides) < 2 else grid


def draw_on_grid(model: Model, path: Path, grid: Grid, place: tuple[int, int]) -> Path:
    """Draw into an SVG or PNG file what the query at a place (row, column) reads. Further sides stand side by side.

    Raises:
        ValueError: the file is to be neither SVG nor PNG.
        SpecError: the file cannot be written (XC089).
    """
    page = GridPage(cards_of(model, grid.size), grid, place, model.prefix)
    return write(page.drawn(model.spec.name if model.spec is not None else "model"), path)


class GridPage(Page):
    """Cards whose panels are the grid, seen from one place."""

    def __init__(self, cards: tuple[Card, ...], grid: Grid, place: tuple[int, int], prefix: int = 0):
        super().__init__(cards, prefix)
        self.shape = (grid.sides[0], grid.size // grid.sides[0])
        lies = Grid(grid.sides).index(grid.coordinates(np.arange(grid.size)))
        self.order = prefix + np.argsort(lies).reshape(self.shape)
        """The row of each place of the grid."""
        self.place, self.query = place, int(self.order[place])

    def said(self) -> str:
        row, column = self.place
        return f"What the query in row {row}, column {column} of the grid reads; on the right, what has reached it."

    def _labels(self) -> tuple[str, str]:
        return "column", "row"

    def _read(self, card: Card, group: Visible, number: int) -> np.ndarray:
        colour = rgb(GROUPS[number % len(GROUPS)])
        row = np.asarray(group.matrix, dtype=bool)[self.query]
        return self._marked(card, row[self.order], colour if group.exact else 0.55 + 0.45 * colour)

    def _reached(self, card: Card) -> np.ndarray:
        depth = card.depth[self.query][self.order]
        image = self._marked(card, depth < 0, rgb(EMPTY))
        for layers in range(1, int(depth.max()) + 1):
            image[depth == layers] = self._shade(layers)
        return image

    def _marked(self, card: Card, cells: np.ndarray, colour: np.ndarray) -> np.ndarray:
        """The grid with some cells in a colour, what comes later in white, and the query."""
        image = np.empty((*self.shape, 3))
        image[:] = rgb(EMPTY)
        image[cells] = colour
        if card.causal:
            image[self.order > self.query] = rgb(FUTURE)
        image[self.place] = rgb(QUERY)
        return image

    def _entries(self) -> list[tuple[np.ndarray, str]]:
        return [(rgb(QUERY), "the query"), *super()._entries()]
