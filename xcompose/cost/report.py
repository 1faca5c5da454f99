"""Costs of a spec at several lengths, and how they grow: what `xcompose cost` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import nn

from xcompose.cost.count import Cost, Parameters, counts, parameters
from xcompose.cost.growth import classify
from xcompose.spec.model import Spec
from xcompose.spec.values import Growth, format_bytes, format_flops

FAR = (2**18, 2**19, 2**20)
"""Lengths at which growth is read where a model takes any length: terms of lower order weigh nothing there."""
KINDS = ("time", "memory", "state")


@attrs.frozen
class Growths:
    """How counts grow with the length, and where that was read."""

    lengths: tuple[int, ...]
    values: dict[str, tuple[int, ...]]
    """By kind, `time`, `memory` or `state`, at each length."""

    def of(self, kind: str) -> Growth | None:
        """The class of one count; None where the model takes one length only."""
        return classify(self.lengths, self.values[kind]) if len(self.lengths) > 1 else None


@attrs.frozen
class CostReport:
    """What a model costs."""

    name: str
    parameters: Parameters
    costs: tuple[Cost, ...]
    growths: Growths
    decodes: bool = True

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        grown = {kind: str(found) if (found := self.growths.of(kind)) else None for kind in KINDS}
        if not self.decodes:
            grown["state"] = None
        return {
            "spec": self.name, "parameters": attrs.asdict(self.parameters), "growth": grown,
            "lengths": [attrs.asdict(cost) for cost in self.costs],
        }  # fmt: skip

    def text(self) -> str:
        """A table: one column for each length, one line for each count."""
        time, memory, state = (str(self.growths.of(kind) or "") for kind in KINDS)
        shares = [f"{_percent(c.attention / c.forward if c.forward else 0)} %" for c in self.costs]
        lines: list[tuple[str, list[str], str]] = [
            ("work, forward", [format_flops(c.forward) for c in self.costs], time),
            ("  of it attention", shares, ""),
        ]
        if any(c.activations for c in self.costs):
            lines += [
                ("work, training step", [format_flops(c.training) for c in self.costs], ""),
                ("activations", [format_bytes(c.activations) for c in self.costs], memory),
            ]
        if self.decodes:
            lines.append(("decode state", [format_bytes(c.state) for c in self.costs], state))
        heads = [f"n = {c.n:,}" for c in self.costs]
        return _table(self.name, self.parameters, heads, lines)


def report(spec: Spec | nn.Module, lengths: Sequence[int], *, training: bool = True, name: str = "") -> CostReport:
    """Count what a spec costs at these lengths, on the meta device.

    Args:
        spec: resolved, or a model that is on the meta device already.
        lengths: at least one.
        training: also count the backward pass and the activations kept for it.
        name: for the table.

    Raises:
        SpecError: the spec does not compose.
        ValueError: the model does not take one of the lengths.
    """
    model = planned(spec)
    costs = tuple(counts(model, n, training=training) for n in lengths)
    title = name or (spec.name if isinstance(spec, Spec) else type(model).__name__)
    return CostReport(title, parameters(model), costs, growths(model, training=training), decodes(model))


def planned(spec: Spec | nn.Module) -> nn.Module:
    """The model of a spec on the meta device."""
    if isinstance(spec, nn.Module):
        return spec
    from xcompose.compose.build import plan_model

    return plan_model(spec)


def decodes(model: nn.Module) -> bool:
    """Whether it reads step by step, with a state."""
    return bool(model.decodes)


def growths(model: nn.Module, *, training: bool = True) -> Growths:
    """How a model on the meta device grows: read far out, where lower terms weigh least, or as far as it can go."""
    longest = length_of(model)
    near = () if longest is None else tuple(n for n in (longest // 4, longest // 2, longest) if n > 0)
    for lengths in (FAR, near, near[-1:]):
        found = _counted(model, lengths, training)
        if found:
            values = {
                "time": tuple(c.forward for c in found), "memory": tuple(c.activations for c in found),
                "state": tuple(c.state for c in found),
            }  # fmt: skip
            return Growths(lengths, values)
    return Growths((), dict.fromkeys(KINDS, ()))


def _counted(model: nn.Module, lengths: Sequence[int], training: bool) -> list[Cost]:
    """Costs at these lengths; none where the model does not take one of them."""
    try:
        return [counts(model, n, training=training) for n in reversed(lengths)][::-1]
    except ValueError:
        return []


def length_of(model: nn.Module) -> int | None:
    """The longest sequence as the spec states it, if it does."""
    return model.options.length  # type: ignore[union-attr]


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.1f}" if percent >= 99 and percent < 100 else f"{percent:.0f}"


def _table(name: str, total: Parameters, heads: Sequence[str], lines: Sequence[tuple[str, list[str], str]]) -> str:
    left = max(len(name), *(len(label) + 2 for label, _, _ in lines)) + 2
    width = max(len(cell) for cell in [*heads, *(cell for _, cells, _ in lines for cell in cells)]) + 3
    trained = "" if total.trainable == total.total else f", {total.trainable:,} of them trainable"
    rows = [f"{name.ljust(left)}{''.join(head.rjust(width) for head in heads)}"]
    for label, cells, growth in lines:
        rows.append(
            f"  {label}".ljust(left) + "".join(cell.rjust(width) for cell in cells) + (f"   {growth}" if growth else "")
        )
    rows.append(f"  {'parameters'.ljust(left - 2)}{f'{total.total:,}{trained}'}")
    return "\n".join(row.rstrip() for row in rows)
