"""A model for people to read: one line a part, shapes, parameters, repeats folded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from xcompose.attention.explain import recording
from xcompose.attention.reads import Axis, Choice
from xcompose.compose.model import Model
from xcompose.compose.parts import Mixer, Norm, Position, Source
from xcompose.compose.spelling import Speller, heads_of
from xcompose.compose.stack import Block, Stack
from xcompose.compose.summary_sets import Sets, sets_of, told
from xcompose.registry import Registry, load
from xcompose.schema import option_schemas
from xcompose.spec.model import Layer, Node, Section

SHOWN_AT = 1024
"""The length that the size of the state is shown for, where the model takes it."""

NEAR, FAR = (43_517, 48_211, 54_883, 59_741, 63_359), (172_719, 190_477, 216_541, 233_663, 253_436)
"""Lengths at which the growth of a state is read; irregular, so that those of blocks and segments are met in many
phases."""


@attrs.frozen
class Row:
    """One part of the model."""

    name: str
    detail: str
    note: str
    parameters: int
    """Those of its own; 0 for a part whose parameters were counted before."""
    executors: tuple[Choice, ...] = ()
    """Which executor each read gets, and why; only when asked."""


@attrs.frozen
class Repeat:
    """Rows that stand for so many equal layers, or groups of layers."""

    times: int
    rows: tuple[Row | Repeat, ...]
    title: str = ""
    """The name of a block or a stack."""
    residual: str = ""
    """How they are joined, where it is not the default."""
    weights: str = ""
    """Which of them use the same weights, in words; nothing where each has its own."""


@attrs.frozen
class Summary:
    """A composed model, as data."""

    name: str
    type: str
    parameters: int
    """Each once."""
    trainable: int
    """Those that are trained; where no base is frozen, weights that are stored when training is over are among them."""
    lengths: Mapping[str, int]
    """What the spec states, by the name of a stack; empty for any length."""
    growth: str
    """Of the decode state: `O(1)`, `O(n)`; empty without a state."""
    state_bytes: int
    """At `shown_at` tokens."""
    shown_at: int
    """The length that the size of the state is shown for: 1024, or the longest where the spec states less."""
    rows: tuple[Row | Repeat, ...]
    written: tuple[str, ...]
    """The keys of `model` that somebody wrote."""
    file: str = ""
    addons: tuple[str, ...] = ()
    """As a spec writes them, in order."""
    remarks: tuple[str, ...] = ()
    """What add-ons want people to know."""

    def as_json(self) -> dict[str, Any]:
        return attrs.asdict(self, value_serializer=_plain)


def _plain(owner: Any, field: Any, value: Any) -> Any:
    return [choice._asdict() for choice in value] if field is not None and field.name == "executors" else value


def summarise(model: Model, *, explain: bool = False, registry: Registry | None = None) -> Summary:
    """Describe a model, built or planned.

    Args:
        model: as `build_model` or `plan_model` made it.
        explain: whether to ask which executor answers each read, at the model's length or 1024 tokens.
        registry: what it was built with; None is everything installed.
    """
    assert model.node is not None, "only the composer's models can be summarised"
    spec, node = model.spec, model.node
    each = {id(p): p for p in model.parameters()}.values()
    shown = min([SHOWN_AT, *_lengths(model, node).values()])
    return Summary(
        name=spec.name if spec else node.name, type=node.name, parameters=sum(p.numel() for p in each),
        trainable=model.trained,
        lengths=_lengths(model, node),
        growth=_growth(model), state_bytes=model.state_bytes(shown), shown_at=shown,
        rows=_Describer(model, node, Speller(registry or load()), explain).rows(),
        written=_written(node), file=spec.file if spec else "",
        addons=tuple(Speller(registry or load()).spelled(listed.node) for listed in model.addons),
        remarks=tuple(line for listed in model.addons for line in listed.addon.describe(model)),
    )  # fmt: skip


def _written(node: Node) -> tuple[str, ...]:
    return ("type", *[name for name in node.options if name in node.written and name != "type"])


def _lengths(model: Model, node: Node) -> dict[str, int]:
    stated = {name: _inside(node, name)[0].get("length") for name in model.stacks()}
    return {name: length for name, length in stated.items() if length is not None}


def _inside(node: Node, stack: str) -> tuple[Mapping[str, Any], Sequence[Layer]]:
    """The keys that hold for a stack, and its layers."""
    held: Any = node.options[stack or "layers"]
    return (held.options, held.options["layers"]) if isinstance(held, Section) else (node.options, held)


def _growth(model: Model) -> str:
    if not model.decodes:
        return ""
    return max(_growth_of(mixer) for mixer in _unlike(model))


def _unlike(model: Model) -> list[Mixer]:
    """The mixers that remember, those of equal layers once."""
    found: list[tuple[Any, Mixer]] = []
    for stack in model.decoding():
        for block in stack.blocks:
            new = all(options != block.options["mixer"] for options, _ in found)
            if new and "mixer" in block.remembering:
                found.append((block.options["mixer"], block.mixer))
    return [mixer for _, mixer in found]


def _growth_of(mixer: Mixer) -> str:
    """From the largest size of each tensor in two ranges of lengths, which sees past what only swings."""
    near, far = ([mixer.state_shape(n) for n in lengths] for lengths in (NEAR, FAR))
    worst = "O(1)"
    for name in near[0]:
        before, behind = (max(math.prod(shape[name]) for shape in shapes) for shapes in (near, far))
        if behind > 2.5 * before:
            worst = max(worst, "O(n)" if behind <= 1.1 * before * FAR[-1] / NEAR[-1] else "faster than O(n)")
    return worst


@attrs.define
class _Describer:
    """Walks a model and its node side by side."""

    model: Model
    node: Node
    speller: Speller
    explain: bool
    counted: set[int] = attrs.field(factory=set)
    """The identities of parameters that stand in a row already."""

    def rows(self) -> tuple[Row | Repeat, ...]:
        rows: list[Row | Repeat] = [self._embedding()]
        for name, stack in self.model.stacks().items():
            inside = self._stack(name, stack)
            rows += [Repeat(1, tuple(inside), title=name)] if name else inside
        return (*rows, self._output())

    def _embedding(self) -> Row:
        part: Node = self.node.options["embedding"]
        about = self.model.embedding.extra_repr() or self.speller.detail(part)
        return Row(part.name, about, "", self._new(self.model.embedding))

    def _output(self) -> Row:
        part: Node = self.node.options["output"]
        tied = any(id(p) in self.counted for p in self.model.output.parameters())
        about = self.model.output.extra_repr() or self.speller.detail(part)
        texts = [about, f"tied to {self.node.options['embedding'].name}" if tied else ""]
        return Row(part.name, ", ".join(t for t in texts if t), "", self._new(self.model.output))

    def _stack(self, name: str, stack: Stack) -> list[Row | Repeat]:
        own, layers = _inside(self.node, name)
        rows: list[Row | Repeat] = []
        side = self.model.get_submodule(name) if name else self.model
        position = dict(side.named_children()).get("position")
        if isinstance(position, Position) and type(position).embed is not Position.embed:
            rows.append(Row("position", self.speller.spelled(own["position"]), "", self._new(position)))
        rows += fold([self._layer(*pair) for pair in zip(stack.blocks, layers, strict=True)], sets_of(stack))
        if stack.norm is not None:
            rows.append(Row("norm", self.speller.spelled(own["norm"]), "", self._new(stack.norm)))
        return rows

    def _layer(self, block: Block, layer: Layer) -> Repeat:
        self.counted |= {id(p) for p in block.parameters()}
        norms = [Row("norm", self._spelled(layer, "norm"), "", _size(m)) for m in _norms(block)]
        each = len(norms) == len(block.roles)
        choices = _choices(self.model, block) if self.explain else {}
        rows: list[Row] = []
        if block.before is not None:
            rows.append(Row("before", block.before.extra_repr(), "", _size(block.before)))
        for place, role in enumerate(block.roles):
            mine = [norms[place]] if each else norms if place == 0 else []
            row = self._part(block, layer, role, choices.get(role, ()))
            rows += [*mine, row] if block.residual.final_norm else [row, *mine]
            if role in block.behind:
                rows.append(Row("behind", role, "", _size(block.behind[role])))
        default = next((o.default for o in option_schemas(type(self.model.options)) if o.name == "residual"), None)
        unusual = layer.options["residual"].name != default
        residual = self._spelled(layer, "residual") if unusual else ""
        return Repeat(1, tuple(rows), layer.block or "", residual)

    def _part(self, block: Block, layer: Layer, role: str, choices: tuple[Choice, ...]) -> Row:
        part: nn.Module = getattr(block, role)
        node: Node = layer.options[role]
        about = part.extra_repr() or self.speller.detail(node)
        about = f"{role}, {about}" if role == "cross" else about
        return Row(node.name, about, heads_of(node), _size(part), choices)

    def _spelled(self, layer: Layer, key: str) -> str:
        return self.speller.spelled(layer.options[key])

    def _new(self, part: nn.Module) -> int:
        """Parameters of a part that stand in no row yet; they do now."""
        fresh = {id(p): p.numel() for p in part.parameters() if id(p) not in self.counted}
        self.counted |= set(fresh)
        return sum(fresh.values())


def _norms(block: Block) -> list[Norm]:
    return [m for m in block.residual.modules() if isinstance(m, Norm)]


def _size(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def fold(layers: Sequence[Repeat], sets: Sequence[Sets]) -> list[Row | Repeat]:
    """Layers with repetitions folded: equal ones, and sequences that recur.

    Args:
        layers: of a stack.
        sets: for each of them, whose weights it uses.
    """
    return _folded(layers, sets, 0, len(layers))


def _folded(layers: Sequence[Repeat], sets: Sequence[Sets], at: int, end: int) -> list[Row | Repeat]:
    found: list[Row | Repeat] = []
    while at < end:
        times, period = max(
            ((_times(layers[:end], at, p), p) for p in range(1, (end - at) // 2 + 1)),
            key=lambda pair: (pair[0] * pair[1] if pair[0] > 1 else 0, -pair[1]), default=(1, 1),
        )  # fmt: skip
        if times == 1:
            period = 1
        weights = told(sets, at, period, times)
        if period == 1:
            found.append(attrs.evolve(layers[at], times=times, weights=weights))
        else:
            found.append(Repeat(times, tuple(_folded(layers, sets, at, at + period)), weights=weights))
        at += period * times
    return found


def _times(layers: Sequence[Repeat], at: int, period: int) -> int:
    times = 1
    while _same(layers[at : at + period], layers[at + period * times : at + period * (times + 1)]):
        times += 1
    return times


def _same(some: Sequence[Repeat], others: Sequence[Repeat]) -> bool:
    return [(r.rows, r.title, r.residual) for r in some] == [(r.rows, r.title, r.residual) for r in others]


def _choices(model: Model, block: Block) -> dict[str, tuple[Choice, ...]]:
    """Which executor each read of a layer's mixers gets."""
    n = block.piece or model.options.length or SHOWN_AT
    x = model.like(1).new_empty(1, n, model.dim)
    axis = Axis(range(n), total=n if block.causal == "none" else None)
    source = Source(x, Axis(range(n), total=n, clock="source"))
    parts = {"mixer": (block.mixer, None), "cross": (block.cross, source)}
    found: dict[str, tuple[Choice, ...]] = {}
    for role, (mixer, other) in parts.items():
        if mixer is not None:
            with model.casting():
                found[role] = _listen(mixer, x, axis, other)
    return found


def _listen(mixer: Mixer, x: Tensor, axis: Axis, source: Source | None) -> tuple[Choice, ...]:
    with recording() as choices, torch.enable_grad():
        mixer(x, axis, None, source)
    return tuple(dict.fromkeys(choices))
