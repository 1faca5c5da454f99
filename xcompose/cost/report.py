"""Costs of a spec at several lengths, and how they grow: what `xcompose cost` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from torch import nn

from xcompose.cost.count import Cost, Parameters, counts, parameters
from xcompose.cost.growths import KINDS, growths
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.spec.model import Spec
from xcompose.spec.values import Growth, format_bytes, format_flops


@attrs.frozen
class CostReport:
    """What a model costs."""

    name: str
    parameters: Parameters
    costs: tuple[Cost, ...]
    growths: Mapping[str, Growth]
    """Of `time`, `memory` and `state`, where they could be read."""
    decodes: bool = True

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "spec": self.name, "parameters": attrs.asdict(self.parameters),
            "growth": {kind: str(growth) for kind, growth in self.growths.items()},
            "lengths": [attrs.asdict(cost) for cost in self.costs],
        }  # fmt: skip

    def text(self) -> str:
        """A table: one column for each length, one line for each count."""
        time, memory, state = (str(self.growths.get(kind, "")) for kind in KINDS)
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
        SpecError: the spec does not compose, or the model does not take one of the lengths.
    """
    model = planned(spec)
    costs = tuple(_at(model, n, training) for n in lengths)
    title = name or (spec.name if isinstance(spec, Spec) else type(model).__name__)
    whole = spec if isinstance(spec, Spec) else None
    grown = {kind: growth for kind, growth in _growths(model, whole, costs, training).items() if growth}
    return CostReport(title, parameters(model), costs, grown, decodes(model))


def _growths(model: nn.Module, spec: Spec | None, costs: Sequence[Cost], training: bool) -> dict[str, Growth | None]:
    found = growths(model, spec, costs if training else ())
    wanted = {"time": True, "memory": training, "state": decodes(model)}
    return {kind: found.of(kind) for kind in KINDS if wanted[kind]}


def _at(model: Any, n: int, training: bool) -> Cost:
    try:
        return counts(model, n, activations=training, training=training)
    except SpecError:
        raise
    except ValueError as error:
        span = model.node.span if model.node else None
        finding = Diagnostic(
            "XC041", f"the model does not take a text of {n:,} tokens", span, label=str(error), path="model",
            stage="build", fixes=("another --length",),
        )  # fmt: skip
        raise SpecError(finding) from error


def planned(spec: Spec | nn.Module) -> nn.Module:
    """The model of a spec on the meta device."""
    if isinstance(spec, nn.Module):
        return spec
    from xcompose.compose.build import plan_model

    return plan_model(spec)


def decodes(model: nn.Module) -> bool:
    """Whether it reads step by step, with a state."""
    return bool(model.decodes)


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
