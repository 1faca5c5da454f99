"""What `check` found: for each spec its stages, what was measured, and the findings; as text, table and data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics.data import as_data, as_text, from_data

STAGES = ("parse", "schema", "compose", "build", "contracts", "numerics")
OPTIONAL = ("compile",)
"""Stages that run only when asked for."""
STATIC = ("parse", "schema")
"""Stages that import neither torch nor a plugin."""
MEASURED = ("contracts", "numerics", "compile")
"""Stages that need a model small enough to be measured."""
UNMET = "XC061"
"""An expectation that does not hold."""
Status = Literal["passed", "failed", "skipped"]
MARKS = {"passed": "✓", "failed": "✗", "skipped": "–"}


@attrs.frozen
class Stage:
    """One stage of one spec."""

    name: str
    status: Status
    seconds: float = 0.0
    remark: str = ""
    """Why it failed or was skipped, in a word: `expect`."""

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Stage:
        """The stage that `as_data` of a report wrote.

        Raises:
            KeyError, TypeError: the data is something else.
        """
        stage = cls(**data)
        as_text(stage.name)
        as_text(stage.remark)
        if as_text(stage.status) not in MARKS or not isinstance(stage.seconds, (int, float)):
            raise TypeError("no stage")
        return stage

    def __str__(self) -> str:
        return f"{self.name} {MARKS[self.status]}" + (f" ({self.remark})" if self.remark else "")


@attrs.frozen
class SpecReport:
    """What was found about one spec."""

    name: str
    file: str
    stages: tuple[Stage, ...]
    findings: tuple[Diagnostic, ...] = ()
    measured: str = ""
    """The sizes that certificates used: `@tiny, n = 101`."""
    results: dict[str, Any] = attrs.field(factory=dict)
    """`causal`, `decode` and `deterministic`, as measured."""
    suggestion: str = ""
    """An `expect` section to paste, where it was asked for."""
    unchanged: bool = False
    """Kept from an earlier run; nothing has changed since that it depends on."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; warnings and hints do not count."""
        return all(f.severity != "error" for f in self.findings)

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    def line(self, width: int = 0) -> str:
        """`mine   parse ✓  schema ✓  ...   2.4 s`, up to the stage that failed."""
        text = f"{self.name.ljust(width)}   {'  '.join(map(str, self.stages))}"
        return f"{text}   {'unchanged' if self.unchanged else f'{self.seconds:.1f} s'}"

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "spec": self.name, "file": self.file, "ok": self.ok, "unchanged": self.unchanged,
            "measured": self.measured, "results": self.results, "suggestion": self.suggestion,
            "stages": [attrs.asdict(stage) for stage in self.stages],
            "findings": [as_data(finding) for finding in self.findings],
        }  # fmt: skip

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> SpecReport:
        """The report that `as_data` wrote.

        Raises:
            KeyError, TypeError: the data is something else.
        """
        return cls(
            as_text(data["spec"]), as_text(data["file"]), tuple(Stage.from_data(stage) for stage in data["stages"]),
            tuple(from_data(finding) for finding in data["findings"]), as_text(data["measured"]),
            dict(data["results"]), as_text(data["suggestion"]), bool(data["unchanged"]),
        )  # fmt: skip


@attrs.frozen
class Report:
    """What was found about many specs."""

    specs: tuple[SpecReport, ...]
    seconds: float = 0.0
    plugins: tuple[Diagnostic, ...] = ()
    """What is wrong with installed plugins."""
    installed: tuple[str, ...] = ()
    """The distributions that bring plugins, with their versions: `acme-mixers 0.3.1`."""

    @property
    def ok(self) -> bool:
        return all(spec.ok for spec in self.specs) and not failed(self.plugins)

    @property
    def unchanged(self) -> int:
        """How many specs were kept from an earlier run."""
        return sum(spec.unchanged for spec in self.specs)

    @property
    def findings(self) -> tuple[Diagnostic, ...]:
        """Those of plugins and of all specs, each place once."""
        seen, found = set(), []
        for finding in (*self.plugins, *(f for spec in self.specs for f in spec.findings)):
            key = (finding.code, finding.message, finding.span or finding.spec)
            if key not in seen:
                seen.add(key)
                found.append(finding)
        return tuple(found)

    def table(self) -> str:
        """One line for each spec that failed; the others in one. A single spec is always shown."""
        shown = [spec for spec in self.specs if not spec.ok or len(self.specs) == 1]
        width = max((len(spec.name) for spec in shown), default=0)
        lines = [spec.line(width) for spec in shown]
        others = len(self.specs) - len(shown)
        if others:
            rest = f"{others} other{'' if others == 1 else 's'}" if shown else _specs(others)
            lines.append(rest.ljust(width) + "   ✓")
        return "\n".join(lines)

    def summary(self) -> str:
        """`26 specs, 61 with variants: 3 findings in 3 specs; 57 unchanged since the last run`."""
        files = len({spec.file for spec in self.specs})
        errors = [f for f in self.findings if f.severity == "error"]
        counted = _specs(files) + (f", {len(self.specs)} with variants" if len(self.specs) > files else "")
        where = Counter(not spec.ok for spec in self.specs)[True]
        said = f"{len(errors)} finding{'' if len(errors) == 1 else 's'}"
        said = f"{counted}: {said}" + (f" in {_specs(where)}" if where else "")
        kept = f"; {self.unchanged} unchanged since the last run" if self.unchanged else ""
        return said + kept + (f"; plugins: {', '.join(self.installed)}" if self.installed else "")

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "ok": self.ok, "seconds": self.seconds, "unchanged": self.unchanged, "installed": list(self.installed),
            "plugins": [as_data(finding) for finding in self.plugins],
            "specs": [spec.as_data() for spec in self.specs],
        }  # fmt: skip


def _specs(count: int) -> str:
    return f"{count} spec{'' if count == 1 else 's'}"


def failed(findings: Iterable[Diagnostic]) -> bool:
    """Whether any of them is an error."""
    return any(finding.severity == "error" for finding in findings)
