"""What a model reads, and examples of it: tokens of a vocabulary, or rows of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """Tokens (b n), or rows (b n width) of numbers where the embedding reads such."""

    vocab: int
    """Number of tokens v."""
    width: int | None = None
    """Numbers in a row; None for tokens."""

    def fault(self, x: Tensor, name: str = "tokens") -> str | None:
        """Why a model does not read this tensor, called `name`; None where it does."""
        shape = tuple(x.shape)
        if self.width is not None:
            wanted = f"(b n {self.width})"
            right = x.dim() == 3 and shape[2] == self.width
            return None if right else f"this model reads rows of numbers {wanted}, {name} have the shape {shape}"
        if x.dim() != 2:
            return f"{name} have the shape (b n), these have {shape}"
        if x.is_floating_point():
            return f"this model reads tokens, which are whole numbers; these {name} are {x.dtype}"
        return None

    def example(
        self, batch: int, n: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        """Random tokens (b n) int64, or normal numbers (b n width); the same on every device for one generator."""
        first = device if generator is None else generator.device
        if self.width is None:
            drawn = torch.randint(self.vocab, (batch, n), generator=generator, device=first)
        else:
            drawn = torch.randn(batch, n, self.width, generator=generator, device=first)
        return drawn.to(device)

    def other(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """As x, different at every position."""
        drawn = self.example(x.shape[0], x.shape[1], generator, x.device)
        if self.width is not None:
            return x + drawn.to(x) + drawn.to(x).sign()
        return (x + 1 + drawn % max(1, self.vocab - 1)) % self.vocab
