"""Two streams that update each other, so that a layer's input is found again from its output.

Maths    y1 = x1 + branch_1(norm_1(x2));  y2 = x2 + branch_2(norm_2(y1)), and so on in turns
         backwards: x2 = y2 - branch_2(norm_2(y1));  x1 = y1 - branch_1(norm_1(x2))
         the stack starts with x1 = x2 = x and ends with their mean, or side by side (concat)
Shapes   x1, x2 (b n c);  at the end (b n c), or (b n 2c) with join=concat
Cost     activations of one layer, whatever the depth; every sub-layer is computed twice in training
Limits   one backward pass for each forward pass; compiled or exported it keeps activations as pre-norm does;
         in low precision the inputs found again are not exactly those that were read
Paper    Kitaev et al., Reformer, ICLR 2020, arXiv:2001.04451, s. 3; Gomez et al., The Reversible Residual Network,
         NIPS 2017, arXiv:1707.04585, s. 3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from xcompose.api import Branch, Component, Context, Residual, cast_to, casting, hookimpl, option, options


@options
class ReversibleOptions:
    """Options of the reversible residual."""

    join: Literal["mean", "concat"] = option("mean")
    """What the stack ends with: the mean of both streams, or both side by side."""


class Tape:
    """The streams behind the last layer; in the backward pass behind the layer whose turn it is."""

    def __init__(self) -> None:
        self.depth = 0
        self.streams: tuple[Tensor, Tensor] | None = None

    def push(self, streams: tuple[Tensor, Tensor]) -> int:
        self.streams = streams
        self.depth += 1
        return self.depth

    def pop(self, depth: int) -> tuple[Tensor, Tensor]:
        if self.streams is None or depth != self.depth:
            raise RuntimeError("a reversible stack gives its gradient once, from its end, for each forward pass")
        self.depth -= 1
        return self.streams


class Streams(NamedTuple):
    """What flows between layers."""

    first: Tensor
    second: Tensor
    tape: Tape | None


class Moment:
    """The state of everything random, and of autocasting, so that a branch can be run again as it was."""

    def __init__(self, x: Tensor):
        self.device = x.device
        self.cpu = torch.get_rng_state()
        self.gpu = torch.cuda.get_rng_state(self.device) if x.is_cuda else None
        self.cast = cast_to(x.device)

    def again(self, branch: Branch, norm: nn.Module, x: Tensor) -> tuple[Tensor, Any]:
        with torch.random.fork_rng(devices=[self.device] if self.gpu is not None else []):
            torch.set_rng_state(self.cpu)
            if self.gpu is not None:
                torch.cuda.set_rng_state(self.gpu, self.device)
            with casting(self.device, self.cast):
                return branch(norm(x))


class Step:
    """One layer, as the backward pass needs it."""

    def __init__(self, norms: Sequence[nn.Module], branches: Sequence[Branch], tape: Tape):
        self.norms, self.branches, self.tape = norms, branches, tape
        self.moments: list[Moment] = []
        self.depth = 0
        self.structure: Any = None
        """Of what the branches give beside their rows."""

    def needs(self, index: int) -> list[Tensor]:
        norm = [p for p in self.norms[index].parameters() if p.requires_grad]
        return [*norm, *self.branches[index].needs()]

    def all_needs(self) -> list[Tensor]:
        found = [t for index in range(len(self.branches)) for t in self.needs(index)]
        return list({id(t): t for t in found}.values())


def run(
    norms: Sequence[nn.Module], branches: Sequence[Branch], first: Tensor, second: Tensor, moments: list[Moment] | None
) -> tuple[Tensor, Tensor, list[Any]]:
    """The formula. The stream that is written next always comes first."""
    beside = []
    for norm, branch in zip(norms, branches, strict=True):
        if moments is not None:
            moments.append(Moment(second))
        x, extra = branch(norm(second))
        first, second = second, first + x
        beside.append(extra)
    return first, second, beside


class Reverse(torch.autograd.Function):
    """The formula, keeping nothing: the inputs are found again from the outputs."""

    @staticmethod
    def forward(ctx: Any, step: Step, first: Tensor, second: Tensor, *needs: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        first, second, beside = run(step.norms, step.branches, first, second, step.moments)
        leaves, step.structure = pytree.tree_flatten(beside)
        ctx.mark_non_differentiable(*[t for t in leaves if isinstance(t, Tensor) and not t.is_floating_point()])
        step.depth = step.tape.push((first.detach(), second.detach()))
        ctx.step, ctx.needs = step, needs
        return first, second, *leaves

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        step: Step = ctx.step
        streams, flows = step.tape.pop(step.depth), (gradients[0], gradients[1])
        beside = pytree.tree_unflatten(list(gradients[2:]), step.structure)
        found: dict[int, Tensor] = {}
        for index in reversed(range(len(step.branches))):
            streams, flows = _undo(step, index, streams, flows, beside[index], found)
        step.tape.streams = streams
        return None, *flows, *[found.get(id(t)) for t in ctx.needs]


Pair = tuple[Tensor, Tensor]
Flows = tuple[Tensor | None, Tensor | None]


def _undo(
    step: Step, index: int, streams: Pair, flows: Flows, beside: Any, found: dict[int, Tensor]
) -> tuple[Pair, Flows]:
    """Take one branch back: the streams before it, and the gradients there."""
    read, written = streams
    with torch.enable_grad():
        x = read.detach().requires_grad_()
        out, extra = step.moments[index].again(step.branches[index], step.norms[index], x)
    needs = step.needs(index)
    given = [(out, flows[1]), *zip(pytree.tree_leaves(extra), _leaves(beside), strict=True)]
    asked = [(t, g) for t, g in given if g is not None and isinstance(t, Tensor) and t.requires_grad]
    if asked:
        outs, grads = zip(*asked, strict=True)
        own, *others = torch.autograd.grad(outs, [x, *needs], grads, allow_unused=True)
        flows = (_sum(flows[0], own), flows[1])
        for tensor, grad in zip(needs, others, strict=True):
            if grad is not None:
                found[id(tensor)] = found[id(tensor)] + grad if id(tensor) in found else grad
    return (written - out.detach(), read), (flows[1], flows[0])


def _leaves(tree: Any) -> list[Any]:
    return pytree.tree_leaves(tree, is_leaf=lambda leaf: leaf is None)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b


class Reversible(Residual):
    carry = "two streams"
    recomputes = True

    def __init__(self, options: ReversibleOptions, context: Context):
        super().__init__()
        self.join = options.join
        self.norms = nn.ModuleList(context.norms())

    def enter(self, x: Tensor) -> Streams:
        keeps_nothing = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        return Streams(x, x, Tape() if keeps_nothing else None)

    def leave(self, carry: Streams) -> Tensor:
        if self.join == "concat":
            return torch.cat([carry.first, carry.second], dim=-1)
        return (carry.first + carry.second) / 2

    def width_out(self, dim: int) -> int:
        return 2 * dim if self.join == "concat" else dim

    def forward(self, carry: Streams, branches: Sequence[Branch]) -> tuple[Streams, list[Any]]:
        norms = list(self.norms)
        if carry.tape is None:
            first, second, beside = run(norms, branches, carry.first, carry.second, None)
            return Streams(first, second, None), beside
        step = Step(norms, branches, carry.tape)
        first, second, *leaves = Reverse.apply(step, carry.first, carry.second, *step.all_needs())  # type: ignore[misc]
        return Streams(first, second, carry.tape), pytree.tree_unflatten(leaves, step.structure)


@hookimpl
def components():
    return [
        Component(
            kind="residual", name="reversible", options=ReversibleOptions, build=Reversible, also=("revnet", "reformer")
        )
    ]
