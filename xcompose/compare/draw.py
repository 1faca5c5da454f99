"""Pictures of a model: who reads whom in each layer and group of heads, and how far it reaches after each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from xcompose.attention.visible import receptive_field

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xcompose.compose.model import Model
    from xcompose.compose.parts import Mixer, Visible

POINTS = 80
"""Places along a side of a panel that can be told apart."""
LENGTHS = (32, 64, 128, 256, 512)
SPARSE = (0.6, 0.8)
"""A layer shows its structure where it reads less than this share of what it might: clearly, or just so."""
GROUPS = ("#1f6f8b", "#c8553d", "#5b8e3e", "#8b5fa8", "#b8860b", "#4a5568")
EMPTY, FUTURE = "#eef1f3", "#ffffff"
NEAR, FAR = "#12343b", "#a8d5ba"
"""Reached after one layer, after the last."""
PANEL, GAP, BESIDE, TITLE, MARGIN = 1.2, 0.16, 0.5, 0.58, 0.35
HEAD, FOOT, LINE = 0.75, 0.4, 0.2
NARROWEST, LETTER = 5.6, 0.052
"""All in inches."""
SHADES = 4
"""So many shades of reaching the legend names one by one."""
SHAPE = 1.5
"""Width to height that the picture tries to have."""


@attrs.frozen(eq=False)
class Card:
    """One layer: what each group of heads reads, and what has reached each position behind it."""

    title: str
    groups: tuple[Visible, ...]
    depth: np.ndarray
    """(n n) the number of layers after which row i hears from token j; 0 is itself, -1 not yet."""
    causal: bool
    """Whether nothing behind a position ever reaches it."""
    mixer: str = ""
    """What the spec says of its mixer."""
    stack: str = ""
    """The name of its stack, where a model has several."""


def draw(model: Model, path: Path, *, n: int | None = None, title: str = "") -> Path:
    """Draw a model into an SVG or PNG file, told by the name's end.

    Args:
        model: on any device, the meta device too.
        path: of the file.
        n: length of the sequence drawn; None takes the smallest that shows structure.
        title: above the picture; the spec's name if not given.

    Raises:
        ValueError: the file is to be neither SVG nor PNG.
        SpecError: the file cannot be written (XC089).
    """
    return write(drawing(model, n=n, title=title), path)


def write(figure: Figure, path: Path) -> Path:
    """Write a figure into an SVG or PNG file; raises as `draw` does."""
    from xcompose.train.folder import write_atomically
    from xcompose.train.plot import picture

    form = path.suffix.lower().removeprefix(".")
    if form not in ("svg", "png"):
        raise ValueError(f"a picture ends in .svg or .png, '{path}' does not")
    write_atomically(path, picture(figure, form))
    return path


def drawing(model: Model, *, n: int | None = None, title: str = "") -> Figure:
    """The picture of a model, as a figure."""
    name = title or (model.spec.name if model.spec is not None else "model")
    return Page(cards_of(model, n or telling_length(model)), model.prefix).drawn(name)


def telling_length(model: Model) -> int:
    """The smallest length at which some layer reads markedly less than it might; the smallest of all if none does."""
    longest = model.options.length or LENGTHS[-1]
    lengths = [length for length in LENGTHS if length <= longest]
    shares = [_least_share(model, n) for n in lengths]
    telling = [n for bound in SPARSE for n, share in zip(lengths, shares, strict=True) if share < bound]
    return telling[0] if telling else min(LENGTHS[0], longest)


def _least_share(model: Model, n: int) -> float:
    """How much of what it might read the sparsest layer does read."""
    kinds = {block.options["mixer"]: block.mixer for block in model.layers}
    n = model.prefix + n
    all_pairs = n * n / 2 if model.decodes else n * n
    return min(_union(declared_by(mixer, n), n).sum() / all_pairs for mixer in kinds.values())


def cards_of(model: Model, n: int) -> tuple[Card, ...]:
    """What each layer of a model reads in a sequence of n, and its receptive field, stack by stack."""
    return tuple(
        attrs.evolve(card, mixer=said)
        for name, stack in model.stacks().items()
        for card, said in zip(_cards(stack.blocks, model.prefix + n, name), mixers_of(model, name), strict=True)
    )


def mixers_of(model: Model, stack: str) -> list[str]:
    """What the spec says of the mixer of each layer in a stack; empty texts for a model without a spec."""
    from xcompose.compose.spelling import Speller
    from xcompose.registry import load
    from xcompose.spec.model import Section

    if model.node is None:
        return [""] * len(model.stacks()[stack].blocks)
    held: Any = model.node.options[stack or "layers"]
    layers = held.options["layers"] if isinstance(held, Section) else held
    speller = Speller(load())
    return [speller.detail(layer.options["mixer"]) for layer in layers]


def _cards(blocks: Sequence[Any], n: int, stack: str) -> Iterator[Card]:
    read = [declared_by(block.mixer, n) for block in blocks]
    fields = receptive_field(_union(groups, n) for groups in read)
    causal = not np.triu(fields[-1], 1).any()
    depth = np.where(np.eye(n, dtype=bool), 0, -1)
    for number, (block, groups, field) in enumerate(zip(blocks, read, fields, strict=True)):
        depth = np.where((depth < 0) & field, number + 1, depth)
        title = " · ".join(part for part in (f"{stack} layer {number}".strip(), block.name) if part)
        yield Card(title, groups, depth, causal, stack=stack)


def declared_by(mixer: Mixer, n: int) -> tuple[Visible, ...]:
    """What a mixer says its queries may read; one that says nothing may read everything, and the picture says so."""
    from xcompose.compose.parts import Visible

    try:
        return mixer.visible(n)
    except NotImplementedError:
        return (Visible("not declared", 1, np.ones((n, n), dtype=bool), False),)


def _union(groups: Sequence[Visible], n: int) -> np.ndarray:
    found = np.zeros((n, n), dtype=bool)
    for group in groups:
        found |= np.asarray(group.matrix, dtype=bool)
    return found


class Page:
    """Lays cards out on a page; all measures in inches from the upper left corner."""

    def __init__(self, cards: Sequence[Card], prefix: int = 0):
        self.cards, self.n, self.prefix = cards, len(cards[0].depth), prefix
        self.layers = int(max(card.depth.max() for card in cards))
        self.panels = 1 + max(len(card.groups) for card in cards)
        self.card = (self.panels * PANEL + (self.panels - 1) * GAP, TITLE + PANEL)
        self.columns = min(range(1, len(cards) + 1), key=self._misshapen)
        self.rows = -(-len(cards) // self.columns)
        self.width = max(NARROWEST, 2 * MARGIN + self.columns * self.card[0] + (self.columns - 1) * BESIDE)
        self.legend = self._lines_of_legend()
        self.height = HEAD + self.rows * self.card[1] + FOOT + LINE * len(self.legend)

    def _misshapen(self, columns: int) -> float:
        rows = -(-len(self.cards) // columns)
        width = columns * (self.card[0] + BESIDE)
        return abs(np.log(width / (rows * self.card[1]) / SHAPE)) + 0.1 * (rows * columns - len(self.cards))

    def drawn(self, name: str) -> Figure:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(self.width, self.height), facecolor="white")
        self._text(MARGIN, 0.3, name, size=12, weight="bold")
        self._text(MARGIN, 0.52, self.said(), size=7, color="#555555")
        for number, card in enumerate(self.cards):
            row, column = divmod(number, self.columns)
            self._card(card, MARGIN + column * (self.card[0] + BESIDE), HEAD + row * self.card[1], first=number == 0)
        self._draw_legend()
        return self.figure

    def said(self) -> str:
        """What the picture shows."""
        rows = f"{self.prefix} + {self.n - self.prefix} tokens" if self.prefix else f"{self.n} tokens"
        through = " through the layers of its stack" if any(card.stack for card in self.cards) else ""
        return f"A row for each query, a column for each key, {rows}; on the right, what has reached a row{through}."

    def _labels(self) -> tuple[str, str]:
        """What runs across a panel, and down."""
        return "key", "query"

    def _card(self, card: Card, x: float, y: float, *, first: bool) -> None:
        self._text(x, y + 0.2, card.title, size=8, weight="bold")
        room = int(self.card[0] / LETTER)
        said = card.mixer if len(card.mixer) <= room else card.mixer[: room - 1] + "…"
        self._text(x, y + 0.335, said, size=6.5, color="#555555")
        for number, group in enumerate(card.groups):
            panel = self._panel(x + number * (PANEL + GAP), y, _label(group), self._read(card, group, number))
            if first and number == 0:
                across, down = self._labels()
                panel.set_xlabel(across, fontsize=6, labelpad=1)
                panel.set_ylabel(down, fontsize=6, labelpad=1)
        self._panel(x + self.card[0] - PANEL, y, "reached", self._reached(card))

    def _panel(self, x: float, y: float, label: str, image: np.ndarray) -> Any:
        place = (x / self.width, 1 - (y + TITLE + PANEL - 0.14) / self.height)
        axes = self.figure.add_axes((*place, (PANEL - 0.1) / self.width, (PANEL - 0.1) / self.height))
        axes.imshow(image, interpolation="nearest", aspect="equal")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color="#c4ccd1", linewidth=0.6)
        axes.set_title(label, fontsize=6.5, pad=2, color="#333333", loc="left")
        return axes

    def _read(self, card: Card, group: Visible, number: int) -> np.ndarray:
        image = self._ground(card.causal)
        colour = rgb(GROUPS[number % len(GROUPS)])
        image[seen(group.matrix, card.causal)] = colour if group.exact else 0.55 + 0.45 * colour
        return image

    def _reached(self, card: Card) -> np.ndarray:
        image = self._ground(card.causal)
        for depth in reversed(range(int(card.depth.max()) + 1)):
            image[seen(card.depth == depth, card.causal)] = self._shade(depth)
        return image

    def _shade(self, depth: int) -> np.ndarray:
        share = (depth - 1) / max(1, self.layers - 1) if depth else 0.0
        return (1 - share) * rgb(NEAR) + share * rgb(FAR)

    def _ground(self, causal: bool) -> np.ndarray:
        image = np.empty((self.n, self.n, 3))
        image[:] = rgb(EMPTY)
        if causal:
            image[np.triu_indices(self.n, 1)] = rgb(FUTURE)
        return image

    def _lines_of_legend(self) -> list[list[tuple[np.ndarray, str]]]:
        """What each colour means, in lines that fit the page."""
        lines: list[list[tuple[np.ndarray, str]]] = [[]]
        room = self.width - 2 * MARGIN
        for entry in self._entries():
            if sum(_wide(said) for _, said in [*lines[-1], entry]) > room and lines[-1]:
                lines.append([])
            lines[-1].append(entry)
        return lines

    def _entries(self) -> list[tuple[np.ndarray, str]]:
        groups, layers = max(len(card.groups) for card in self.cards), range(1, self.layers + 1)
        found = [
            (rgb(GROUPS[g % len(GROUPS)]), f"read, group {g + 1}" if groups > 1 else "read") for g in range(groups)
        ]
        if not all(group.exact for card in self.cards for group in card.groups):
            found.append((0.55 + 0.45 * rgb(GROUPS[0]), "may be read, contents decide"))
        found.append((rgb(EMPTY), "not read"))
        for depth in layers if len(layers) <= SHADES else (1, (self.layers + 1) // 2, self.layers):
            found.append((self._shade(depth), f"reached after {depth} layer{'s' if depth > 1 else ''}"))
        return found

    def _draw_legend(self) -> None:
        for number, line in enumerate(self.legend):
            x, y = MARGIN, self.height - 0.15 - LINE * (len(self.legend) - number)
            for colour, said in line:
                self._swatch(x, y, colour)
                self._text(x + 0.18, y + 0.085, said, size=6.5, color="#333333")
                x += _wide(said)

    def _swatch(self, x: float, y: float, colour: np.ndarray) -> None:
        from matplotlib.patches import Rectangle

        corner = (x / self.width, 1 - (y + 0.11) / self.height)
        self.figure.add_artist(
            Rectangle(
                corner, 0.12 / self.width, 0.12 / self.height, facecolor=tuple(colour), edgecolor="#c4ccd1", lw=0.5
            )
        )

    def _text(self, x: float, y: float, said: str, *, size: float, **more: Any) -> None:
        self.figure.text(x / self.width, 1 - y / self.height, said, fontsize=size, **more)


def _wide(said: str) -> float:
    """Inches that an entry of the legend takes."""
    return 0.36 + 0.055 * len(said)


def _label(group: Visible) -> str:
    return group.label if group.exact else f"{group.label} (at most)"


def seen(matrix: np.ndarray, causal: bool) -> np.ndarray:
    """(n n) pairs to colour, single ones widened where a panel has fewer points than pairs, so that none is lost."""
    matrix, n = np.asarray(matrix, dtype=bool), len(matrix)
    size = -(-n // POINTS)
    if size == 1:
        return matrix
    filled = np.pad(matrix, (0, -n % size)).reshape(-(-n // size), size, -(-n // size), size)
    wide = np.broadcast_to(filled.any((1, 3), keepdims=True), filled.shape).reshape(n + -n % size, -1)[:n, :n]
    return np.tril(wide) if causal else wide


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def summary(model: Model, n: int) -> list[Mapping[str, Any]]:
    """The same as data: for each layer, its groups with the pairs they read, and how far the last row reaches."""
    return [
        {
            "layer": card.title,
            "groups": [
                {"label": g.label, "heads": g.heads, "pairs": int(np.asarray(g.matrix).sum()), "exact": g.exact}
                for g in card.groups
            ],
            "reach": int((card.depth[-1] >= 0).sum()),
        }
        for card in cards_of(model, n)
    ]
