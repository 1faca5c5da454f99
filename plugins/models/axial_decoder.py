"""An axial decoder: the rows of an image above the present one are read through a stack of their own, which looks ahead
in each row; what it makes of a row helps every place of the row below it, and a causal stack reads the present row.

Maths    y_0 a start token, y_i = x_{i-1}, row by row on a grid of H rows and W columns; P(i) the position
         u = outer(E[x] + P) over the rows that are complete;  s_i = u_{i-W}, and 0 in the first row
         e_i = E[y_i], and 0 in the first column: a row is shifted to the right, and the row above brings what ends it
         logits = output(norm(inner(e + P + s))), the i-th of them for x_i
         a layer of `outer` that never leaves a row, axis(1), reads each row by itself and looks ahead in it; any other
         one, axis(0), is causal;  all layers of `inner` are
Shapes   tokens y (b n), n <= H W;  u, s (b n c);  logits (b n v)
Cost     the sum of its layers: with rows and columns n (H + W) pairs a head, O(n^1.5);
         a decoder keeps keys and values of complete rows for causal outer layers, 2 c a place, none for the others;
         W c for the row above;  the tokens of the row that is not complete;  what inner layers may still read;
         `outer` runs once on each row
Limits   images of one channel, whose grid has two sides and no blocks: more channels make more rows;
         one outer layer over rows and one over columns with one inner layer over rows see everything before;
         the row that is not complete is known to `inner` alone;  nothing depends on the start token
Paper    Ho et al., Axial Attention in Multidimensional Transformers, 2019, arXiv:1912.12180, s. 3.2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from xcompose.api import (
    Axis,
    Beside,
    Block,
    Blocks,
    Component,
    Context,
    Findings,
    Grid,
    Mixer,
    Model,
    ModelOptions,
    Part,
    PartError,
    Piece,
    Ran,
    Section,
    Source,
    Stack,
    fill_rows,
    hookimpl,
    option,
    options,
    pack,
    take_rows,
)


@options
class AxialDecoderOptions(ModelOptions):
    """Options of an axial decoder."""

    blocks: Blocks = option(None)
    """Layers with a name, for both stacks."""
    outer: Section = option()
    """The stack that reads the rows above."""
    inner: Section = option()
    """The stack that reads the present row, and what the outer one made of the row above."""
    output: Part.output = option("lm")
    """What is made of the inner stack's last rows."""


class Side(nn.Module):
    """One of the two stacks, with what acts at its embedding; equal positions of both are one."""

    def __init__(self, section: Any, context: Context, norm: bool, piece: Piece | None = None):
        super().__init__()
        own = section.options
        findings = Findings()
        with findings:
            self.position = context.position(own["position"])
        with findings:
            self.stack = Stack(own["layers"], context, own["norm"] if norm else None, piece=piece)
        findings.settle()
        self.dropout = nn.Dropout(own["dropout"])


class AxialDecoder(Model):
    """Two stacks, one of them a row behind."""

    decodes = True

    def __init__(self, options: AxialDecoderOptions, context: Context):
        super().__init__(options, context)
        self.grid = image(options, context)
        self.row = self.grid.sides[1]
        context = attrs.evolve(context, causal=options.causal)
        findings = Findings()
        with findings:
            self.embedding = context.build(options.embedding)
            self.refuse_prefix(options.embedding, context, findings)
            context = attrs.evolve(context, narrow=self.embedding.narrow)
        with findings:
            self.outer = Side(options.outer, context, norm=False, piece=Rows(self.row))
            refuse_other_widths(options.outer, self.outer.stack, context)
        with findings:
            self.inner = Side(options.inner, context, norm=True)
        findings.settle()
        if self.embedding.width is not None:
            raise PartError("an axial decoder reads tokens, not numbers", option="embedding", fixes=("tokens",))
        self.answer(options.output, context, self.inner.stack.width)

    def stacks(self) -> Mapping[str, Stack]:
        return {"outer": self.outer.stack, "inner": self.inner.stack}

    def run(self, tokens: Tensor, axis: Axis, states: Mapping[str, Any] | None, source: Source | None) -> Ran:
        self._refuse_what_does_not_fit(axis)
        rows = self.embedding(tokens)
        if states is None:
            above, outer = self._above(rows, axis)
        else:
            above, outer = self._above_continued(tokens, axis, states)
        begins = axis.positions(tokens.device) % self.row == 0
        shifted = rows.masked_fill(begins[..., None], 0)
        x = self.place(shifted, axis, self.inner.position, self.inner.dropout) + above
        x = x if axis.valid is None else fill_rows(x, axis.valid)
        x, inner = self.inner.stack(x, axis, within("inner", states))
        outer, inner = outer.under("outer"), inner.under("inner")
        states = {**outer.states, **under("inner", inner.states)}
        beside = Beside(states, {**outer.losses, **inner.losses}, {**outer.stats, **inner.stats})
        return Ran(self.output(x, axis), beside)

    def _above(self, rows: Tensor, axis: Axis) -> tuple[Tensor, Beside]:
        """For each of the rows (b n c) of whole sequences, what the outer stack makes of the place above it."""
        n, m = axis.n, self._complete(axis.n - 1)
        first = rows.new_zeros(len(rows), self.row, self.dim)
        if not m:
            return first[:, :n], Beside()
        valid = None
        if axis.valid is not None:
            valid = torch.arange(m, device=rows.device) < self._complete(axis.valid.sum(1) - 1)[:, None]
        made, beside = self._read(rows[:, 1 : m + 1], Axis(range(m), valid), None)
        return torch.cat([first, made], 1)[:, :n], beside

    def _above_continued(self, tokens: Tensor, axis: Axis, states: Mapping[str, Any]) -> tuple[Tensor, Beside]:
        """The same for tokens (b n) that continue a state: only rows that they complete are read."""
        at = axis.positions(tokens.device).expand(tokens.shape)
        known = (at[:, 0] - 1).clamp(min=0)
        before = self._complete(known)
        line, count = self._line(states["unfinished"]["tokens"], known - before, tokens, at > 0, axis.valid)
        complete = self._complete(count)
        k = int(complete.max())
        lines, beside = states["above"]["x"], Beside()
        places = torch.arange(line.shape[1], device=at.device)
        if k:
            there = places[:k] < complete[:, None]
            new = Axis(self._places(axis.at, before, k), None if bool(there.all()) else there)
            made, beside = self._read(self.embedding(line[:, :k]), new, within("outer", states))
            lines = torch.cat([lines, made], 1)
        left = (places >= complete[:, None]) & (places < count[:, None])
        last = complete[:, None] + torch.arange(self.row, device=at.device)
        kept = {
            "above": {"x": take_rows(lines, last)},
            "unfinished": pack(left, {"tokens": line}, {}),
            **under("outer", beside.states),
        }
        above = take_rows(lines, (at - before[:, None]).clamp(0, lines.shape[1] - 1))
        return above, beside._replace(states=kept)

    def _places(self, at: range | Tensor, before: Tensor, k: int) -> range | Tensor:
        """Where k places of the image stand behind those read `before` (b); a range where all sequences agree."""
        if not isinstance(at, range):
            return before[:, None] + torch.arange(k, device=before.device)
        start = self._complete(max(at.start - 1, 0))
        return range(start, start + k)

    def _line(
        self, old: Tensor, waiting: Tensor, tokens: Tensor, follows: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The tokens (b w) of rows that are not read yet, those of each sequence at its front, and how many (b).

        The token at position 0 starts the image and is no part of it.
        """
        waits = torch.arange(old.shape[1], device=old.device) < waiting[:, None]
        keep = torch.cat([waits, follows if valid is None else follows & valid], 1)
        return pack(keep, {"tokens": torch.cat([old, tokens], 1)}, {})["tokens"], keep.sum(1)

    def _read(self, rows: Tensor, axis: Axis, states: Mapping[str, Any] | None) -> tuple[Tensor, Beside]:
        """The outer stack, over complete rows of the image."""
        x = self.place(rows, axis, self.outer.position, self.outer.dropout)
        x, beside = self.outer.stack(x, axis, states)
        return x if axis.valid is None else fill_rows(x, axis.valid), beside

    def _complete(self, known: Any) -> Any:
        """How many of the known places of the image lie in complete rows."""
        return known // self.row * self.row

    def _refuse_what_does_not_fit(self, axis: Axis) -> None:
        size = self.grid.size
        if isinstance(axis.at, range) and axis.at.stop <= size:
            return
        at = axis.at
        if not isinstance(at, range):
            longest = int((at if axis.valid is None else at.where(axis.valid, 0)).max()) + 1
        else:
            longest = at.stop if axis.valid is None else at.start + int(axis.valid.sum(1).max())
        if longest > size:
            sides = " x ".join(map(str, self.grid.sides))
            raise ValueError(
                f"a sequence of {longest} tokens does not fit the grid of {sides} = {size} places; it takes 1 to {size}"
            )

    def blank(self, batch: int, like: Tensor) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for name, stack in self.stacks().items():
            parts |= under(name, stack.start(batch, like))
        parts["above"] = {"x": like.new_zeros(batch, self.row, self.dim)}
        parts["unfinished"] = {"tokens": torch.zeros(batch, 0, dtype=torch.long, device=like.device)}
        return parts

    def state_shapes(self, n: int) -> dict[str, tuple[int, ...]]:
        known = max(n - 1, 0)
        m = self._complete(known)
        shapes = {"above.x": (self.row, self.dim), "unfinished.tokens": (known - m,)}
        for name, stack, length in (("outer", self.outer.stack, m), ("inner", self.inner.stack, n)):
            for place, mixer in stack.applications():
                shapes |= {f"{name}.{place}.{key}": shape for key, shape in mixer.state_shape(length).items()}
        return shapes

    def trace(self, wanted: np.ndarray, read: Callable[[Block, int], np.ndarray]) -> np.ndarray:
        inner = self.inner.stack.trace(wanted, read)
        n = wanted.shape[1]
        m = self._complete(n - 1)
        found = inner & (np.arange(n) % self.row > 0)
        if m:
            above = np.zeros((len(wanted), m), dtype=bool)
            above[:, : n - self.row] = inner[:, self.row :]
            found[:, 1 : m + 1] |= self.outer.stack.trace(above, read)
        return found


def under(name: str, states: Mapping[str, Any]) -> dict[str, Any]:
    """States by name, under the name of a stack."""
    return {f"{name}.{key}": state for key, state in states.items()}


def within(name: str, states: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Those of one stack, by the names that it knows."""
    if states is None:
        return None
    return {key.removeprefix(f"{name}."): state for key, state in states.items() if key.startswith(f"{name}.")}


@attrs.define(eq=False)
class Rows:
    """Which layers read each row by itself: those that, without causality, never leave it."""

    row: int
    known: list[tuple[Any, bool]] = attrs.field(factory=list)

    def __call__(self, layer: Any, context: Context) -> int | None:
        part = layer.options["mixer"]
        stays = next((stays for other, stays in self.known if other == part), None)
        if stays is None:
            stays = self._stays(part, context)
            self.known.append((part, stays))
        return self.row if stays else None

    def _stays(self, part: Any, context: Context) -> bool:
        refusals = Findings()
        with refusals:
            mixer = context.build(part, causal="none", cache={})
            return self._stays_inside(mixer)
        # What cannot be built without causality is built with it, and refused there if it cannot be either.
        return False

    def _stays_inside(self, mixer: Mixer) -> bool:
        try:
            one, two = (union(mixer, n) for n in (self.row, 2 * self.row))
        except NotImplementedError:
            return False
        return bool((two == np.kron(np.eye(2, dtype=bool), one)).all())


def union(mixer: Mixer, n: int) -> np.ndarray:
    """(n n) what any head of a mixer may read."""
    found = np.zeros((n, n), dtype=bool)
    for group in mixer.visible(n):
        found |= np.asarray(group.matrix, dtype=bool)
    return found


def image(options: AxialDecoderOptions, context: Context) -> Grid:
    """The grid of the model: rows and columns, row by row, the same for both stacks."""
    fixes = ("grid: [32, 32]",)
    if context.grid is None:
        raise PartError("an axial decoder needs the grid that an image fills", option="grid", fixes=fixes)
    if len(context.grid.sides) != 2:
        count = len(context.grid.sides)
        raise PartError(f"an axial decoder needs a grid of two sides, found {count}", option="grid", fixes=fixes)
    if context.grid.block is not None:
        message = "an axial decoder reads row by row, not block by block"
        raise PartError(message, option="grid_block", fixes=("leave grid_block out",))
    for name, section in (("outer", options.outer), ("inner", options.inner)):
        own = (section.options["grid"], section.options["grid_block"])
        if own != (options.grid, options.grid_block):
            message = "both stacks of an axial decoder read one grid, that of the model"
            raise PartError(message, option=name, fixes=(f"leave grid out of {name}",))
        if section.options["length"] != options.length:
            message = "both stacks of an axial decoder read one image, as long as the model says"
            raise PartError(message, option=name, fixes=(f"leave length out of {name}",))
    return context.grid


def refuse_other_widths(section: Any, stack: Stack, context: Context) -> None:
    """Refuse an outer stack whose rows cannot be added to those of the inner one."""
    if stack.width == context.dim:
        return
    findings = Findings()
    message = f"rows of the outer stack are added to rows of width {context.dim}, these have {stack.width}"
    findings.add(context.finding(section.options["layers"][-1].options["residual"], PartError(message)))
    findings.settle()


@hookimpl
def components():
    return [
        Component(
            kind="model", name="axial-decoder", options=AxialDecoderOptions, build=AxialDecoder,
            also=("axial-transformer",), facts={"needs": ("grid",)},
        )
    ]  # fmt: skip
