"""Information flow: from which positions something can reach an output, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from torch import nn

from xcompose.compose.parts import Mixer


@attrs.frozen(eq=False)
class Flow:
    """What can reach what in a sequence of n positions."""

    fields: tuple[np.ndarray, ...]
    """After each layer: (n n) bool, entry [i, j] says that row i may depend on token j."""
    exact: bool
    """Whether positions alone decide; otherwise the fields are what may be reached at most."""

    @property
    def reach(self) -> int:
        """How many positions can reach the last output."""
        return int(self.fields[-1][-1].sum())

    @property
    def connected_after(self) -> int | None:
        """The number of layers after which the last output hears from every position; None: never."""
        return next((i for i, field in enumerate(self.fields, start=1) if field[-1].all()), None)

    @property
    def dead(self) -> tuple[int, ...]:
        """Positions that no output of another position ever depends on."""
        field = self.fields[-1] & ~np.eye(len(self.fields[-1]), dtype=bool)
        return tuple(int(j) for j in np.flatnonzero(~field.any(0)))


def visible(mixer: Mixer, n: int) -> tuple[np.ndarray, bool]:
    """Who may read whom in a mixer, all groups of heads together: (n n) bool, and whether that is exact."""
    groups = mixer.visible(n)
    matrix = np.zeros((n, n), dtype=bool)
    for group in groups:
        matrix |= np.asarray(group.matrix, dtype=bool)
    return matrix, all(group.exact for group in groups)


def flow(mixers: Sequence[nn.Module], n: int) -> Flow:
    """The receptive fields of layers with these mixers, in order.

    The residual stream keeps every row's own past. Layers with one mixer object are asked once.
    """
    asked: dict[int, tuple[np.ndarray, bool]] = {}
    field, fields = np.eye(n, dtype=bool), []
    for mixer in mixers:
        assert isinstance(mixer, Mixer)
        if id(mixer) not in asked:
            asked[id(mixer)] = visible(mixer, n)
        field = step(field, asked[id(mixer)][0])
        fields.append(field)
    return Flow(tuple(fields), all(exact for _, exact in asked.values()))


def step(field: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The receptive field (n n) after one more layer that reads by `matrix` (n n)."""
    once = matrix | np.eye(len(matrix), dtype=bool)
    if once.all():
        return np.broadcast_to(field.any(0), field.shape).copy()
    # Counts of paths stay exact in float32 up to 2**24 positions, and a matrix product is the quickest way.
    return (once.astype(np.float32) @ field.astype(np.float32)) > 0
