"""What each kind of working part owes: the classes that plugins subclass, and the context they are built in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import attrs
import torch
from torch import Tensor, nn

from xcompose.attention.grid import Grid
from xcompose.attention.pattern import Pattern
from xcompose.attention.reads import Axis, Clock, Slots, Term
from xcompose.compose.projections import Projections
from xcompose.compose.vocabulary import TokenClusters
from xcompose.diagnostics import Diagnostic, PartError

Causal = Literal["strict", "value", "none"]
T = TypeVar("T")


class Mixed(NamedTuple):
    """What a mixer returns."""

    x: Tensor
    """(b n c)"""
    state: Any = None
    """A pytree of tensors, batch first; None when none was given."""
    losses: Mapping[str, Tensor] = {}
    """Scalars by name, to be added to the training loss."""
    stats: Mapping[str, Tensor] = {}
    """Statistics by name, applied once per step by the trainer."""
    inside: Mapping[str, Tensor] = {}
    """What was looked for; see `Mixer.hides`."""


class Source(NamedTuple):
    """The other sequence of cross-attention."""

    x: Tensor
    """(b m c)"""
    axis: Axis


class Visible(NamedTuple):
    """Who may read whom in one group of heads, as declared by patterns and spans (numpy bool, (n n))."""

    label: str
    heads: int
    matrix: Any
    exact: bool
    """False where contents decide (learned patterns): then the matrix is what may be read at most."""


class Mixer(nn.Module, ABC):
    """Move information along n; never change the shape.

    One call serves training, prefill, segment and step: they differ only in where the time line is cut. Without a
    state the rows are a whole sequence from its start; with one they continue it. A state is used up by the call.
    """

    remembers_source: bool = False
    """Whether after one call its state holds all it needs of the source, so that later calls do without."""
    by_head: Mapping[str, int] = {}
    """Channels of one head in what it projects, by the projection's name, where these are ordered by heads."""
    wanted: frozenset[str] = frozenset()
    """What somebody looks for in this call; `mix` then gives it back as `Mixed.inside`. Empty as a rule."""

    def hides(self, what: str) -> str:
        """Why it does not show `q` (b n h*d), `k` (b n g*d), `v` (b n g*e), those of its rows before they are turned,
        or `map`: logits (b h n m) of its rows among each other, -inf where a query may not read. Empty where it does.
        """
        return f"{type(self).__name__} does not show its inside"

    def look_for(self, what: frozenset[str]) -> None:
        """Set `wanted`, here and in members that show their part of it."""
        self.wanted = what

    def forward(self, x: Tensor, axis: Axis, state: Any = None, source: Source | None = None) -> Mixed:
        if state is None:
            return self.mix(x, axis, source)
        return self.extend(x, axis, state, source)

    @abstractmethod
    def mix(self, x: Tensor, axis: Axis, source: Source | None = None) -> Mixed:
        """Mix a whole sequence (b n c)."""

    def start(self, batch: int, like: Tensor) -> Any:
        """The state before the first token. The default keeps the inputs."""
        return {
            "x": like.new_zeros(batch, 0, like.shape[-1]),
            "at": torch.zeros(batch, 0, dtype=torch.long, device=like.device),
        }

    def extend(self, x: Tensor, axis: Axis, state: Any, source: Source | None = None) -> Mixed:
        """Continue from a state. The default keeps the inputs so far and mixes all of them again: right, and slow.

        Implemented in `xcompose.decode.recompute`.
        """
        from xcompose.decode.recompute import extend_by_recomputing

        return extend_by_recomputing(self, x, axis, state, source)

    def state_shape(self, n: int) -> Mapping[str, tuple[int, ...]]:
        """Sizes per sequence of every tensor in the state after n tokens, by name."""
        return {"x": (n, self.dim), "at": (n,)}

    def visible(self, n: int) -> tuple[Visible, ...]:
        """Who may read whom in a sequence of n, for pictures and for the liveness certificate."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its queries may read")

    dim: int
    """Model width c, set by the constructor."""


class Spans(NamedTuple):
    """The slots of a memory over n positions, as integer arrays (m); ranges and lists will do."""

    start: Any
    end: Any
    at: Any


class View(NamedTuple):
    """What a memory that looks at its layer sees of it."""

    x: Tensor
    """(b n c) the rows that the layer was given"""
    queries: Callable[[Tensor], Tensor]
    """From rows (b n c) to queries (b n h d), not turned."""
    keys: Callable[[Tensor], tuple[Tensor, Tensor]]
    """From rows (b n c) to keys (b n g d), not turned, and values (b n g e)."""
    still: Callable[[], View] | None = None
    """The same view through projections whose weights get no gradient; None in such a view."""
    before: tuple[Slots, ...] = ()
    """For `extend`: the slots that the memories standing before this one gave in this call."""

    def of(self, x: Tensor) -> View:
        """The same layer with other rows."""
        still = self.still
        return self._replace(x=x, still=None if still is None else lambda: still()._replace(x=x))


class Memory(nn.Module, ABC):
    """Extra or summarised key slots, read in the same softmax as the tokens.

    `level` says what it works on: `keys` after the projection (k and v), `rows` before it (x).
    """

    level: Literal["rows", "keys"] = "keys"
    projects: ClassVar[bool] = False
    """Whether it gives keys (b m g d) and values (b m g e) although it works on rows: projections of its own."""
    looks: ClassVar[bool] = False
    """Whether `slots` and `extend` get a `view: View` of the layer behind their other arguments."""
    pattern: Pattern
    """Which of its slots a query may read."""
    tokens: Pattern | None = None
    """A restriction of the token read that comes with it (recurrences: the query's own segment)."""
    clock: Clock | None = None
    """How positions count between its slots and queries, where that is not the time at which slots stand."""
    chooses: bool = False
    """Whether contents decide which rows of its span a slot is made of."""
    still: ClassVar[bool] = False
    """Whether no gradient flows through its slots to the rows that they are made of."""

    @abstractmethod
    def spans(self, n: int) -> Spans:
        """The slots that n positions give. In a decoder those of n must be a prefix of those of n + 1: the composer
        checks it, and that is what refuses a memory that looks at everything."""

    @abstractmethod
    def slots(self, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Mapping[str, Tensor]]:
        """Summarise keys (b n g d) and values (b n g e) of a whole sequence; also losses by name.

        For level `rows` both arguments are the rows (b n c) and the slots' k and v are rows (b m 1 c), which the
        attention projects.
        """

    def start(self, batch: int, k: Tensor, v: Tensor) -> Any:
        """The state before the first token. The default keeps k and v."""
        return {
            "k": k.new_zeros(batch, 0, *k.shape[2:]),
            "v": v.new_zeros(batch, 0, *v.shape[2:]),
            "at": torch.zeros(batch, 0, dtype=torch.long, device=k.device),
        }

    def extend(self, state: Any, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Any, Mapping[str, Tensor]]:
        """The slots after these rows, and the new state. The default summarises everything again."""
        from xcompose.decode.recompute import extend_memory_by_recomputing

        return extend_memory_by_recomputing(self, state, k, v, axis)

    def state_shape(self, n: int, groups: int, width: int, value_width: int) -> Mapping[str, tuple[int, ...]]:
        return {"k": (n, groups, width), "v": (n, groups, value_width), "at": (n,)}


class Position(nn.Module):
    """How the model knows where a token is: at the embedding, inside attention, or both. Override what applies."""

    def embed(self, x: Tensor, axis: Axis) -> Tensor:
        """Add to the embedded rows (b n c)."""
        return x

    def turn(self, t: Tensor, at: Tensor, side: Literal["query", "key"]) -> Tensor:
        """Turn queries or keys (b n h d) by their positions `at`, (n) or (b n)."""
        return t

    @property
    def turns(self) -> bool:
        """Whether `turn` does anything."""
        return type(self).turn is not Position.turn

    @property
    def acts_inside(self) -> bool:
        """Whether it does anything inside attention; one that only adds to the embedding belongs to the model."""
        kind = type(self)
        return kind.turn is not Position.turn or kind.terms is not Position.terms

    def terms(self, heads: int, head_dim: int) -> Sequence[Term]:
        """Additive parts of the logits. Called once when attention is built; module parameters may be used."""
        return ()


class AfterStep(ABC):
    """A module of the model, of any kind, that changes its own weights or numbers between optimizer steps."""

    @abstractmethod
    def after_step(self) -> None:
        """Called by the trainer after each optimizer step, without gradients."""


class Norm(nn.Module, ABC):
    """Normalise rows (... c), each by itself."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...


class FFN(nn.Module, ABC):
    """A feed-forward network, row by row: (b n c) to (b n c)."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...


class Branch:
    """One sub-layer (mixer, cross or ffn, with its dropout, without its norm), called with rows (b n c): gives rows,
    and a pytree of tensors beside them (state, losses, statistics).

    Args:
        run: does it.
        modules: whose parameters it uses.
        reads: tensors that it reads beside its argument: the rows of a source, a state.
    """

    # no attrs class: the compiler cannot follow how a frozen one is made
    def __init__(
        self,
        run: Callable[[Tensor], tuple[Tensor, Any]],
        modules: tuple[nn.Module, ...] = (),
        reads: tuple[Tensor, ...] = (),
    ):
        self.run, self.modules, self.reads = run, modules, reads

    def __call__(self, x: Tensor) -> tuple[Tensor, Any]:
        return self.run(x)

    def needs(self) -> tuple[Tensor, ...]:
        """Everything but the argument that a gradient flows to, each once."""
        found = [p for module in self.modules for p in module.parameters() if p.requires_grad]
        found += [t for t in self.reads if t.requires_grad]
        return tuple({id(t): t for t in found}.values())


class Residual(nn.Module, ABC):
    """How sub-layers are added to the stream. Built once for each layer; it builds its norms itself, from
    `context.norm`, one for each of the `context.branches` sub-layers if it wants so."""

    carry: ClassVar[str] = "one stream"
    """What flows between layers; all layers of a stack must agree."""
    final_norm: ClassVar[bool] = True
    """Whether the stack ends with a norm of its own."""
    recomputes: ClassVar[bool] = False
    """Whether it keeps nothing for the gradient anyway; then `recompute` leaves it alone."""
    keeps: bool = True
    """Whether the stream flows on beside every sub-layer, so that one that answers nothing takes nothing from it."""

    def enter(self, x: Tensor) -> Any:
        """From rows (b n c) to what flows."""
        return x

    def leave(self, carry: Any) -> Tensor:
        """From what flows to rows (b n, width_out)."""
        return carry

    def width_out(self, dim: int) -> int:
        return dim

    def norm_behind(self, role: str) -> nn.Module | None:
        """The norm of the sum of the stream, as the sub-layer `mixer`, `cross` or `ffn` reads it, and its answer; None
        where no norm stands there. For adapters that read what the next sub-layer would."""
        return None

    @abstractmethod
    def forward(self, carry: Any, branches: Sequence[Branch]) -> tuple[Any, list[Any]]:
        """Run the branches of one layer in order; returns what flows on, and what each branch gave beside its rows."""


class Before(nn.Module, ABC):
    """What an add-on puts before a layer whose residual carries one stream."""

    @abstractmethod
    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        """From rows (b n c) that flow into the layer to those (b n c) that it gets."""


class Embedding(nn.Module, ABC):
    """Tokens (b n), or rows (b n width) of numbers, to rows (b n c)."""

    width: int | None = None
    """How many numbers it reads for each row; None: it reads tokens (b n) int64."""

    narrow: int | None = None
    """Width of its rows until `finish` makes them as wide as the model; positions are added to them. None: c."""

    prefix: int = 0
    """How many rows it puts before the tokens (`front`); encoders only."""

    @abstractmethod
    def forward(self, tokens: Tensor) -> Tensor: ...

    def front(self) -> Tensor:
        """The rows (prefix c) that stand before the tokens of every sequence, as wide as those of `forward`; no
        position is added to them."""
        raise NotImplementedError(f"{type(self).__name__} says it has a prefix, but not which rows these are")

    def finish(self, x: Tensor) -> Tensor:
        """What is done to the rows, those of the prefix first, after the positions were added: gives rows (b n c)."""
        return x

    def table(self) -> nn.Parameter | None:
        """The (v c) or (v r) matrix that an output may tie to; None where there is none."""
        return None

    def clusters(self) -> TokenClusters | None:
        """The tables of frequent and of rare tokens, for outputs that go by clusters; None where there are none."""
        return None


class Output(nn.Module, ABC):
    """Rows (b n c) to what the task wants, logits (b n v) for language modelling."""

    each_row: ClassVar[bool] = True
    """Whether there is an answer for each row (b n ...), else one for each sequence (b ...)."""
    predicts_tokens: ClassVar[bool] = True
    """Whether the answer is logits over the vocabulary, so that tokens can be drawn from it."""

    @abstractmethod
    def forward(self, x: Tensor, axis: Axis) -> Tensor: ...


class State(NamedTuple):
    """Where each sequence stands, and what each layer remembers. Batch first everywhere, so that `reorder` is free."""

    time: Tensor
    """(b) tokens read so far"""
    parts: Mapping[str, Any]
    """By application: layer number and role, `3.mixer`."""
    together: int | None = None
    """The tokens read so far where all sequences have read as many, known without looking at data."""


class ModelOut(NamedTuple):
    """What a composed model returns."""

    logits: Tensor
    state: State | None = None
    losses: Mapping[str, Tensor] = {}
    stats: Mapping[str, Tensor] = {}
    prefix: Tensor | None = None
    """(b g c) what an encoder made of the rows before the tokens, where it has such."""


class Init(ABC):
    """How weights start. Called once with the whole model, before the addons."""

    @abstractmethod
    def __call__(self, model: nn.Module) -> None:
        """Set the parameters in place, drawing from torch's global generator."""


@attrs.frozen
class Context:
    """Where a part is built: the facts of the model around it, and how to build the parts inside it."""

    dim: int
    """Model width c."""
    causal: Causal
    vocab: int = 256
    length: int | None = None
    """The maximum length, where the spec states one; for parts that read a source, that of the source."""
    source_length: int | None = None
    """The maximum length of the source, for a stack that reads one."""
    grid: Grid | None = None
    """Where the positions of the sequence lie on a grid, where the spec states one."""
    layers: int = 1
    """How many layers the stack has."""
    layer: int = 0
    """Which one this is, from 0."""
    role: Literal["self", "cross"] = "self"
    heads: int | None = None
    """Set inside `heads(...)`: how many heads the group has; else the part's own option counts."""
    kv_heads: int | None = None
    """Set for the parts inside an attention: key/value heads g. `heads` is then what the attention has."""
    head_dim: int | None = None
    """Set for the parts inside an attention: width of a head d."""
    scale: float | None = None
    """Set for the parts inside an attention: what products of queries and keys are multiplied by."""
    value_dim: int | None = None
    """Set for the parts inside an attention: width of a head's values e."""
    shared_qk: bool = False
    """Set for the parts inside an attention: whether queries, brought to length one, are the keys."""
    rows: Pattern | None = None
    """Which rows of its answer are wanted of this mixer, a predicate on queries; None: all. It may give others as well.
    A mixer whose members read each other's answers clears it for them."""
    projections: Projections | None = None
    """Set where a mixer's members share projections; ask with `projection`."""
    out_bias: bool = True
    """Whether this mixer's output projection has the bias; in `heads(...)` only the first group writes it."""
    table: nn.Parameter | None = None
    """The embedding's matrix, for outputs that tie to it."""
    clusters: TokenClusters | None = None
    """The embedding's tables by how frequent tokens are, for outputs that go by them."""
    norm: Any = None
    """The options of the layer's norm, for residuals."""
    branches: int = 0
    """How many sub-layers the layer has, for residuals."""
    roles: tuple[str, ...] = ()
    """What these sub-layers are, in order: `mixer`, `cross`, `ffn`."""
    branch: str = ""
    """For a norm that a residual builds: the sub-layer it stands beside; empty for the norm at the end of a stack."""
    prefix: int = 0
    """How many rows the embedding puts before the tokens; they stand at positions -prefix .. -1."""
    narrow: int | None = None
    """Width of the rows that positions are added to, where it is not `dim`."""
    builder: Callable[[Any, Context], Any] | None = None
    finder: Callable[[Any, PartError], Diagnostic] | None = None
    """From an options object and what is wrong with it to a located finding."""
    namer: Callable[[Any], str] | None = None
    """From an options object to the name of its component, for messages."""
    cache: dict[Any, Any] = attrs.field(factory=dict)

    def build(self, part: Any, **changes: Any) -> Any:
        """Build the component that an option holds, in this context or one changed by `changes`."""
        assert self.builder is not None
        return self.builder(part, attrs.evolve(self, **changes) if changes else self)

    def position(self, part: Any) -> Position:
        """Build what acts at the embedding, as wide as the rows that it is added to."""
        return self.build(part, dim=self.narrow or self.dim)

    def name(self, part: Any) -> str:
        """What a spec calls the component that an option holds, for messages."""
        return self.namer(part) if self.namer else type(part).__name__

    def finding(self, part: Any, error: PartError) -> Diagnostic:
        """What is wrong with the component that an option holds, located where it was written."""
        assert self.finder is not None
        return self.finder(part, error)

    def norms(self) -> list[Norm]:
        """A norm for each sub-layer of the layer, for residuals that want one each."""
        return [self.build(self.norm, branch=role) for role in self.roles or ("",) * self.branches]

    def projection(self, name: str, make: Callable[[], nn.Linear]) -> nn.Linear:
        """A mixer's projection `q`, `k`, `v` or `out`: its own, unless the mixer around it shares those of this name.

        Raises:
            PartError: it is shared with one of another shape.
        """
        return make() if self.projections is None else self.projections.get(name, make)

    def tied(self) -> nn.Parameter:
        """The embedding's table, for rows as wide as this context's `dim`.

        Raises:
            PartError: there is no table, or it has another width.
        """
        if self.table is None:
            message = "the output is tied to an embedding that has no table"
            raise PartError(message, fixes=("tied=false",), option="tied")
        if self.table.shape[1] != self.dim:
            message = f"rows of width {self.dim} cannot be tied to a table of width {self.table.shape[1]}"
            raise PartError(message, fixes=("tied=false",), option="tied")
        return self.table

    def shared(self, key: Any, make: Callable[[], T]) -> T:
        """The same object for everyone in this model who asks with the same key."""
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]
