"""Linear layers whose weights are stored as small integers and scales, and those that learn to be.

An integer is `round(w / s)`, half to even, and lies between -M and M, never below; s is the largest |w| of its group
divided by M, so that zero stays zero, nothing is clipped, and both signs are alike. The tensors that hold them are
torchao's, or like them; import torchao before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from xcompose.attention.layer import SoftmaxReads
from xcompose.compose.linear import InPlace, ends_sublayer

MOST = {8: 127, 4: 7}
"""M: by the bits of an integer, the largest."""


@attrs.frozen
class Scheme:
    """How a linear layer is stored."""

    bits: int
    """Of an integer: 8 or 4."""
    group: int | None = None
    """How many weights that follow each other in a row have one scale; None: all of the row."""
    dynamic: bool = False
    """Whether the rows that the layer is given are rounded to int8, too, each with a scale of its own."""

    @property
    def most(self) -> int:
        return MOST[self.bits]


def scales(x: Tensor, most: int, group: int | None = None) -> Tensor:
    """The scale of each group of numbers in (... i): (... i/group). Where all are zero it is 1."""
    largest = x.abs().unflatten(-1, (-1, group or x.shape[-1])).amax(-1)
    scale = largest / most
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def integers(x: Tensor, scale: Tensor, most: int) -> Tensor:
    """Numbers (... i) in units of their scale (... i/group), rounded; still of a floating type."""
    return (x.unflatten(-1, (scale.shape[-1], -1)) / scale[..., None]).round().clamp(-most, most).flatten(-2)


def rounded(x: Tensor, most: int, group: int | None = None) -> Tensor:
    """What is left of numbers (... i) when they are stored."""
    scale = scales(x, most, group)
    return (integers(x, scale, most).unflatten(-1, (scale.shape[-1], -1)) * scale[..., None]).flatten(-2)


class _Through(torch.autograd.Function):
    """Rounds, and lets gradients pass as if it had not: nothing is clipped, so there is nothing to mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, most: int, group: int | None) -> Tensor:
        return rounded(x, most, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient, None, None


def through(x: Tensor, most: int, group: int | None = None) -> Tensor:
    """`rounded`, with the gradient of x itself."""
    return _Through.apply(x, most, group)  # type: ignore[return-value]


def stored(weight: Tensor, scheme: Scheme) -> Tensor:
    """A weight (o i) as integers and scales: a tensor of its shape and type that is made of both."""
    from torchao.quantization import Int8Tensor

    from xcompose.compose.packed import Packed

    group = scheme.group or weight.shape[1]
    precise = weight.detach().float()
    scale = scales(precise, scheme.most, group)
    numbers = integers(precise, scale, scheme.most).to(torch.int8)
    dtype = weight.dtype if weight.dtype != torch.float64 else torch.float32
    if scheme.bits == 4:
        return Packed.of(numbers, scale, group, dtype)
    return Int8Tensor(numbers, scale, [1, group], dtype)


def parts_of(weight: Tensor) -> dict[str, Tensor]:
    """The plain tensors that a stored weight is made of, by name."""
    names, _ = weight.__tensor_flatten__()  # type: ignore[attr-defined]
    return {name: getattr(weight, name) for name in names}


def meant(weight: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """The weight (o i) that a stored one means: exact in double precision, where no product of the two is rounded."""
    from xcompose.compose.packed import Packed

    numbers = weight.numbers() if isinstance(weight, Packed) else parts_of(weight)["qdata"]
    scale = parts_of(weight)["scale"]
    each = numbers.unflatten(1, (scale.shape[1], -1)).to(dtype)
    return (each * scale[..., None].to(dtype)).flatten(1)


class Quantized(InPlace):
    """A linear layer with a stored weight.

    In double precision it is its exact twin, with the weight that the integers mean and, where rows are rounded, with
    rows rounded in double precision: certificates measure there. A twin stays one.

    Args:
        linear: whose weight is rounded, and whose bias is used.
        scheme: how it is stored.
    """

    def __init__(self, linear: nn.Linear, scheme: Scheme):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.scheme, self.exact, self.ends = scheme, False, ends_sublayer(linear)
        self.store(linear.weight)
        self.bias = linear.bias
        self.train(linear.training)
        if linear.weight.dtype == torch.float64:
            self.double()

    def store(self, weight: Tensor) -> None:
        """Round a weight (o i) and keep it in place of the one there is."""
        self.weight = nn.Parameter(stored(weight, self.scheme), requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        if input.is_meta:
            return functional.linear(input, input.new_empty(self.out_features, self.in_features), self.bias)
        if self.exact:
            x = through(input, MOST[8]) if self.scheme.dynamic else input
            return functional.linear(x, self.weight, self.bias)
        if not self.scheme.dynamic:
            return functional.linear(input, self.weight, self.bias)
        numbers, scale = self.weight.qdata, self.weight.scale  # type: ignore[attr-defined]
        y = _Product.apply(input, numbers, scale) if input.requires_grad else product(input, numbers, scale)
        return y if self.bias is None else y + self.bias  # type: ignore[operator]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Quantized:
        if self.exact:
            return super()._apply(fn, recurse)
        weight, self._parameters["weight"] = self.weight, None
        super()._apply(fn, recurse)
        like = fn(torch.empty(0, dtype=weight.dtype, device=weight.device))
        self.exact = like.dtype == torch.float64
        moved = meant(weight).to(like.device) if self.exact else _moved(weight, fn, like)
        self.weight = nn.Parameter(moved, requires_grad=False)
        return self

    def extra_repr(self) -> str:
        each = f", groups of {self.scheme.group}" if self.scheme.group else ""
        rows = ", rows int8" if self.scheme.dynamic else ""
        return f"{self.in_features} → {self.out_features}, int{self.scheme.bits}{each}{rows}"


def _moved(weight: Tensor, fn: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """A stored weight with `fn` applied to its parts; they keep their types, and the weight gets that of `like`."""
    names, facts = weight.__tensor_flatten__()  # type: ignore[attr-defined]
    parts = {name: getattr(weight, name) for name in names}
    applied = {name: fn(part) for name, part in parts.items()}
    kept = {n: new if new.dtype == parts[n].dtype else parts[n].to(new.device) for n, new in applied.items()}
    made: Any = type(weight)
    return made.__tensor_unflatten__(kept, facts | {"dtype": like.dtype}, weight.shape, weight.stride())


def product(x: Tensor, numbers: Tensor, scale: Tensor) -> Tensor:
    """Rows (... i) rounded to int8, times a stored weight (o i), summed as integers: (... o)."""
    rows = x.reshape(-1, x.shape[-1]).float()
    each = scales(rows, MOST[8])
    sums = _summed(integers(rows, each, MOST[8]).to(torch.int8), numbers.t())
    return (sums * each * scale.flatten()).to(x.dtype).reshape(*x.shape[:-1], len(numbers))


def _summed(a: Tensor, b: Tensor) -> Tensor:
    """a b, of int8, as int32."""
    if a.device.type == "cpu":
        return torch.ops.aten._int_mm(a, b)
    from torchao.kernel.intmm import safe_int_mm

    return safe_int_mm(a, b)


class _Product(torch.autograd.Function):
    """`product`, whose gradient is that of rows that were not rounded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, numbers: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(numbers, scale)
        return product(x, numbers, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        numbers, scale = ctx.saved_tensors
        return gradient @ (numbers.to(scale.dtype) * scale).to(gradient.dtype), None, None


class Rounding(InPlace):
    """A linear layer that learns with the weight, and the rows, that it will have when it is stored.

    Scales are those of the weight as it is at each step, so there is nothing to observe, and nothing to freeze.

    Args:
        linear: whose parameters it has.
        scheme: how it will be stored.
    """

    def __init__(self, linear: nn.Linear, scheme: Scheme):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias, self.scheme = linear.weight, linear.bias, scheme
        self.ends = ends_sublayer(linear)
        self.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        x = through(input, MOST[8]) if self.scheme.dynamic else input
        return functional.linear(x, through(self.weight, self.scheme.most, self.scheme.group), self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features} → {self.out_features}, learns as int{self.scheme.bits}"


def quantized(model: nn.Module) -> Iterator[tuple[str, Quantized]]:
    """Every layer with a stored weight, once, by its first path."""
    return ((path, module) for path, module in model.named_modules() if isinstance(module, Quantized))


def choosing(model: nn.Module) -> frozenset[int]:
    """The identities of the linear layers whose rows decide who reads whom: those of queries and keys in an attention
    whose patterns or memories choose by contents. Who rounds them turns decisions."""
    found = set()
    for path, reads in model.named_modules():
        if isinstance(reads, SoftmaxReads) and (reads.chooses or any(memory.chooses for memory in reads.memories)):
            around = model.get_submodule(path.rpartition(".")[0])
            found |= {id(m) for name, m in around.named_children() if name in ("q", "k")}
    return frozenset(found)
