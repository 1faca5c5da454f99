"""Which items make which batch: an endless, exactly repeatable sequence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler, Subset

ENDLESS = 2**62
"""The length it claims. Lightning takes a sized loader without reading ahead, which keeps the saved place exact."""


class EndlessBatches(Sampler[list[int]]):
    """Batches of item numbers, epoch after epoch, each epoch in an order of its own.

    Every batch is full: one that an epoch cannot fill goes on with the next epoch. The order depends on `seed` and the
    place alone, so the place is all there is to save.
    """

    def __init__(self, items: int, batch: int, seed: int):
        self.items, self.batch, self.seed = items, batch, seed
        self.given = 0
        """Batches so far."""
        self._epoch, self._order = -1, torch.zeros(0)

    def __len__(self) -> int:
        return ENDLESS

    def __iter__(self) -> Iterator[list[int]]:
        return self

    def __next__(self) -> list[int]:
        start = self.given * self.batch
        self.given += 1
        return [self._at(place) for place in range(start, start + self.batch)]

    def _at(self, place: int) -> int:
        epoch, within = divmod(place, self.items)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(self.items, generator=generator)
        return int(self._order[within])

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.given = state["given"]


def evenly(data: Dataset[Any], items: int) -> Dataset[Any]:
    """So many items of a data set, spread over all of it; the whole set where it has no more."""
    size = len(data)  # type: ignore[arg-type]
    return data if size <= items else Subset(data, [i * size // items for i in range(items)])
