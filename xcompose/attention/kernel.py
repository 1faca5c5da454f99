"""Kernel attention: sums over keys in place of the softmax, in chunks, with a state that does not grow.

    o_i = sum_j (T phi(q_i)) (T phi(k_j)) v_j / sum_j phi(q_i) phi(k_j)

T is the turn of a position, in the numerator only: turned features may be negative, and a divisor must not cross zero.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from xcompose.attention.algebra import Everything
from xcompose.attention.explain import report
from xcompose.attention.island import island
from xcompose.attention.layer import Answer, Remembered, declared
from xcompose.attention.reads import Axis, Score
from xcompose.attention.scaled import ScaledSums, padded, scan_scaled, total_scaled
from xcompose.compose.parts import Position, View, Visible

CHUNK = 128
"""Rows that are answered at once: quadratic inside a chunk, linear between chunks."""


class Features(NamedTuple):
    """Features of queries or keys, (b n h r)."""

    turned: Tensor
    """For the numerator."""
    plain: Tensor
    """For the denominator."""


class Sums(NamedTuple):
    """What the keys so far add up to."""

    s: Tensor
    """(b g r e) keys times values, turned"""
    z: Tensor
    """(b g r) keys, plain"""


def scan(q: Features, k: Features, v: Tensor, before: Sums, chunk: int = CHUNK) -> tuple[Tensor, Sums]:
    """Answer every query from the keys before it and its own.

    Time O(n r e + n chunk (r + e)), memory O(n (r + e + chunk) + n r e / chunk); exact for any chunk.

    Args:
        q: features (b n h r).
        k: features (b n g r) of the same rows; zero where a row does not count.
        v: (b n g e).
        before: sums over the keys of earlier calls.

    Returns:
        (b n h e), 0 where the denominator is 0; and the sums with these keys.
    """
    n, groups = v.shape[1], v.shape[2]
    size = min(chunk, n)
    above = rearrange(q.turned, "b n (g j) r -> b n g j r", g=groups)
    queries = rearrange(padded(above, size), "b (t c) g j r -> b t g (j c) r", c=size)
    keys = rearrange(padded(k.turned, size), "b (t c) g r -> b t g c r", c=size)
    values = rearrange(padded(v, size), "b (t c) g e -> b t g c e", c=size)
    added = torch.cat([before.s[:, None], keys.transpose(-1, -2) @ values], 1).cumsum(1)
    past = torch.ones(size, size, dtype=torch.bool, device=v.device).tril().repeat(above.shape[3], 1)
    weights = (queries @ keys.transpose(-1, -2)) * past
    numerator = rearrange(
        weights @ values + queries @ added[:, :-1], "b t g (j c) e -> b (t c) (g j) e", c=size
    )[:, :n]  # fmt: skip
    z = before.z[:, None] + k.plain.cumsum(1)
    return ratio(numerator, q.plain, z), Sums(added[:, -1], z[:, -1])


def whole(q: Features, sums: Sums) -> Tensor:
    """Answer queries (b n h r) from sums alone."""
    turned = rearrange(q.turned, "b n (g j) r -> b n g j r", g=sums.s.shape[1])
    numerator = einsum(turned, sums.s, "b n g j r, b g r e -> b n g j e")
    return ratio(rearrange(numerator, "b n g j e -> b n (g j) e"), q.plain, sums.z[:, None])


def total(k: Features, v: Tensor) -> Sums:
    """Sums over all rows."""
    return Sums(einsum(k.turned, v, "b n g r, b n g e -> b g r e"), k.plain.sum(1))


def ratio(numerator: Tensor, q: Tensor, z: Tensor) -> Tensor:
    """Numerators (b n h e) over q z; where nothing was read both are 0, and so is the answer.

    Args:
        numerator: (b n h e)
        q: (b n h r)
        z: (b n g r) or (b 1 g r)
    """
    asked = rearrange(q, "b n (g j) r -> b n g j r", g=z.shape[2])
    divisor = rearrange((asked * z[:, :, :, None]).sum(-1), "b n g j -> b n (g j) 1")
    return numerator / torch.where(divisor == 0, 1.0, divisor)


class KernelSums(nn.Module):
    """The inside of an attention whose score is a kernel.

    Features and sums are in single precision at least, since small additions to large sums vanish in half precision.

    Args:
        score: gives the features.
        position: turns the features of the numerator.
        shape: key/value heads g, key width d, value width e.
        heads: h.
    """

    def __init__(self, score: Score, position: Position, shape: tuple[int, int, int], heads: int, *, causal: bool):
        super().__init__()
        self.score, self.position, self.shape, self.heads, self.causal = score, position, shape, heads, causal

    @property
    def learned(self) -> bool:
        """Whether features are known for whole sequences only."""
        return self.score.whole

    @property
    def reads_keys(self) -> bool:
        """Whether anybody reads keys and values of the rows."""
        return True

    @property
    def serves_some(self) -> bool:
        """Whether queries may be those of some rows only; a scan over time wants every one."""
        return not self.causal

    def mix(self, q: Tensor, k: Tensor, v: Tensor, view: View, axis: Axis, asking: Axis | None = None) -> Answer:
        """A whole sequence: queries (b n h d), keys (b n g d), values (b n g e).

        Args:
            asking: of the queries, where they belong to some of the rows only.
        """
        if not torch.compiler.is_compiling():
            how = f"from the keys before each query, {CHUNK} rows at a time" if self.causal else "over all keys, once"
            report("tokens", "sums", how)
        if not self.causal:
            sums, losses = self.remember(k, v, view, axis)
            return self.recall(q, asking or axis, sums)._replace(losses=losses)
        return self.extend(q, k, v, view, axis, self.start(q.shape[0], q))._replace(state=None)

    def start(self, batch: int, like: Tensor) -> Any:
        g, d, e = self.shape
        with island(like) as (wide,):
            features, scale = self._features(wide.new_zeros(1, 1, g, d), Axis(range(1)), "key")
        r = features.plain.shape[-1]
        state = {"s": wide.new_zeros(batch, g, r, e), "z": wide.new_zeros(batch, g, r)}
        return state if scale is None else {**state, "m": wide.new_full((batch, g), -torch.inf)}

    def extend(
        self, q: Tensor, k: Tensor, v: Tensor, view: View, axis: Axis, state: Any, asking: Axis | None = None
    ) -> Answer:
        """Rows that continue a state, all of which ask; arguments as for `mix`."""
        with island(q, k, v) as (asks, k, values):
            asked, _ = self._features(asks, axis, "query")
            keys, logs = self._features(k, axis, "key")
            if logs is None:
                y, sums = scan(asked, keys, values, Sums(**state))
            else:
                y, sums = scan_scaled(asked, keys, logs, values, ScaledSums(**state), CHUNK)
        return Answer(y.to(v.dtype), sums._asdict())

    def remember(self, k: Tensor, v: Tensor, view: View, axis: Axis) -> Remembered:
        """The sums over a whole sequence, as a state that queries may `recall` again and again."""
        with island(k, v) as (k, values):
            keys, logs = self._features(k, axis, "key")
            sums = total(keys, values) if logs is None else Sums(*total_scaled(keys, logs, values))
            return sums._asdict(), {}

    def recall(self, q: Tensor, axis: Axis, memo: Any) -> Answer:
        """Answer queries from the sums that were remembered."""
        with island(q) as (asks,):
            return Answer(whole(self._features(asks, axis, "query")[0], Sums(**memo)).to(q.dtype))

    def state_shape(self, n: int) -> dict[str, tuple[int, ...]]:
        state = self.start(1, torch.zeros(0, device="meta"))
        return {name: tuple(t.shape[1:]) for name, t in state.items()}

    def visible(self, n: int) -> tuple[Visible, ...]:
        return (declared(Everything(), (), n, self.causal, slice(0, self.heads)),)

    def _features(self, t: Tensor, axis: Axis, side: Literal["query", "key"]) -> tuple[Features, Tensor | None]:
        """Features, and log-scales (b n g) of keys that have some; -inf where a row does not count.

        A query's own scale stands above and below the line, so it is left out.
        """
        if self.score.whole:
            features, logs = self.score.features_among(t, side, axis.valid), None
        else:
            features, logs = self.score.features(t, side)
        logs = logs if side == "key" else None
        if side == "key" and axis.valid is not None:
            features = features * axis.valid[..., None, None]
            logs = None if logs is None else logs.masked_fill(~axis.valid[..., None], -torch.inf)
        return Features(self.position.turn(features, axis.positions(t.device), side), features), logs
