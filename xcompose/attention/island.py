"""Islands of single precision in a model that works in fewer bits.

A number of eight bits plus a small one is the number itself: sums over a sequence, softmax statistics, iterations that
feed on their own result, and choices between scores that lie close together need at least 24 bits. What is between
`with island(q, k) as (q, k):` and its end gets them, whoever switched automatic casts on, and however weights are kept.

On the meta device torch has no automatic casts; there a mode stands for them, so that costs count the right bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

PRODUCTS = frozenset({
    functional.linear, functional.conv1d, functional.conv2d, functional.scaled_dot_product_attention,
    torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.einsum,
})  # fmt: skip
"""What automatic casts do in fewer bits, of that which models use."""


def exact(t: Tensor) -> Tensor:
    """In single precision at least."""
    return t.to(exact_type(t.dtype))


def exact_type(dtype: torch.dtype) -> torch.dtype:
    """What `exact` makes of this type."""
    return torch.promote_types(dtype, torch.float32)


@contextmanager
def island(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Gives the tensors in single precision at least, and does nothing in fewer bits until it ends.

    Args:
        tensors: of floating-point numbers, one at least, all on one device. Weights that are used inside must be given,
            too, or made `exact`.
    """
    with casting(tensors[0].device, None):
        yield tuple(exact(t) for t in tensors)


def casting(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """Products of matrices are computed in this type from here on; None: as their factors are.

    Factors in double precision stay as they are.
    """
    if cast_to(device) == dtype:
        return nullcontext()
    if device.type == "meta":
        return _Casts(dtype)
    # Without the cache of cast weights: what is kept from a part without gradients would give none later.
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None, cache_enabled=False)


def cast_to(device: torch.device) -> torch.dtype | None:
    """What products of matrices are computed in at present; None: as their factors are."""
    if device.type == "meta":
        return _Casts.now
    if not torch.amp.is_autocast_available(device.type) or not torch.is_autocast_enabled(device.type):
        return None
    return torch.get_autocast_dtype(device.type)


class _Casts(TorchFunctionMode):
    """Automatic casts, where there are no data."""

    now: torch.dtype | None = None

    def __init__(self, dtype: torch.dtype | None):
        super().__init__()
        self.dtype = dtype

    def __enter__(self) -> _Casts:
        self.before, _Casts.now = _Casts.now, self.dtype
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        _Casts.now = self.before
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in PRODUCTS and _Casts.now is not None:
            args, kwargs = pytree.tree_map(self._cast, (args, kwargs))
        return func(*args, **kwargs)

    def _cast(self, leaf: Any) -> Any:
        low = isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dtype != torch.float64
        return leaf.to(self.dtype) if low else leaf
