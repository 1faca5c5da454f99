"""What a model costs at a length, counted on the meta device: no memory, and the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from xcompose.compose.inputs import Inputs
from xcompose.compose.model import Model
from xcompose.compose.parts import Mixer
from xcompose.compose.tuned import Tuned
from xcompose.cost.stand_in import counted_tiles

ALIKE = {torch.ops.aten._int_mm: torch.ops.aten.mm}
"""Operators that torch has no formula for, and those that do the same work."""


@attrs.frozen
class Cost:
    """Counts for one sequence."""

    n: int
    forward: int
    """FLOPs of the forward pass; a multiplication with its addition is two."""
    attention: int
    """Of these, those inside mixers and outside their projections."""
    training: int
    """FLOPs of forward and backward; 0 where not asked for."""
    activations: int
    """Bytes kept from the forward to the backward pass; 0 where not asked for."""
    state: int
    """Bytes of the decode state after n tokens; 0 for a model without one."""
    mixers: tuple[tuple[str, int], ...] = ()
    """FLOPs of each mixer outside its projections, by its path in the model."""


@attrs.frozen
class Parameters:
    """Numbers in a model, each counted once."""

    total: int
    trainable: int


def parameters(model: nn.Module) -> Parameters:
    """Count the parameters of a model; shared ones count once."""
    every = list(model.parameters())
    trained = model.trained if isinstance(model, Model) else sum(p.numel() for p in every if p.requires_grad)
    return Parameters(sum(p.numel() for p in every), trained)


def counts(
    model: nn.Module, n: int, *, activations: bool = False, training: bool = False, source: int | None = None,
    inputs: Inputs | None = None,
) -> Cost:  # fmt: skip
    """Count what a model on the meta device does to one sequence of n tokens.

    Args:
        model: on the meta device, in any mode.
        n: length.
        activations: also count what is kept for the backward pass.
        training: also count the backward pass itself.
        source: length of the other sequence, for a model that reads one; if not said n, or the most it takes.
        inputs: what the model reads, for one that does not say so itself.

    Raises:
        ValueError: the model does not take this length.
    """
    reads: Inputs = inputs or model.inputs  # type: ignore[assignment]
    tokens = reads.example(1, n, device="meta")
    more: dict[str, Any] = {}
    if getattr(model, "reads_source", False):
        most = getattr(model, "source_length", None) or n
        more["source"] = reads.example(1, source or min(n, most), device="meta")
    counter = Flops()
    work = _Work(counter)
    kept = _Kept(model)
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(training or activations))
        stack.enter_context(counter)
        stack.enter_context(counted_tiles(counter.spend, lambda: counter.total))
        stack.enter_context(work.watching(model))
        if training or activations:
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(kept.note, lambda packed: packed))
        out = model(tokens, **more)
        forward, attention, mixers = counter.total, work.attention, tuple(work.by_mixer.items())
        if training:
            (out.logits.sum() + sum(out.losses.values())).backward()
            for parameter in model.parameters():
                parameter.grad = None
    return Cost(
        n=n, forward=forward, attention=attention, training=counter.total if training else 0,
        activations=kept.bytes, state=state_bytes(model, n), mixers=mixers,
    )  # fmt: skip


def state_bytes(model: nn.Module, n: int) -> int:
    """Bytes of the decode state of one sequence after n tokens."""
    return model.state_bytes(n)  # type: ignore[operator]


class Flops(TorchDispatchMode):
    """Adds up the FLOPs of every operator that torch, or the executors of attention, have a formula for.

    As torch's own counter, but without its tables by module, which take longer than the model.
    """

    def __init__(self):
        from xcompose.attention.fused import register_flops

        super().__init__()
        register_flops()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nobody compiles a count, and the wrapper that skips the compiler imports it.
        return False

    def spend(self, flops: int) -> None:
        """Add work that no operator shows."""
        self.total += flops

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = flop_registry.get(ALIKE.get(func._overloadpacket, func._overloadpacket))
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


@attrs.define
class _Work:
    """Watches where FLOPs are spent: in which mixer, and how much of that in its projections."""

    counter: Flops
    by_mixer: dict[str, int] = attrs.field(factory=dict)

    @property
    def attention(self) -> int:
        return sum(self.by_mixer.values())

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        handles = []
        for module, paths in _outer_mixers(model).items():
            turns = _Turns(paths)
            handles += self._measure(module, lambda spent, turns=turns: self._spent(turns.over(), spent))
            for inner in _projections(module):
                handles += self._measure(inner, lambda spent, turns=turns: self._spent(turns.now, -spent))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _measure(self, module: nn.Module, spend: Callable[[int], None]) -> list[Any]:
        before: list[int] = []

        def enter(*_: Any) -> None:
            before.append(self.counter.total)

        def leave(*_: Any) -> None:
            spend(self.counter.total - before.pop())

        return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]

    def _spent(self, path: str, spent: int) -> None:
        self.by_mixer[path] = self.by_mixer.get(path, 0) + spent


def _projections(mixer: nn.Module) -> list[nn.Module]:
    """The linear layers that a mixer, or one inside it, applies to its rows."""
    mixers = [module for module in mixer.modules() if isinstance(module, Mixer)]
    return [inner for module in mixers for inner in module.children() if isinstance(inner, nn.Linear | Tuned)]


def _outer_mixers(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Every mixer that is not inside another, and its paths: those of all layers that share it."""
    found: dict[nn.Module, list[str]] = {}
    outer: list[str] = []
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, Mixer) and not any(path.startswith(f"{above}.") for above in outer):
            outer.append(path)
            found.setdefault(module, []).append(path)
    return found


class _Turns:
    """The layers that share a mixer, one after the other as they use it."""

    def __init__(self, paths: Sequence[str]):
        self.paths, self.turn = paths, 0

    @property
    def now(self) -> str:
        return self.paths[self.turn % len(self.paths)]

    def over(self) -> str:
        """The one whose turn it was; then it is that of the next."""
        path = self.now
        self.turn += 1
        return path


class _Kept:
    """Adds up the storages that autograd keeps, each once and without the parameters."""

    def __init__(self, model: nn.Module):
        self.storages: dict[int, Any] = {}
        self.weights = {p.untyped_storage()._cdata for p in [*model.parameters(), *model.buffers()]}

    def note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.weights:
            self.storages[storage._cdata] = storage
        return tensor

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())
