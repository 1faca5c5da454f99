"""A composed model: the edge for padding, the state for decoding, and the parts in between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xcompose.attention.island import casting, exact
from xcompose.attention.reads import Axis
from xcompose.compose.addons import Listed
from xcompose.compose.findings import Findings
from xcompose.compose.inputs import Inputs
from xcompose.compose.options import ModelOptions, OneStackOptions
from xcompose.compose.parts import Causal, Context, Embedding, ModelOut, Output, Position, Source, State
from xcompose.compose.stack import Beside, Block, Stack, absent_as_zero
from xcompose.decode.edge import gather, scatter
from xcompose.decode.state import size_of_state, widths_of
from xcompose.diagnostics import PartError, SpecError
from xcompose.spec.model import Node, Spec


class Ran(NamedTuple):
    """What the inside of a model gives: an answer, and what layers gave beside it."""

    answer: Tensor
    """(b n ...), or (b ...) where the output answers for a whole sequence"""
    beside: Beside
    prefix: Tensor | None = None
    """(b g c) what became of the rows before the tokens"""


class Model(nn.Module, ABC):
    """What every model type shares. A type builds its stacks, and says in `run` how rows pass through them.

    Args:
        options: of the model type.
        context: as the composer gives it; `causal` is the type's business.
    """

    decodes: bool = False
    """Whether it reads step by step, with a state."""
    reads_source: bool = False
    """Whether it needs a second sequence."""
    source_length: int | None = None
    """The longest source, where the spec states one."""
    prefix: int = 0
    """How many rows stand before the tokens inside."""
    embedding: Embedding
    output: Output

    def __init__(self, options: ModelOptions, context: Context):
        super().__init__()
        self.options = options
        self.dim, self.vocab = context.dim, context.vocab
        self.spec: Spec | None = None
        """The resolved spec, where it was built from one."""
        self.node: Node | None = None
        """The model as written, with every default."""
        self.addons: tuple[Listed, ...] = ()
        """What changed it since, in order."""
        self.works_in: torch.dtype | None = None
        """What products of matrices are computed in, and what is remembered between calls is kept in; None: as weights
        are. Then the stream between layers, statistics, logits and losses are in single precision at least. A model
        with weights in double precision works in that, whatever this says."""
        self.unfinished: tuple[Callable[[Model], None], ...] = ()
        """What add-ons have still to do when training is over; nothing where the model is what its spec says."""

    @abstractmethod
    def stacks(self) -> Mapping[str, Stack]:
        """The stacks by name; one alone has the empty name."""

    @abstractmethod
    def run(self, tokens: Tensor, axis: Axis, states: Mapping[str, Any] | None, source: Source | None) -> Ran:
        """From tokens (b n), or rows (b n width) of numbers, those of a sequence at its front, to an answer."""

    def encode(self, tokens: Tensor, axis: Axis) -> tuple[Tensor, Beside]:
        """From the tokens of the source (b m) to its rows (b m c). Only for types that read a source."""
        raise ValueError(f"{type(self).__name__} reads no source")

    def forward(
        self,
        tokens: Tensor,
        *,
        mask: Tensor | None = None,
        state: State | None = None,
        source: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> ModelOut:
        """Read tokens.

        Args:
            tokens: (b n) int64, or (b n width) numbers where the embedding reads such.
            mask: (b n) bool, true where a token is; padding may lie anywhere. None: everywhere.
            state: what was read before, from `start` or an earlier call, and used up by this one. None: these
                tokens are whole sequences, and no state is given back.
            source: as tokens, (b m ...), the other sequence of an encoder-decoder. With a state it was given to
                `start`.
            source_mask: (b m) bool.

        Returns:
            logits (b n v), zeros where the mask is false; (b ...) where the output answers for a sequence.

        Raises:
            ValueError: the arguments do not fit each other or the model.
        """
        self._check(tokens, mask, state, source, source_mask)
        packed = None if mask is None else gather(tokens, mask)
        valid = None if packed is None else packed.valid
        axis = self._axis(tokens, valid, state)
        parts = None if state is None else state.parts
        with self.casting():
            rows, first = self._source(state, source, source_mask)
            ran = self.run(tokens if packed is None else packed.tokens, axis, parts, rows)
        answer = ran.answer if self.works_in is None else exact(ran.answer)
        if packed is not None and self.output.each_row:
            answer = scatter(answer, packed)
        elif packed is not None:
            answer = answer * packed.mask.any(1).reshape(-1, *[1] * (answer.dim() - 1))
        new = None if state is None else self._next(state, axis, ran.beside.states)
        losses, stats = {**first.losses, **ran.beside.losses}, {**first.stats, **ran.beside.stats}
        if self.works_in is not None:
            losses = {name: exact(loss) for name, loss in losses.items()}
        return ModelOut(answer, new, losses, stats, ran.prefix)

    def casting(self) -> AbstractContextManager[Any]:
        """In it products of matrices are computed in `works_in`; for whoever calls a part of the model alone."""
        return nullcontext() if self.works_in is None else casting(self.like(1).device, self.works_in)

    def _check(
        self,
        tokens: Tensor,
        mask: Tensor | None,
        state: State | None,
        source: Tensor | None,
        source_mask: Tensor | None,
    ) -> None:
        for name, given in (("tokens", tokens), ("source", source)):
            if given is not None and (fault := self.inputs.fault(given, name)):
                raise ValueError(fault)
        if tokens.shape[1] == 0:
            raise ValueError("there is no token to read")
        for name, given, other in (("mask", mask, tokens), ("source_mask", source_mask, source)):
            if given is not None and (other is None or given.shape != other.shape[:2]):
                shape = None if other is None else tuple(other.shape[:2])
                raise ValueError(f"{name} has the shape {tuple(given.shape)}, what it masks has {shape}")
            if given is not None and given.dtype != torch.bool:
                raise ValueError(f"{name} is bool, true where a token is; this one is {given.dtype}")
        if state is not None and not self.decodes:
            raise ValueError("this model sees whole sequences and takes no state")
        if self.reads_source and (source is None) == (state is None):
            raise ValueError("give the source to `forward`, or to `start` when there is a state")
        if source is not None and not self.reads_source:
            raise ValueError("this model reads no source")

    def _axis(self, tokens: Tensor, valid: Tensor | None, state: State | None) -> Axis:
        n = tokens.shape[1]
        if state is None:
            return Axis(range(n), valid, total=None if self.decodes else n)
        if state.together is not None:
            return Axis(range(state.together, state.together + n), valid)
        return Axis(state.time[:, None] + torch.arange(n, device=tokens.device), valid)

    def _next(self, state: State, axis: Axis, states: Mapping[str, Any]) -> State:
        parts = {name: states.get(name, kept) for name, kept in state.parts.items()}
        if self.reads_source and self._source_is_remembered():
            parts["source"] = {name: rows[:, :0] for name, rows in parts["source"].items()}
        if axis.valid is not None:
            return State(state.time + axis.valid.sum(1), parts)
        together = None if state.together is None else state.together + axis.n
        return State(state.time + axis.n, parts, together)

    def _source_is_remembered(self) -> bool:
        crosses = [block.cross for stack in self.decoding() for block in stack.blocks if block.cross is not None]
        return all(cross.remembers_source for cross in crosses)

    def _source(
        self, state: State | None, source: Tensor | None, source_mask: Tensor | None
    ) -> tuple[Source | None, Beside]:
        if state is not None and self.reads_source:
            kept = state.parts["source"]
            return Source(kept["x"], _source_axis(kept["x"], kept["valid"])), Beside()
        if source is None:
            return None, Beside()
        return self._read_source(source, source_mask)

    def _read_source(self, source: Tensor, mask: Tensor | None) -> tuple[Source, Beside]:
        packed = None if mask is None else gather(source, mask)
        axis = _source_axis(source, None if packed is None else packed.valid)
        x, beside = self.encode(source if packed is None else packed.tokens, axis)
        return Source(absent_as_zero(x, axis), axis), beside

    def start(self, batch: int, source: Tensor | None = None, source_mask: Tensor | None = None) -> State:
        """The state before the first token.

        Args:
            batch: how many sequences.
            source: (b m ...) as tokens, for a model that reads one.
            source_mask: (b m) bool.

        Raises:
            ValueError: the model sees whole sequences, or the source does not fit it.
        """
        if not self.decodes:
            raise ValueError("this model sees whole sequences and has no state")
        if (source is not None) != self.reads_source:
            raise ValueError("give `start` a source exactly when the model reads one")
        like = self.remembered(batch)
        parts = self.blank(batch, like)
        if source is not None:
            with self.casting():
                read, _ = self._read_source(source, source_mask)
            whole = torch.ones(source.shape[:2], dtype=torch.bool, device=like.device)
            parts["source"] = {"x": read.x, "valid": whole if read.axis.valid is None else read.axis.valid}
        return State(torch.zeros(batch, dtype=torch.long, device=like.device), parts, together=0)

    def blank(self, batch: int, like: Tensor) -> dict[str, Any]:
        """What is remembered before the first token, by name; batch first, of the type and place of `like` (b 0 c)."""
        parts: dict[str, Any] = {}
        for stack in self.decoding():
            parts |= stack.start(batch, like)
        return parts

    @property
    def inputs(self) -> Inputs:
        """What it reads: tokens, or rows of numbers."""
        return Inputs(self.vocab, self.embedding.width)

    def example(self, batch: int, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Something random that the model reads, where the model is: tokens (b n), or rows (b n width) of numbers."""
        return self.inputs.example(batch, n, generator, self.like(1).device)

    def like(self, batch: int) -> Tensor:
        """An empty (b 0 c) tensor of the type and place of the rows between layers, and of weights that are trained."""
        some = next(p for p in self.parameters() if p.is_floating_point())
        found = torch.zeros(batch, 0, self.dim, dtype=some.dtype, device=some.device)
        return found if self.works_in is None else exact(found)

    def remembered(self, batch: int) -> Tensor:
        """An empty (b 0 c) tensor of the type and place of what is remembered, but for sums that need more bits."""
        like = self.like(batch)
        return like if self.works_in is None or like.dtype == torch.float64 else like.to(self.works_in)

    @property
    def frozen(self) -> bool:
        """Whether its base stays as it is, and only what add-ons put beside it is trained."""
        return any(listed.addon.freezes for listed in self.addons)

    @property
    def trained(self) -> int:
        """How many of its numbers are trained, weights that are stored in few bits when training is over among them."""
        each = {id(p): p for p in self.parameters()}.values()
        stored = (is_traceable_wrapper_subclass(p) and not self.frozen for p in each)
        return sum(p.numel() for p, later in zip(each, stored, strict=True) if p.requires_grad or later)

    def decoding(self) -> tuple[Stack, ...]:
        """The stacks that remember."""
        return tuple(self.stacks().values())

    def state_bytes(self, n: int) -> int:
        """Bytes that the state of one sequence takes after n tokens; 0 for a model without a state."""
        if not self.decodes:
            return 0
        like = self.remembered(1)
        return size_of_state(self.state_shapes(n), like.element_size(), widths_of(self.blank(1, like)))

    def state_shapes(self, n: int) -> dict[str, tuple[int, ...]]:
        """Sizes per sequence of every tensor that is remembered after n tokens, by name."""
        each = [(name, mixer) for stack in self.decoding() for name, mixer in stack.applications()]
        return {f"{name}.{key}": shape for name, mixer in each for key, shape in mixer.state_shape(n).items()}

    def trace(self, wanted: np.ndarray, read: Callable[[Block, int], np.ndarray]) -> np.ndarray:
        """From which tokens something may reach some rows of the last layer, through all layers of the text itself.

        Args:
            wanted: (k n) bool, in each of the k lines the rows that are asked about.
            read: who reads whom in a layer, (m m) bool for m rows, those before the tokens included.

        Returns:
            (k n) bool.
        """
        wanted = np.pad(wanted, ((0, 0), (self.prefix, 0)))
        for stack in reversed(self.decoding()):
            wanted = stack.trace(wanted, read)
        return wanted[:, self.prefix :]

    @property
    def layers(self) -> tuple[Block, ...]:
        """Every layer, stack by stack."""
        return tuple(block for stack in self.stacks().values() for block in stack.blocks)

    def embed(self, tokens: Tensor, axis: Axis, position: Position, dropout: nn.Dropout) -> Tensor:
        """What the model reads to rows (b n c), with positions, dropout, and zeros where there is no token."""
        return self.place(self.embedding(tokens), axis, position, dropout)

    def place(self, x: Tensor, axis: Axis, position: Position, dropout: nn.Dropout) -> Tensor:
        """The same for rows that the embedding has made already.

        Where `axis` has rows before the tokens, so has the result.
        """
        x = position.embed(x if self.works_in is None else exact(x), _behind_prefix(axis))
        if axis.prefix:
            x = torch.cat([self.embedding.front().to(x.dtype).expand(x.shape[0], -1, -1), x], 1)
        return absent_as_zero(dropout(self.embedding.finish(x)), axis)

    def answer(self, options: Any, context: Context, width: int) -> None:
        """Build the output, for rows of this width.

        Raises:
            SpecError: the output refuses its place, or gives one answer for all rows of a decoder.
        """
        own = self.embedding
        self.output = context.build(options, dim=width, table=own.table(), clusters=own.clusters())
        if self.decodes and not self.output.each_row:
            error = PartError(
                f"a decoder cannot use output '{context.name(options)}'",
                label="it answers once for the whole sequence, and a decoder answers at every token",
                fixes=("use it in an encoder", "output: lm"),
            )  # fmt: skip
            raise SpecError(context.finding(options, error))

    def refuse_prefix(self, options: Any, context: Context, findings: Findings) -> None:
        """Refuse an embedding (built from `options`) that puts rows before the tokens of a decoder."""
        if self.embedding.prefix:
            error = PartError(
                f"a decoder cannot use embedding '{context.name(options)}' with rows before the tokens",
                label="they read the whole text and every token reads them, so each token would read the future",
                fixes=("prefix=0", "use it in an encoder"), option="prefix",
            )  # fmt: skip
            findings.add(context.finding(options, error))


def _with_prefix(axis: Axis, prefix: int) -> Axis:
    """The axis with rows before its tokens, which start at 0."""
    if not prefix:
        return axis
    assert isinstance(axis.at, range), "a whole sequence stands at places known beforehand"
    valid = axis.valid if axis.valid is None else functional.pad(axis.valid, (prefix, 0), value=True)
    return replace(axis, at=range(-prefix, axis.at.stop), valid=valid)


def _behind_prefix(axis: Axis) -> Axis:
    """The axis of the tokens alone."""
    if not axis.prefix:
        return axis
    valid = None if axis.valid is None else axis.valid[:, axis.prefix :]
    return replace(axis, at=range(axis.n - axis.prefix), valid=valid)


def _source_axis(x: Tensor, valid: Tensor | None) -> Axis:
    n = x.shape[1]
    return Axis(range(n), valid, total=n, clock="source")


class OneStackModel(Model):
    """A model of one stack: a decoder where it is causal, else an encoder.

    Args:
        options: of the model type.
        context: as the composer gives it.
        output: options of the output.
        causal: what every mixer has to keep.

    Raises:
        SpecError: the findings of all parts.
    """

    def __init__(self, options: OneStackOptions, context: Context, output: Any, causal: Causal):
        super().__init__(options, context)
        self.decodes = causal != "none"
        findings = Findings()
        with findings:
            self.embedding = context.build(options.embedding)
            if self.decodes:
                self.refuse_prefix(options.embedding, context, findings)
            self.prefix = self.embedding.prefix
            context = attrs.evolve(context, prefix=self.prefix, narrow=self.embedding.narrow)
        with findings:
            self.position = context.position(options.position)
        self.dropout = nn.Dropout(options.dropout)
        with findings:
            self.stack = Stack(options.layers, attrs.evolve(context, causal=causal), options.norm)
        findings.settle()
        self.answer(output, attrs.evolve(context, prefix=0), self.stack.width)

    def stacks(self) -> Mapping[str, Stack]:
        return {"": self.stack}

    def run(self, tokens: Tensor, axis: Axis, states: Mapping[str, Any] | None, source: Source | None) -> Ran:
        whole = _with_prefix(axis, self.prefix)
        x = self.embed(tokens, whole, self.position, self.dropout)
        x, beside = self.stack(x, whole, states)
        front = x[:, : self.prefix] if self.prefix else None
        return Ran(self.output(x[:, self.prefix :], axis), beside, front)
