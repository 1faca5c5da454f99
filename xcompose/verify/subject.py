"""What a certificate works on: a model that can be built again and again, its parts, and where the spec says them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from xcompose.attention.reads import Axis
from xcompose.compose.inputs import Inputs
from xcompose.compose.parts import FFN, Causal, Embedding, Mixer, Norm, Output, Source
from xcompose.compose.quantized import quantized
from xcompose.compose.stack import Block
from xcompose.diagnostics import Diagnostic, Note, Span
from xcompose.spec.model import Node, Section

KINDS = {Mixer: "mixer", FFN: "ffn", Norm: "norm", Embedding: "embedding", Output: "output"}
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)(?:\.|$)")
Dtype = torch.dtype


@attrs.frozen
class Place:
    """Where the spec says a part of the model, and what it is called there."""

    kind: str
    name: str
    """The plugin: `attention`."""
    layer: int | None = None
    stack: str = ""
    """The name of the section that holds it: `encoder`; empty where a model has one stack."""
    path: str = ""
    span: Span | None = None
    key: Any = None
    """Equal for parts that are built from equal options: one of them speaks for all."""
    node: Node | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def title(self) -> str:
        """`layer 3: mixer 'attention'`."""
        part = f"{self.kind} '{self.name}'"
        if self.layer is None:
            return part
        return f"{self.stack + ' ' if self.stack else ''}layer {self.layer}: {part}"


@attrs.frozen(eq=False)
class Part:
    """One part of a built model that a certificate can measure by itself."""

    module: nn.Module
    at: str
    """Its path in the model, as in a state dict."""
    place: Place
    causal: bool
    """Whether it owes that no output sees a later row."""
    dim: int
    """Width of the rows that it gets."""
    cross: bool = False
    """Whether it reads another sequence."""
    prefix: int = 0
    """How many rows before the tokens it gets, too."""


@attrs.frozen(eq=False)
class Subject:
    """A model under test.

    Nothing is known of the model but `forward(tokens, *, mask, state, source, source_mask) -> ModelOut`,
    `start(batch)`, `state_bytes(n)`, `trace(wanted, read)`, and which parts it has.
    """

    build: Callable[[int], nn.Module]
    """A fresh model from a seed."""
    n: int
    """Length of the sequences to measure with."""
    vocab: int
    causal: Causal
    dim: int
    name: str = ""
    """The spec: `chat@tiny`."""
    again: str = ""
    """The command that measures the same again."""
    node: Node | None = None
    """The model's node in the spec, for the places."""
    source: int = 0
    """Length of the other sequence; 0 where the model has none."""
    width: int | None = None
    """Numbers in a row of what the model reads; None: it reads tokens."""
    prefix: int = 0
    """How many rows the model puts before its tokens."""
    quiet: Callable[[int], nn.Module] | None = None
    """As `build`, without dropout; None where there is none."""
    far: int = 0
    """A longer length that the model takes, for what many rows show; 0: none."""
    low: bool = False
    """Whether the spec asks for fewer bits than single precision has."""
    cache: dict[Any, Any] = attrs.field(factory=dict, repr=False)

    def model(self, dtype: Dtype = torch.float64) -> nn.Module:
        """The model with weights drawn anew, in eval mode, built once."""
        if dtype not in self.cache:
            self.cache[dtype] = self.build_redrawn().to(dtype).eval()
        return self.cache[dtype]

    def build_redrawn(self) -> nn.Module:
        """The model with weights drawn anew, as `model` has them, built each time."""
        model = self.build(0)
        redraw(model, seed=1)
        return model

    def learning(self) -> nn.Module:
        """The model with weights drawn anew, as it trains: without dropout, in double precision; built each time."""
        model = (self.quiet or self.build)(0)
        redraw(model, seed=1)
        return model.double().train()

    def parts(self, dtype: Dtype = torch.float64) -> tuple[Part, ...]:
        """The parts of `model(dtype)`, from first to last; of several with equal options the first."""
        key = ("parts", dtype)
        if key not in self.cache:
            self.cache[key] = self.parts_in(self.model(dtype))
        return self.cache[key]

    def parts_in(self, model: nn.Module) -> tuple[Part, ...]:
        """The parts of a model that was built of this subject, of several with equal options the first."""
        return tuple(_distinct(parts_of(model, self)))

    @property
    def inputs(self) -> Inputs:
        """What the model reads."""
        return Inputs(self.vocab, self.width)

    @property
    def elsewhere(self) -> int:
        """Length of the sequence that a cross mixer reads, in a model or in a part of it."""
        return self.source or self.n + 4

    def tokens(self, batch: int, seed: int, n: int | None = None) -> Tensor:
        """(b n) random tokens, or (b n width) random numbers where the model reads such."""
        return self.inputs.example(batch, n or self.n, torch.Generator().manual_seed(seed))

    def replaced(self, tokens: Tensor, seed: int) -> Tensor:
        """Others than these at every position."""
        return self.inputs.other(tokens, torch.Generator().manual_seed(seed))

    def call(self, model: nn.Module, tokens: Tensor, **more: Any) -> Any:
        """Run the model on tokens; a model with two stacks gets the same other sequence every time."""
        if self.source:
            more = {"source": self.other(tokens.shape[0]), **more}
        return model(tokens, **more)

    def start(self, batch: int, dtype: Dtype = torch.float64) -> Any:
        """The state of `model(dtype)` before the first token; a model with two stacks has read its other sequence."""
        model: Any = self.model(dtype)
        if not self.source:
            return model.start(batch)
        return model.start(batch, self.other(batch))

    def other(self, batch: int) -> Tensor:
        """(b m ...) what the other sequence holds, the same in every row and every call."""
        one = self.tokens(1, 77, self.source)
        return one.expand(batch, *one.shape[1:]).contiguous()

    def finding(
        self, code: str, message: str, place: Place | None, label: str, *, measured: str = "", hint: str = "",
        stage: str = "contracts",
    ) -> Diagnostic:  # fmt: skip
        """A finding about a part (or, without a place, about the whole model)."""
        said = {"measured": measured, "hint": hint, "again": self.again}
        texts = [f"{word}: {text}" for word, text in said.items() if text]
        span = place.span if place else self.node.span if self.node else None
        path = place.path if place else self.node.path if self.node else ""
        return Diagnostic(
            code=code, message=message, span=span, label=label, path=path, stage=stage,
            notes=tuple(Note(text) for text in texts), spec=self.name,
        )  # fmt: skip


def redraw(model: nn.Module, seed: int) -> None:
    """Give every parameter random values, so that a part that starts at zero cannot hide what it does."""
    generator = torch.Generator().manual_seed(seed)
    stored = {id(layer.weight): layer for _, layer in quantized(model)}
    with torch.no_grad():
        for parameter in tuple(model.parameters()):
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            many = parameter.dim() > 1
            drawn = noise / noise[0].numel() ** 0.5 if many else parameter.double() + 0.1 * noise
            if id(parameter) in stored:
                stored[id(parameter)].store(drawn.to(parameter.dtype))
            else:
                parameter.copy_(drawn.to(parameter))


def parts_of(model: nn.Module, subject: Subject) -> Iterator[Part]:
    """Every mixer, cross mixer, ffn, norm, embedding and output of a model that is used, and the mixers inside mixers;
    no other parts inside them."""
    places: dict[str, Place] = {}
    blocks = [(path, module) for path, module in model.named_modules() if isinstance(module, Block)]
    looking_ahead = [path for path, block in blocks if block.causal == "none"]
    widths = _widths(model, subject)
    for path, module in model.named_modules():
        kind = next((name for kind, name in KINDS.items() if isinstance(module, kind)), None)
        outer = next((p for p in reversed(places) if path.startswith(f"{p}.")), None)
        if kind is None or module not in widths or (outer is not None and kind != "mixer"):
            continue
        cross = kind == "mixer" and "cross" in path.split(".")
        if outer is None:
            place = place_of(path, "cross" if cross else kind, module, subject.node)
        else:
            before = [p for p in places if p.startswith(f"{outer}.")]
            place = _inside(places[outer], len(before), module, "cross" if cross else "mixer")
        places[path] = place
        causal = subject.causal != "none" and not any(path.startswith(f"{around}.") for around in looking_ahead)
        prefix = subject.prefix if kind == "mixer" and place.layer is not None and not cross else 0
        yield Part(module, path, place, causal=causal, dim=widths[module], cross=cross, prefix=prefix)


def outermost(parts: Iterable[Part]) -> list[Part]:
    """Those that are not inside another."""
    parts = list(parts)
    return [p for p in parts if not any(p.at.startswith(f"{other.at}.") for other in parts)]


def blame(parts: Iterable[Part], find: Callable[[Part], Diagnostic | None]) -> list[Diagnostic]:
    """What `find` finds about parts; of parts inside each other the innermost is to blame."""
    found: dict[str, Diagnostic] = {}
    order = list(parts)
    for part in sorted(order, key=lambda p: -p.at.count(".")):
        if any(at.startswith(f"{part.at}.") for at in found):
            continue
        finding = find(part)
        if finding is not None:
            found[part.at] = finding
    return [found[part.at] for part in order if part.at in found]


def to_blame(findings: Sequence[Diagnostic], subject: Subject) -> list[Diagnostic]:
    """Without errors about the whole model where there is one about a part: what a part does wrong shows in the model,
    and to mend it comes first."""
    whole = subject.node.path if subject.node else ""
    parts = any(found.severity == "error" and found.path not in ("", whole) for found in findings)
    return [found for found in findings if not parts or found.path != whole or found.severity != "error"]


def _inside(outer: Place, number: int, module: nn.Module, kind: str) -> Place:
    """The place of the mixer with this number inside a part; of more mixers than are written, that of the last."""
    inner = list(_mixers(outer.node.options)) if outer.node else []
    if not inner:
        return attrs.evolve(outer, kind=kind, name=type(module).__name__, key=(outer.key, number))
    node = inner[min(number, len(inner) - 1)]
    key = (kind, outer.stack, node) if number < len(inner) else (outer.key, number)
    return attrs.evolve(outer, kind=kind, name=node.name, path=node.path, span=node.span, key=key, node=node)


def _mixers(value: Any) -> Iterator[Node]:
    """The nearest mixers in a tree of options, also those inside memories and the like."""
    for node in _components(value):
        if node.kind == "mixer":
            yield node
        else:
            yield from _mixers(node.options)


def _components(value: Any) -> Iterator[Node]:
    """The nearest components in a tree of options."""
    if isinstance(value, Node):
        yield value
    elif isinstance(value, Mapping | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _components(item)


def memory_place(outer: Place, number: int) -> Place:
    """The place of the memory or recurrence with this number in a mixer; the mixer's own where the spec says none."""
    nodes = [n for n in _components(outer.node.options) if n.kind in ("memory", "recurrence")] if outer.node else []
    if number >= len(nodes):
        return outer
    node = nodes[number]
    return attrs.evolve(outer, kind=node.kind, name=node.name, path=node.path, span=node.span, node=node)


def _widths(model: nn.Module, subject: Subject) -> dict[nn.Module, int]:
    """The width of the first input of every module that runs."""
    widths: dict[nn.Module, int] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            widths[module] = inputs[0].shape[-1]

    handles = [module.register_forward_pre_hook(note) for module in model.modules()]
    try:
        with torch.no_grad():
            subject.call(model, subject.tokens(1, 5))
    finally:
        for handle in handles:
            handle.remove()
    return widths


def place_of(path: str, kind: str, module: nn.Module, model: Node | None) -> Place:
    """Where the spec says the module at this path of the model."""
    found = _LAYER.search(path)
    sections = [name for name, value in (model.options if model else {}).items() if isinstance(value, Section)]
    stack = next((name for name in path.split(".") if name in sections), "")
    layer = int(found[1]) if found else None
    node = _node(model, stack, layer, kind)
    name = node.name if node else type(module).__name__
    if node is None:
        return Place(kind, name, layer, stack, key=path)
    key = (kind, stack, node)
    return Place(kind, name, layer, stack, node.path, node.span, key, node)


def _node(model: Node | None, stack: str, layer: int | None, kind: str) -> Node | None:
    if model is None:
        return None
    options: Mapping[str, Any] = model.options
    if stack and isinstance(section := options.get(stack), Section):
        options = section.options
    if layer is not None:
        options = options["layers"][layer].options
    node = options.get(kind, model.options.get(kind))
    return node if isinstance(node, Node) else None


def _distinct(parts: Iterator[Part]) -> Iterator[Part]:
    seen: list[Any] = []
    for part in parts:
        if part.place.key not in seen:
            seen.append(part.place.key)
            yield part


def rows(part: Part, n: int, seed: int, dtype: Dtype, *, batch: int = 1) -> Tensor:
    """(b n c) random rows for a part; more of them where it gets rows before the tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, part.prefix + n, part.dim, generator=generator, dtype=torch.float64).to(dtype)


def axis_of(part: Part, n: int) -> Axis:
    """The axis of n tokens as the model would give it: an encoder sees the length, a decoder does not."""
    return Axis(at=range(-part.prefix, n), total=None if part.causal else n)


def source_of(part: Part, batch: int, m: int, dtype: Dtype) -> Source | None:
    """The other sequence of a cross mixer, the same for every sequence of the batch."""
    if not part.cross:
        return None
    x = rows(part, m, 78, dtype).expand(batch, -1, -1)
    return Source(x.contiguous(), Axis(at=range(m), total=m, clock="source"))


def alone(part: Part, n: int, m: int = 0) -> Callable[[Tensor], Tensor]:
    """The part as a function of rows (b n c)."""
    module = part.module

    def run(x: Tensor) -> Tensor:
        if isinstance(module, Mixer):
            return module(x, axis_of(part, n), None, source_of(part, x.shape[0], m, x.dtype)).x
        if isinstance(module, Output):
            return module(x, axis_of(part, n))
        return module(x)

    return run
