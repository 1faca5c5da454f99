"""Sequences cut from one long run of bytes."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from xcompose.train.corpus import too_short


class Windows(Dataset[Any]):
    """Pieces of `length` bytes that follow each other without a gap, each with the `ahead` bytes behind it.

    Item i is `{"tokens": (length + ahead) int64}`. What is left at the end is not used.

    Raises:
        SpecError: the bytes do not make one piece (XC085).
    """

    def __init__(self, data: Tensor, length: int, *, ahead: int, name: str, part: str):
        if len(data) < length + ahead:
            too_short(name, part, len(data), length + ahead)
        self.data, self.length, self.ahead = data, length, ahead

    def __len__(self) -> int:
        return (len(self.data) - self.ahead) // self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        start = index * self.length
        return {"tokens": self.data[start : start + self.length + self.ahead].long()}
