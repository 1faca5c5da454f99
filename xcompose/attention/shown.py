"""What an attention shows of its inside to whoever looks: queries, keys, values, and the map of who reads whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from xcompose.attention.kernel import KernelSums
from xcompose.attention.layer import SoftmaxReads
from xcompose.attention.reference import logits_of


def hidden(what: str, inner: SoftmaxReads | KernelSums, *, some_rows: bool) -> str:
    """Why an attention does not show a part of its inside, as `Mixer.hides`.

    Args:
        what: `q`, `k`, `v` or `map`.
        inner: what answers its queries.
        some_rows: whether it answers the queries of some rows only.
    """
    if some_rows and what in ("q", "map"):
        return "it answers some of the rows only"
    if not inner.score.content and what in ("q", "k"):
        return "its score takes no products of queries and keys, so it has none"
    if what in ("k", "v"):
        return "" if inner.reads_keys else "nobody reads the keys and values of its rows"
    return _no_map(inner) if what == "map" else ""


def _no_map(inner: SoftmaxReads | KernelSums) -> str:
    if isinstance(inner, KernelSums):
        return "its score sums over all keys at once, so that no pair of rows has a weight of its own"
    if inner.names:
        return f"it reads slots that are none of the rows, those of {' and '.join(inner.names)}"
    if inner.chooses:
        return "contents choose who reads whom, anew in each call"
    return "rows before the tokens stand among its keys" if inner.prefix else ""


def shown(
    wanted: Collection[str], q: Tensor, k: Tensor, v: Tensor, inner: SoftmaxReads | KernelSums
) -> dict[str, Tensor]:
    """What is wanted, as `Mixer.hides` says, of queries (b n h d), keys (b n g d), values (b n g e), and of what has
    answered these queries."""
    found = {name: t.flatten(2) for name, t in (("q", q), ("k", k), ("v", v)) if name in wanted}
    if "map" in wanted:
        assert isinstance(inner, SoftmaxReads), "a map was looked for where there is none"
        found["map"] = torch.cat([logits_of(read) for (read,) in inner.watched or ()], 1)
    return found


def side_by_side(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The inside of a mixer whose members are groups of its heads."""
    return {
        name: torch.cat([one[name] for one in members], 1 if name == "map" else -1) for name in members[0]
    }  # fmt: skip
