"""How many pairs each set of keys has: counted from mixers as a spec writes them, against published closed forms.

Every form is per head. q and r are quotient and remainder of n by the size of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

import xcompose as xc
from xcompose.attention.counts import pairs, slot_pairs
from xcompose.compose.combine import SideBySide

LENGTHS = (12, 17, 24, 29, 36, 40)


def counted(mixer: str, n: int, causal: bool, heads: int = 2, prefix: int = 0, **model: Any) -> list[int]:
    """Pairs of each head: with the tokens, and with the slots of every memory."""
    plain = {
        "type": "decoder" if causal else "encoder", "dim": 4 * heads, "heads": heads, "vocab": 7, "layers": 1,
        "mixer": mixer, "position": "none", **model,
    }  # fmt: skip
    built = xc.build({"xcompose": 1, "model": plain}, device="meta")
    return reads(built.layers[0].mixer, n, causal, prefix)


def reads(mixer: Any, n: int, causal: bool, prefix: int = 0) -> list[int]:
    """The same for a built mixer; members of a mixer of mixers follow each other."""
    if isinstance(mixer, SideBySide):
        return [count for member in mixer.members for count in reads(member, n, causal, prefix)]
    found = []
    slots = sum(slot_pairs(m.pattern, m.spans(n), n, causal) for m in mixer.inner.memories)
    for group in mixer.inner.groups:
        heads = group.heads.stop - group.heads.start
        found += [pairs(group.pattern.present(), n, causal, prefix) + slots] * heads
    return found


def attention(pattern: str, memory: str | None = None) -> str:
    return f"attention(pattern={pattern}{f', memory={memory}' if memory else ''}, silence=zero)"


def blocks(n: int, b: int) -> int:
    q, r = divmod(n, b)
    return q * b * (b + 1) // 2 + r * (r + 1) // 2


def residue(n: int, s: int) -> int:
    q, r = divmod(n, s)
    return s * q * (q + 1) // 2 + r * (q + 1)


def band(n: int, w: int, d: int = 1) -> int:
    """w keys before the query and itself."""
    return n * (w + 1) - d * w * (w + 1) // 2


def summary(n: int, size: int, last: int) -> int:
    q = n // size
    return size * last * q * (q - 1) // 2 + q * last * (last + 1) // 2


def compressed(n: int, k: int) -> int:
    q = n // k
    return k * q * (q - 1) // 2 + q


ANY: Mapping[str, tuple[str, bool, Callable[[int], int]]] = {
    "full": (attention("dense"), False, lambda n: n * n),
    "full, causal": (attention("dense"), True, lambda n: n * (n + 1) // 2),
    **{
        f"blocks of {b}": (attention(f"blocks({b})"), False, lambda n, b=b: n // b * b * b + (n % b) ** 2)
        for b in (1, 4, 5, 7, 50)
    },
    **{
        f"blocks of {b}, causal": (attention(f"blocks({b})"), True, lambda n, b=b: blocks(n, b))
        for b in (1, 4, 5, 7, 50)
    },
    **{
        f"window of {w} by {d}": (
            attention(f"window({w}, dilation={d})"), False, lambda n, w=w, d=d: n * (2 * w + 1) - d * w * (w + 1)
        )
        for w, d in ((0, 1), (3, 1), (5, 2), (4, 3))
    },
    **{
        f"window of {w} by {d}, causal": (
            attention(f"window({w}, dilation={d})"), True, lambda n, w=w, d=d: band(n, w, d)
        )
        for w, d in ((0, 1), (3, 1), (5, 2), (4, 3))
    },
    **{f"strided {s}": (attention(f"strided({s})"), True, lambda n, s=s: residue(n, s)) for s in (1, 3, 4, 7)},
    **{
        f"band of {s} and strided {s}, the paper's": (
            attention(f"window({s}) | strided({s})"), True, lambda n, s=s: band(n, s) + residue(n, s) - (2 * n - s)
        )
        for s in (2, 3, 4, 7)
    },
    **{
        f"band of {s} and strided {s}, the code's": (
            attention(f"window({s - 1}) | strided({s})"), True,
            lambda n, s=s: n * s - s * (s - 1) // 2 + residue(n, s) - n,
        )
        for s in (2, 3, 4, 7)
    },
    **{
        f"{kind} of {k}": (attention("none", f"{kind}({k})"), False, lambda n, k=k: n * -(-n // k))
        for kind in ("conv", "pool") for k in (1, 3, 4)
    },
    **{
        f"conv of {k} and a null slot": (
            attention("none", f"conv({k}, null=zero)"), False, lambda n, k=k: n * -(-n // k) + n
        )
        for k in (1, 3, 4)
    },
    **{
        f"{r} inducing points, the half that reads them": (
            attention("none", f"inducing({r})"), False, lambda n, r=r: n * r
        )
        for r in (1, 5)
    },
    **{
        f"a span of {s}": (
            attention(f"adaptive-span({s}, start=1)"), True, lambda n, s=s: sum(min(i, s) for i in range(n))
        )
        for s in (1, 6, 50)
    },
    **{
        f"window of {w} and {g} that read and are read": (
            attention(f"window({w}) | global(first={g})"), False,
            lambda n, w=w, g=g: n * (2 * w + 1) - w * (w + 1) + 2 * n * g - g * g - sum(
                1 for i in range(n) for j in range(n) if abs(i - j) <= w and min(i, j) < g
            ),
        )
        for w, g in ((1, 1), (2, 3), (3, 5))
    },
}  # fmt: skip


@pytest.mark.parametrize("form", ANY)
def test_at_any_length(form):
    mixer, causal, wanted = ANY[form]

    for n in LENGTHS:
        assert counted(mixer, n, causal) == [wanted(n)] * 2


@pytest.mark.parametrize("q", [2, 3, 5])
@pytest.mark.parametrize("size", [2, 4, 7])
def test_at_whole_blocks(size, q):
    n = size * q

    assert (
        counted(attention(f"blocks({size}, back=1)"), n, True) == [q * size * (size + 1) // 2 + (q - 1) * size**2] * 2
    )
    assert counted(attention("none", f"conv({size})"), n, True) == [compressed(n, size)] * 2
    assert counted(attention("none", f"conv({size}, null=zero)"), n, True) == [compressed(n, size) + n] * 2
    before = f"conv({size}, pattern=dense - window(0))"
    assert counted(attention("none", before), n, True) == [size * q * (q - 1) // 2] * 2
    assert counted(attention("global(first=1)", before), n, True) == [size * q * (q - 1) // 2 + n] * 2
    for last in range(1, size + 1):
        assert counted(attention(f"summary({size}, last={last})"), n, True) == [summary(n, size, last)] * 2
        merged = q * size * (size + 1) // 2 + size * last * q * (q - 1) // 2
        assert counted(attention(f"blocks({size}) | summary({size}, last={last})"), n, True) == [merged] * 2


@pytest.mark.parametrize(("block", "memory"), [((2, 3), (1, 2)), ((4, 4), (2, 1)), ((1, 4), (3, 3))])
def test_a_block_inside_a_grid(block, memory):
    """What is left when the blocks around one are taken away: five by five blocks, of which the middle one counts."""
    (h_q, w_q), (h_m, w_m) = block, memory
    high, wide = 5 * h_q, 5 * w_q
    grid = {"grid": [high, wide], "grid_block": list(block)}
    pattern = f"local([{h_q}, {w_q}], memory=[{h_m}, {w_m}])"
    size, first = h_q * w_q, 12 * h_q * w_q

    upto = [counted(attention(pattern), n, True, **grid)[0] for n in (first, first + size)]

    above = min(h_m, 2 * h_q) * (min(w_m, 2 * w_q) * 2 + w_q)
    assert upto[1] - upto[0] == size * (size + 1) // 2 + size * (above + h_q * min(w_m, 2 * w_q))


@pytest.mark.parametrize(("high", "wide"), [(3, 5), (6, 4), (1, 7)])
def test_lines_of_a_grid(high, wide):
    n, grid = high * wide, {"grid": [high, wide]}
    column, row = attention("axis(0)"), attention("axis(1)")

    assert counted(column, n, False, **grid) == [n * high] * 2
    assert counted(row, n, False, **grid) == [n * wide] * 2
    assert sum(counted(f"sum({column}, {row})", n, False, **grid)) == 2 * n * (high + wide)
    assert counted(attention("axis(0) | axis(1)"), n, False, **grid) == [n * (high + wide - 1)] * 2
    assert counted(column, n, True, **grid) == [n * (high + 1) // 2] * 2
    assert counted(row, n, True, **grid) == [n * (wide + 1) // 2] * 2


@pytest.mark.parametrize(("g", "radius"), [(1, 1), (3, 4), (5, 2)])
def test_a_prefix_and_a_band(g, radius):
    for n in (13, 24):
        wanted = g * g + 2 * g * n + n * (2 * radius + 1) - radius * (radius + 1)
        model = {"embedding": f"tokens(prefix={g})", "prefix": g}
        assert counted(attention(f"window({radius}) | prefix"), n, False, **model) == [wanted] * 2


@pytest.mark.parametrize("draws", [1, 2, 3])
@pytest.mark.parametrize("b", [1, 3])
def test_blocks_that_draw_others(b, draws):
    pattern = f"blocks({b}, back=1, ahead=1) | global(first={b}, last={b}) | random-blocks({draws}, block={b})"
    for count in (5 + draws, 12, 17):
        wanted = b * b * (2 * count + 2 * (4 + draws) + (count - 4) * (5 + draws))
        assert counted(attention(pattern), b * count, False) == [wanted] * 2


@pytest.mark.parametrize("share", ["none", "headwise", "key-value", "layerwise"])
@pytest.mark.parametrize("rank", [1, 5])
def test_slots_of_the_whole_sequence(rank, share):
    for n in LENGTHS:
        mixer = attention("none", f"linformer({rank}, share={share})")
        assert counted(mixer, n, False, length=40) == [n * rank] * 2
