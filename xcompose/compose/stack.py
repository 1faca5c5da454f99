"""Layers, and the stack that they make: branches added to a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from xcompose.attention.reads import Axis
from xcompose.compose.findings import Findings
from xcompose.compose.inside import NOTHING, Look, showing
from xcompose.compose.parts import FFN, Before, Branch, Causal, Context, Mixed, Mixer, Residual, Source
from xcompose.diagnostics import PartError
from xcompose.schema import option_schemas
from xcompose.spec.model import Layer

Piece = Callable[[Layer, Context], int | None]
"""How many rows a layer reads at a time, each piece of them by itself; None where it reads all."""


class Beside(NamedTuple):
    """What layers give beside the rows that flow on, by application: `3.mixer`."""

    states: Mapping[str, Any] = {}
    losses: Mapping[str, Tensor] = {}
    stats: Mapping[str, Tensor] = {}
    inside: Mapping[str, Tensor] = {}
    """Of one layer: what was looked for in its mixer."""

    def under(self, name: str) -> Beside:
        """The same, losses and statistics under the name of a stack."""
        losses = {f"{name}.{key}": value for key, value in self.losses.items()}
        return Beside(self.states, losses, {f"{name}.{key}": value for key, value in self.stats.items()})


class Block(nn.Module):
    """One layer: a mixer, in a decoder with a source a cross mixer, a feed-forward network; joined by a residual.

    Args:
        layer: with option objects.
        context: of the layer.
        cross: whether it reads a source.
        piece: how many rows make a piece, where the mixer reads each piece as a sequence by itself: then it looks ahead
            inside one, and remembers nothing. None: the mixer reads the whole sequence.
    """

    def __init__(self, layer: Layer, context: Context, cross: bool, piece: int | None = None):
        super().__init__()
        self.name, self.number, self.options = layer.block, context.layer, layer.options
        self.piece = piece
        self.causal: Causal = "none" if piece else context.causal
        """What its mixer keeps."""
        context = attrs.evolve(context, causal=self.causal)
        findings = Findings()
        with findings:
            self.mixer: Mixer = context.build(layer.options["mixer"])
        self.cross: Mixer | None = None
        if cross:
            with findings:
                self.cross = context.build(
                    layer.options["cross"], role="cross", causal="none", length=context.source_length
                )
        with findings:
            self.ffn: FFN | None = context.build(layer.options["ffn"])
        findings.settle()
        self.residual: Residual = context.build(
            layer.options["residual"], norm=layer.options["norm"], branches=len(self.roles), roles=self.roles
        )
        self.dropout = nn.Dropout(layer.options["dropout"])
        self.behind = nn.ModuleDict()
        """Adapters behind a sub-layer, before its dropout: a `Behind` by `mixer`, `cross`, `ffn`."""
        self.before: Before | None = None
        """What an addon puts before the layer, where its residual carries one stream."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The sub-layers there are, in order."""
        there = {"mixer": self.mixer, "cross": self.cross, "ffn": self.ffn}
        return tuple(role for role, part in there.items() if part is not None)

    @property
    def remembering(self) -> tuple[str, ...]:
        """The sub-layers that keep a state when the sequence comes in parts."""
        return tuple(role for role in self.roles if role == "cross" or role == "mixer" and self.causal != "none")

    def forward(
        self, carry: Any, axis: Axis, states: Mapping[str, Any], source: Source | None,
        wanted: frozenset[str] = frozenset(),
    ) -> tuple[Any, Beside]:  # fmt: skip
        """Run the layer on what flows.

        Args:
            carry: what the residual carries.
            axis: the rows.
            states: by role; empty where nothing is remembered.
            source: what a cross mixer reads.
            wanted: what of its mixer's inside is looked for.
        """
        carry = carry if self.before is None else self.before(carry, axis)
        found = dict(zip(self.roles, self._branches(axis, states, source, wanted), strict=True))
        carry, beside = self.residual(carry, list(found.values()))
        new: dict[str, Any] = {}
        losses: dict[str, Tensor] = {}
        stats: dict[str, Tensor] = {}
        inside: dict[str, Tensor] = {}
        for role, (state, its_losses, its_stats, its_inside) in zip(found, beside, strict=True):
            if role in states:
                new[f"{self.number}.{role}"] = state
            losses |= {f"{self.number}.{role}.{name}": value for name, value in its_losses.items()}
            stats |= {f"{self.number}.{role}.{name}": value for name, value in its_stats.items()}
            inside |= its_inside
        return carry, Beside(new, losses, stats, inside)

    def hides(self, what: str) -> str:
        """Why its mixer's inside is not shown; see `Mixer.hides`."""
        if self.piece:
            return "it reads pieces of the sequence, each by itself"
        return self.mixer.hides(what)

    def _branches(
        self, axis: Axis, states: Mapping[str, Any], source: Source | None, wanted: frozenset[str]
    ) -> list[Branch]:
        def mixing(mixer: Mixer, role: str, other: Source | None) -> Branch:
            def run(x: Tensor) -> tuple[Tensor, Any]:
                rows = absent_as_zero(x, axis)
                if self.piece and role == "mixer":
                    mixed = in_pieces(mixer, rows, axis, self.piece)
                else:
                    with showing(mixer, wanted if role == "mixer" else ()):
                        mixed = mixer(rows, axis, states.get(role), other)
                return self._finish(role, mixed.x, rows), (mixed.state, mixed.losses, mixed.stats, mixed.inside)

            remembered = pytree.tree_leaves(states.get(role)) if role in states else []
            read = [*remembered] if other is None else [*remembered, other.x]
            return Branch(run, self._used(role, mixer), tuple(t for t in read if isinstance(t, Tensor)))

        def feeding(ffn: FFN) -> Branch:
            def run(x: Tensor) -> tuple[Tensor, Any]:
                return self._finish("ffn", ffn(x), x), (None, {}, {}, {})

            return Branch(run, self._used("ffn", ffn))

        branches = [mixing(self.mixer, "mixer", None)]
        if self.cross is not None:
            branches.append(mixing(self.cross, "cross", source))
        if self.ffn is not None:
            branches.append(feeding(self.ffn))
        return branches

    def _used(self, role: str, part: nn.Module) -> tuple[nn.Module, ...]:
        return (part, self.behind[role]) if role in self.behind else (part,)

    def _finish(self, role: str, y: Tensor, x: Tensor) -> Tensor:
        """What a sub-layer that read x answers in the end."""
        if role in self.behind:
            y = self.behind[role](y, x, self.residual.norm_behind(role))
        return self.dropout(y)


class Stack(nn.Module):
    """Layers one behind the other, and the norm at their end.

    Args:
        layers: with option objects, as the composer makes them.
        context: of the model; each layer gets one of its own.
        norm: options of the norm at the end, where the residual wants one.
            None: the stack has none.
        cross: whether layers read a source.
        piece: asked for each layer with the context it is built in: see `Block`. None: no layer reads pieces.

    Raises:
        SpecError: every finding of every layer.
    """

    def __init__(
        self, layers: Sequence[Layer], context: Context, norm: Any, cross: bool = False, piece: Piece | None = None
    ):
        super().__init__()
        findings = Findings()
        context = attrs.evolve(context, layers=len(layers))
        self.layers = nn.ModuleList()
        for number, layer in enumerate(layers):
            with findings:
                own = attrs.evolve(context, layer=number)
                self.layers.append(Block(layer, own, cross, piece(layer, own) if piece else None))
        findings.settle()
        self.recompute = False
        """Whether training forgets what happens inside a layer and computes it again for the gradient."""
        self.look: Look | None = None
        """What somebody looks for in it; see `looking`."""
        self._agree(layers, context, findings)
        findings.settle()
        last: Residual = self.blocks[-1].residual
        self.width = last.width_out(context.dim)
        self.norm = context.build(norm, dim=self.width) if last.final_norm and norm is not None else None

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(self.layers)  # type: ignore[arg-type]

    def _agree(self, layers: Sequence[Layer], context: Context, findings: Findings) -> None:
        """Refuse layers that cannot follow each other, each at its own place."""
        first = self.blocks[0].residual
        for block, layer in zip(self.blocks, layers, strict=True):
            if block.residual.carry != first.carry:
                message = f"this residual carries {block.residual.carry}, that of layer 0 carries {first.carry}"
                error = PartError(message, label=f"layer {block.number}", fixes=("use one residual in all layers",))
                findings.add(context.finding(layer.options["residual"], error))
        self._agree_on_segments(layers, context, findings)

    def _agree_on_segments(self, layers: Sequence[Layer], context: Context, findings: Findings) -> None:
        parts = [(layer.options["recurrence"], layer) for layer in layers]
        lengths = [(part, _main(part)) for part, _ in parts if _main(part) is not None]
        for part, length in lengths:
            if length != lengths[0][1]:
                message = f"segments of {length} here, of {lengths[0][1]} in an earlier layer"
                fixes = ("use one segment length in all layers",)
                findings.add(context.finding(part, PartError(message, fixes=fixes, code="XC032")))

    def forward(
        self, x: Tensor, axis: Axis, states: Mapping[str, Any] | None = None, source: Source | None = None
    ) -> tuple[Tensor, Beside]:
        """Rows (b n c) to rows (b n width).

        Args:
            x: embedded rows.
            axis: where they stand.
            states: by application, `3.mixer`; None for a sequence from its start that nobody continues.
            source: what cross mixers read.
        """
        carry = self.blocks[0].residual.enter(x)
        new: dict[str, Any] = {}
        losses: dict[str, Tensor] = {}
        stats: dict[str, Tensor] = {}
        seen: dict[int, Mapping[str, Tensor]] = {}
        for layer, block in enumerate(self.blocks):
            mine = {} if states is None else _of(states, block)
            wanted = NOTHING if self.look is None else self.look.of(layer)
            carry, beside = self._run(block, carry, axis, mine, source, wanted)
            if wanted:
                behind = {"rows": block.residual.leave(carry)} if "rows" in wanted else {}
                seen[layer] = {**behind, **beside.inside}
            new |= beside.states
            losses |= beside.losses
            stats |= beside.stats
        if self.look is not None:
            self.look.took(x, axis, seen)
        x = self.blocks[-1].residual.leave(carry)
        return (x if self.norm is None else self.norm(x)), Beside(new, losses, stats)

    def _run(
        self, block: Block, carry: Any, axis: Axis, states: Mapping[str, Any], source: Source | None,
        wanted: frozenset[str],
    ) -> tuple[Any, Beside]:  # fmt: skip
        if self.recompute and not block.residual.recomputes and self.training and torch.is_grad_enabled():
            return checkpoint(block, carry, axis, states, source, wanted, use_reentrant=False)  # type: ignore[return-value]
        return block(carry, axis, states, source, wanted)

    def start(self, batch: int, like: Tensor) -> dict[str, Any]:
        """The states before the first token, by application."""
        return {name: mixer.start(batch, like) for name, mixer in self.applications()}

    def applications(self) -> list[tuple[str, Mixer]]:
        """Every mixer that remembers, as often as it is used, by layer number and role: `3.mixer`."""
        return [(f"{block.number}.{role}", getattr(block, role)) for block in self.blocks for role in block.remembering]

    def trace(self, wanted: np.ndarray, read: Callable[[Block, int], np.ndarray]) -> np.ndarray:
        """From which rows something may reach others, as `Model.trace`."""
        for block in reversed(self.blocks):
            if wanted.all():
                break  # every layer passes all of them to themselves
            wanted = reached_from(wanted, read(block, wanted.shape[1]))
        return wanted


def _main(part: Any) -> Any:
    """The value of a component's main option, for recurrences the length of a segment; None where it has none."""
    if not attrs.has(type(part)):
        return None
    return next((getattr(part, o.name) for o in option_schemas(type(part)) if o.main), None)


def _of(states: Mapping[str, Any], block: Block) -> dict[str, Any]:
    return {role: states[f"{block.number}.{role}"] for role in block.remembering}


def reached_from(wanted: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """(k n) bool: from which rows something may reach the `wanted` ones (k n) through a layer that reads as (n n) says
    and passes every row to itself."""
    if len(wanted) == 1:
        return np.logical_or(wanted, layer[wanted[0]].any(axis=0, keepdims=True))
    # Counts of paths stay exact in float32 up to 2**24 positions, and a matrix product is the quickest way.
    return wanted | (wanted.astype(np.float32) @ layer.astype(np.float32) > 0)


def in_pieces(mixer: Mixer, x: Tensor, axis: Axis, piece: int) -> Mixed:
    """Mix rows (b n c), n a multiple of the piece, each piece as a sequence by itself."""
    batch, n = x.shape[:2]
    valid = None if axis.valid is None else axis.valid.reshape(-1, piece)
    mixed = mixer(x.reshape(batch * n // piece, piece, -1), Axis(range(piece), valid, total=piece))
    return mixed._replace(x=mixed.x.reshape(batch, n, -1))


def absent_as_zero(x: Tensor, axis: Axis) -> Tensor:
    """Rows (b n c) with those that hold no token zeroed."""
    return x if axis.valid is None else torch.where(axis.valid[..., None], x, torch.zeros_like(x))
