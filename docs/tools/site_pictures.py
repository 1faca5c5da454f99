"""Small pictures of who reads whom, as SVG inside a page: colours come from the page's style sheet."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

import numpy as np

from xcompose.compare.draw import cards_of
from xcompose.compare.picture import READ, pictures
from xcompose.compose.model import Model
from xcompose.registry import Component

COLOURS = 6
"""So many classes of colour the style sheet has for groups of heads."""
TOKENS = 24
WIDEST = 4
"""So many groups of heads are drawn; the others are counted."""


def of_component(component: Component) -> str:
    """The pictures that `xcompose show` draws in characters; an empty text where there are none."""
    found = [_figure(_cells(picture.lines), picture.title) for picture in pictures(component)]
    return _row(found)


def of_models(models: Sequence[tuple[str, Model]], most: int = TOKENS) -> str:
    """What each kind of layer lets each group of heads read, as `xcompose draw` shows it.

    Args:
        models: with the word that tells them apart.
        most: tokens drawn.
    """
    return _row([figure for said, model in models for figure in _figures(said, model, most)])


def tell(models: Sequence[tuple[str, Model]], most: int = TOKENS) -> bool:
    """Whether some picture of the models is more than everything, or everything up to the query."""
    cards = [card for _, model in models for card in cards_of(model, min(model.options.length or most, most))]
    drawn = [np.asarray(group.matrix, dtype=bool) for card in cards for group in card.groups]
    return not all(cells.all() or np.array_equal(cells, np.tril(np.ones_like(cells))) for cells in drawn)


def _figures(said: str, model: Model, most: int) -> Iterator[str]:
    cards = {card.mixer: card for card in cards_of(model, min(model.options.length or most, most))}
    for card in cards.values():
        for number, group in enumerate(card.groups[:WIDEST]):
            several = f", {group.label}" if len(card.groups) > 1 else ""
            title = f"{said}{several}{'' if group.exact else ': at most, contents decide'}"
            yield _figure(np.asarray(group.matrix, dtype=bool), title, number, card.causal, group.exact)


def _cells(lines: Sequence[str]) -> np.ndarray:
    return np.array([[sign == READ for sign in line] for line in lines])


def _figure(cells: np.ndarray, title: str, colour: int = 0, causal: bool = False, exact: bool = True) -> str:
    """One grid: a row for each query, a column for each key."""
    rows, columns = cells.shape
    group = f"xc-group-{colour % COLOURS}" + ("" if exact else " xc-may")
    later = np.triu(np.ones_like(cells), 1) if causal else np.zeros_like(cells)
    said = html.escape(title)
    return (
        f'<figure><svg class="xc-grid" viewBox="0 0 {columns} {rows}" role="img" aria-label="who reads whom: {said}">'
        f'<path class="xc-unread" d="{_path(~cells & ~later)}"/>'
        f'<path class="{group}" d="{_path(cells)}"/>'
        f"</svg><figcaption>{said}</figcaption></figure>"
    )


def _path(cells: np.ndarray) -> str:
    """A stroke over each run of cells; the style sheet dashes it into squares."""
    edges = np.diff(np.pad(cells.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    runs = zip(np.argwhere(edges == 1), np.argwhere(edges == -1), strict=True)
    return "".join(f"M{start}.06 {row}.5h{stop - start}" for (row, start), (_, stop) in runs)


def _row(figures: Sequence[str]) -> str:
    if not figures:
        return ""
    said = '<p class="xc-legend">A row for each query, from the top; a column for each key, from the left.</p>'
    return f'<div class="xc-pictures">{"".join(figures)}{said}</div>'
