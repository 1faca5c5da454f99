"""Numbers of four bits, two in a byte. Import it only where torchao is there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchao.utils import TorchAOBaseTensor

OFFSET = 8
"""Added to a number from -7 to 7, so that it has no sign."""


class Packed(TorchAOBaseTensor):
    """A weight (o i), i even.

    Args:
        qdata: (o i/2) uint8; the lower half of a byte is the earlier number.
        scale: (o i/group) float32.
        block_size: 1 and the size of a group.
        dtype: that of the weight.
    """

    tensor_data_names = ["qdata", "scale"]
    tensor_attribute_names = ["block_size", "dtype"]

    def __new__(cls, qdata: Tensor, scale: Tensor, block_size: list[int], dtype: torch.dtype) -> Packed:
        shape = (qdata.shape[0], 2 * qdata.shape[1])
        make: Any = torch.Tensor._make_wrapper_subclass  # type: ignore[attr-defined]
        return make(cls, shape, dtype=dtype, device=qdata.device, requires_grad=False)

    def __init__(self, qdata: Tensor, scale: Tensor, block_size: list[int], dtype: torch.dtype):
        super().__init__()
        self.qdata, self.scale, self.block_size = qdata, scale, block_size

    @classmethod
    def of(cls, numbers: Tensor, scale: Tensor, group: int, dtype: torch.dtype) -> Packed:
        """Pack numbers (o i) from -7 to 7."""
        halves = (numbers + OFFSET).to(torch.uint8)
        return cls(halves[:, ::2] | halves[:, 1::2] << 4, scale, [1, group], dtype)

    def numbers(self) -> Tensor:
        """(o i) int8."""
        halves = torch.stack([self.qdata & 15, self.qdata >> 4], -1)
        return halves.flatten(1).to(torch.int8) - OFFSET

    def dequantize(self, output_dtype: torch.dtype | None = None) -> Tensor:
        """The weight (o i) that the numbers mean."""
        numbers = self.numbers().unflatten(1, (-1, self.block_size[1])).to(self.scale.dtype)
        return (numbers * self.scale[..., None]).flatten(1).to(output_dtype or self.dtype)


@Packed.implements(torch.ops.aten.linear.default)
@Packed.implements_torch_function(functional.linear)
def _linear(func: Any, types: Any, args: Any, kwargs: Any) -> Tensor:
    given = dict(zip(("input", "weight", "bias"), args, strict=False)) | (kwargs or {})
    x: Tensor = given["input"]
    return functional.linear(x, given["weight"].dequantize(x.dtype), given.get("bias"))
