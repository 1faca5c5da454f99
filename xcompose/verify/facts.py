"""What is true of a model before anything runs: counts, growths, layers, reach, lengths. All on the meta device."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from xcompose.compose.parts import Mixer, Output
from xcompose.compose.stack import Block
from xcompose.cost.count import Cost, Parameters, counts, parameters, state_bytes
from xcompose.cost.flow import visible
from xcompose.cost.growths import Growths, growths
from xcompose.spec.model import Node, Spec
from xcompose.verify.subject import Place, place_of

USUAL = 1024
"""The length at which an amount is read where neither the expectation nor the model states one."""
NEAR, FARTHEST = 2048, 8192
"""Lengths of texts whose reach is worked out: quickly, and at most; a pair of positions takes bytes."""
TRIED = (1, 2, 3, 5, 7, 16, 31, 33, 64, 100, 127, 256, 257)


@attrs.frozen(eq=False, slots=False)
class Facts:
    """Facts of a model on the meta device, each worked out when asked for."""

    model: Any
    spec: Spec | None = None
    counted: dict[tuple[int, bool], Cost] = attrs.field(factory=dict, repr=False)

    @functools.cached_property
    def parameters(self) -> Parameters:
        return parameters(self.model)

    @property
    def layers(self) -> int:
        return len(self.model.layers)

    @functools.cached_property
    def growths(self) -> Growths:
        return growths(self.model, self.spec)

    @property
    def node(self) -> Node | None:
        return self.spec.model if self.spec else None

    @property
    def length(self) -> int:
        """Where amounts are read unless an expectation says otherwise."""
        return self.model.options.length or USUAL

    def cost(self, n: int, *, activations: bool = False) -> Cost:
        """Counts at a length.

        Raises:
            ValueError: the model does not take it.
        """
        known = self.counted.get((n, True)) or self.counted.get((n, activations))
        if known is None:
            known = self.counted[n, activations] = counts(self.model, n, activations=activations)
        return known

    def amount(self, kind: str, n: int) -> int:
        """FLOPs of the forward pass (`time`), bytes of activations (`memory`) or of the decode state (`state`)."""
        if kind == "state":
            return state_bytes(self.model, n)
        return self.cost(n, activations=True).activations if kind == "memory" else self.cost(n).forward

    def mixers(self) -> Iterator[tuple[str, Place, Mixer]]:
        """Every outermost mixer of a stack, for each layer: its path in the model, its place in the spec, itself."""
        found: list[str] = []
        for path, module in self.model.named_modules(remove_duplicate=False):
            if any(path.startswith(f"{outer}.") for outer in found):
                continue
            # What an output does with the rows that a stack made is its own affair.
            if isinstance(module, Output):
                found.append(path)
            elif isinstance(module, Mixer):
                found.append(path)
                kind = "cross" if "cross" in path.split(".") else "mixer"
                yield path, place_of(path, kind, module, self.node), module

    def reach_of(self, n: int) -> tuple[int, int, bool]:
        """How many positions of a text of n can reach its last output; of how many; whether positions alone decide it.

        Long texts are traced over their first positions: fewer where one layer sees everything, which it then does at
        any length.
        """
        if n <= NEAR:
            return self.reach(n)[0], n, self.reach(n)[1]
        reached, exact = self.reach(NEAR)
        if reached < NEAR or self._sees_everything():
            return reached, NEAR, exact
        n = min(n, FARTHEST)
        return self.reach(n)[0], n, exact

    def _sees_everything(self) -> bool:
        """Whether the last row reads every row in a single layer."""
        blocks = [block for stack in self.model.decoding() for block in stack.blocks if not block.piece]
        return any(visible(block.mixer, NEAR)[0][-1].all() for block in blocks)

    def reach(self, n: int) -> tuple[int, bool]:
        """How many of n positions can reach the last output, and whether positions alone decide that."""
        assert n <= FARTHEST
        wanted = np.zeros((1, n), dtype=bool)
        wanted[0, -1] = True
        exact = []

        def read(block: Block, n: int) -> np.ndarray:
            matrix, sure = visible(block.mixer, n)
            exact.append(sure)
            return matrix

        return int(self.model.trace(wanted, read).sum()), all(exact)

    def takes(self, n: int) -> bool:
        """Whether the model takes sequences of n."""
        try:
            self.cost(n)
        except ValueError:
            return False
        return True

    @functools.cached_property
    def step(self) -> int:
        """The model takes every length that is a multiple of this: 1 where it takes any."""
        longest = self.model.options.length or TRIED[-1]
        if all(self.takes(n) for n in TRIED if n <= longest):
            return 1
        for step in range(2, longest + 1):
            if self.takes(step) and all(self.takes(step * k) for k in (2, 3, 5) if step * k <= longest):
                return step
        return 0
