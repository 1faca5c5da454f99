"""Mixers made of mixers: what those that run side by side have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from xcompose.attention.reads import Axis
from xcompose.attention.shown import side_by_side
from xcompose.compose.parts import Mixed, Mixer, Source, Visible


class SideBySide(Mixer):
    """Members that mix the same rows; a subclass says how their rows become one.

    Args:
        dim: model width c.
        members: at least one.
    """

    def __init__(self, dim: int, members: Iterable[Mixer]):
        super().__init__()
        self.dim = dim
        self.of = nn.ModuleList(members)

    @property
    def members(self) -> tuple[Mixer, ...]:
        return tuple(self.of)  # type: ignore[arg-type]

    def hides(self, what: str) -> str:
        return "it joins several mixers, each with an inside of its own"

    @abstractmethod
    def join(self, x: Tensor, mixed: Sequence[Tensor], axis: Axis) -> Tensor:
        """One (b n c) of those of the members; x are the rows they were given, axis says where these stand."""

    def mix(self, x: Tensor, axis: Axis, source: Source | None = None) -> Mixed:
        found = [member(x, axis, None, source) for member in self.members]
        return self._joined(x, found, axis)._replace(state=None)

    def start(self, batch: int, like: Tensor) -> Any:
        return [member.start(batch, like) for member in self.members]

    def extend(self, x: Tensor, axis: Axis, state: Any, source: Source | None = None) -> Mixed:
        pairs = zip(self.members, state, strict=True)
        return self._joined(x, [member(x, axis, old, source) for member, old in pairs], axis)

    def state_shape(self, n: int) -> Mapping[str, tuple[int, ...]]:
        return numbered(member.state_shape(n) for member in self.members)

    def visible(self, n: int) -> tuple[Visible, ...]:
        return tuple(
            found._replace(label=f"{i}: {found.label}") for i, m in enumerate(self.members) for found in m.visible(n)
        )

    def _joined(self, x: Tensor, found: Sequence[Mixed], axis: Axis) -> Mixed:
        return Mixed(
            self.join(x, [one.x for one in found], axis), [one.state for one in found],
            numbered(one.losses for one in found), numbered(one.stats for one in found),
            side_by_side([one.inside for one in found]),
        )  # fmt: skip


def numbered(many: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What several members give by name, under the numbers of the members."""
    return {f"{i}.{name}": value for i, one in enumerate(many) for name, value in one.items()}
