"""Numbers as people and specs write them."""

from __future__ import annotations

DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def format_count(value: int) -> str:
    """`12,741,632`."""
    return f"{value:,}"


def format_short(value: float) -> str:
    """Three digits and a unit: `12.7M`, `3.23M`, `512`."""
    for unit, size in reversed(DECIMAL.items()):
        if unit in "kMGT" and value >= size * (0.9995 if size > 1000 else 1):
            return f"{_three(value / size)}{unit}"
    return f"{value:g}" if isinstance(value, int) else _three(value)


def format_length(value: int) -> str:
    """A length as a spec would write it: `64Ki`, `1Mi`, `1,000`."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if value and value % BINARY[unit] == 0:
            return f"{value // BINARY[unit]}{unit}"
    return f"{value:,}"


def format_bytes(value: float) -> str:
    """`512 B`, `3.2 MiB`, `128 MiB`."""
    size, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1023.5:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}" if size < 99.95 else f"{size:,.0f} {unit}"


def format_flops(value: float) -> str:
    """Work: `8.7 GFLOP`, `2.26 PFLOP`."""
    for unit, size in reversed(DECIMAL.items()):
        if value >= size * 0.9995:
            return f"{_three(value / size)} {unit}FLOP"
    return f"{value:.0f} FLOP"


def _three(value: float) -> str:
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"
