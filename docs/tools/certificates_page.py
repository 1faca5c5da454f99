"""Writes the tables of docs/certificates.md: the faults that tests plant, and what `xcompose check` says of each.

    python docs/tools/certificates_page.py

The text around the tables is written by hand; a test holds the tables to what is planted.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from xcompose.diagnostics.codes import CODES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "certificates.md"
FAULTS = ROOT / "tests" / "mutation"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


def planted() -> list[Any]:
    """Every fault in the tests, in the order of their files."""
    sys.path.insert(0, str(FAULTS))
    for file in sorted(FAULTS.glob("faults_of_*.py")):
        importlib.import_module(file.stem)
    return importlib.import_module("planting").FAULTS


def tables(faults: list[Any]) -> str:
    """One table for each code, in order."""
    by_code: dict[str, list[Any]] = defaultdict(list)
    for fault in faults:
        by_code[fault.code].append(fault)
    return "\n".join(_table(code, by_code[code]) for code in sorted(by_code))


def _table(code: str, faults: list[Any]) -> str:
    lines = [
        f"### {code}: {CODES[code].title}", "", "| fault | seen | where it is found | what `check` says |",
        "|---|---|---|---|",
    ]  # fmt: skip
    lines += [f"| {f.name} | {_cell(f.seen)} | `{f.path}` | {_cell(f.message)} |" for f in faults]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page(faults: list[Any]) -> str:
    """The page as it should be: its own text, with these tables."""
    text = PAGE.read_text()
    made = f"{BEGIN}\n{len(faults)} faults are planted.\n\n{tables(faults)}{END}"
    return re.sub(f"{BEGIN}.*{END}", lambda _: made, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(planted()))
