"""What recurrences are made of: rows of earlier segments, through which no gradient flows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from xcompose.attention.pattern import NEVER
from xcompose.attention.reads import Axis, Slots
from xcompose.attention.segmented import EarlierRows, OwnSegment
from xcompose.compose.parts import Context, Memory, Spans
from xcompose.decode.cache import append, drop, kept
from xcompose.diagnostics import PartError


class CarriedRows(Memory):
    """The rows before a query's segment, detached; the attention projects them anew.

    Args:
        name: of the recurrence, for messages.
        length: tokens in a segment.
        memory: how many rows before the segment its queries may read.
        context: of an attention.
        reach: how many rows and tokens together a query reads at most.

    Raises:
        PartError: an encoder, which has no segments.
    """

    level = "rows"
    still = True

    def __init__(self, name: str, length: int, memory: int, context: Context, reach: int = NEVER):
        super().__init__()
        if context.causal == "none":
            raise PartError(
                f"an encoder cannot use recurrence '{name}'",
                label="it sees the whole sequence at once, so there is nothing to carry",
                fixes=("recurrence: none",),
            )  # fmt: skip
        self.dim = context.dim
        self.pattern = EarlierRows(length, memory, reach)
        self.tokens = OwnSegment(length, reach)

    def spans(self, n: int) -> Spans:
        return Spans(range(n), range(n), range(n))

    def slots(self, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Mapping[str, Tensor]]:
        return self._slots(k.detach(), axis.at), {}

    def start(self, batch: int, k: Tensor, v: Tensor) -> Any:
        return {"x": k, "at": torch.zeros(batch, 0, dtype=torch.long, device=k.device)}

    def extend(self, state: Any, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Any, Mapping[str, Tensor]]:
        rows = append(state, {"x": k.detach()}, axis)
        anew = state["at"].shape[1] == 0 and isinstance(axis.at, range)
        return self._slots(rows["x"], axis.at if anew else rows["at"]), drop(rows, self.pattern.last_reader, axis), {}

    def state_shape(self, n: int, groups: int, width: int, value_width: int) -> Mapping[str, tuple[int, ...]]:
        m = kept(self.pattern, range(n), n)
        return {"x": (m, self.dim), "at": (m,)}

    @staticmethod
    def _slots(x: Tensor, at: range | Tensor) -> Slots:
        rows = rearrange(x, "b n c -> b n 1 c")
        return Slots(rows, rows, at)
