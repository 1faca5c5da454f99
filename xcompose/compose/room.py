"""Whether a model fits into this machine's memory, before any of it is allocated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xcompose.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    import torch
    from torch import nn

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def refuse_what_does_not_fit(model: nn.Module, dtype: torch.dtype) -> None:
    """Compare the weights of a model (on the meta device) with the free memory.

    Raises:
        SpecError: XC040, saying how much it needs and how much there is.
    """
    needed, free = weight_bytes(model, dtype), free_bytes()
    if free is None or needed <= free:
        return
    spec, node = getattr(model, "spec", None), getattr(model, "node", None)
    count = sum(p.numel() for p in model.parameters())
    raise SpecError(
        Diagnostic(
            code="XC040",
            message=f"the model needs {readable(needed)} of memory, {readable(free)} is free",
            label=f"{count:,} parameters of {dtype.itemsize} bytes",
            span=node.span if node else None,
            path="model",
            fixes=("fewer or narrower layers, or a smaller vocabulary; `xcompose cost` counts without building",),
            stage="build",
            spec=spec.name if spec else "",
        )  # fmt: skip
    )


def weight_bytes(model: nn.Module, dtype: torch.dtype) -> int:
    """Bytes of parameters and buffers, each once, when floating ones are of `dtype`."""
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}.values()
    return sum(t.numel() * (dtype.itemsize if t.is_floating_point() else t.element_size()) for t in tensors)


def free_bytes() -> int | None:
    """Memory that can still be had; None where the system does not say."""
    known = [n for n in (_system_free(), _group_free()) if n is not None]
    return min(known) if known else None


def _system_free() -> int | None:
    if not MEMINFO.exists():
        return None
    lines = (line.split() for line in MEMINFO.read_text().splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"), None)


def _group_free() -> int | None:
    limit, used, stat = CGROUP / "memory.max", CGROUP / "memory.current", CGROUP / "memory.stat"
    if not (limit.exists() and used.exists() and stat.exists()):
        return None
    text = limit.read_text().strip()
    if text == "max":
        return None
    facts = dict(line.split() for line in stat.read_text().splitlines())
    return max(0, int(text) - int(used.read_text()) + int(facts["inactive_file"]))


def readable(count: int) -> str:
    """A number of bytes for people: 8.0 MiB."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if value < 1024 or unit == "EiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
