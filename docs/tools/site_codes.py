"""A page for each code of a finding: the least that earns it, what is then said, and its mend."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import attrs

from xcompose.diagnostics.codes import CODES, Code

GROUPS = {
    "XC00": "Files and YAML", "XC01": "Names and values", "XC02": "References, other specs, overrides",
    "XC03": "Composition", "XC04": "Building and keeping", "XC05": "Plugins", "XC06": "Expectations and training",
    "XC07": "Certificates", "XC08": "Data and runs", "XC09": "The command line",
}  # fmt: skip
BEGINS = "xcompose: 1"
MINE = """\
xcompose: 1
model:
  type: decoder
  dim: 64
  heads: 2
  layers: 2
task: lm(data=stdlib)
train: {budget: 2 steps, batch: 1, length: 32, eval: {batches: 1}}
variants:
  tiny: {model: {dim: 32}}
"""
"""`mine.xc.yaml`, which commands among the examples work on."""
TEXT = "The quick brown fox jumps over the lazy dog.\n" * 1000
"""`text.txt`, which they may read."""
SAMPLE = ("XC005", "XC011", "XC013", "XC041", "XC070")
"""Codes whose pages are made for a quick look at the site."""
PLUGIN = "It takes a package with a plugin; `xcompose plugin doctor` says it for those that are installed."
MECHANISM = (
    "No component that ships earns it: it takes a mechanism with a fault. [Write a plugin](../write-a-plugin.md)."
)
REASONS = {
    **{f"XC0{n}": PLUGIN for n in range(50, 58)},
    **{f"XC0{n}": MECHANISM for n in (*range(62, 68), *range(69, 80))},
    "XC043": "It takes a component that was renamed, and none that ships was.",
    "XC092": "It takes 200 mistakes.",
    "XC042": "It takes a file of weights of another model.",
    "XC084": "It takes more text than memory holds.",
    "XC089": "It takes a full disk.",
    "XC091": "It takes a folder without specs.",
    "XC095": "It takes an environment without that package.",
    "XC096": "It takes a process that the system ends.",
    "XC099": "It takes a mistake of ours.",
}
"""Why codes have no example that is run."""
PROGRAMS = ("xcompose", "mkdir", "mv", "printf", "touch")
"""What examples run. Anything else is shown and not run: a piece of a plugin, an installation."""


@attrs.frozen
class Said:
    """What an example led to."""

    text: str
    codes: frozenset[str]
    code: int
    """The exit code of its last command."""


def page_of(code: str) -> str:
    return f"diagnostics/{code}.md"


def chosen(sample: bool) -> dict[str, Code]:
    """Codes whose pages are made."""
    return {code: entry for code, entry in CODES.items() if not sample or code in SAMPLE}


def pages(sample: bool = False) -> dict[str, str]:
    """Every page about codes, by its place."""
    made = {page_of(code): page(entry) for code, entry in chosen(sample).items()}
    return {"diagnostics/index.md": _index(sample), **made}


def navigation(sample: bool = False) -> list[object]:
    """The pages about codes, by their groups."""
    tree: list[object] = ["diagnostics/index.md"]
    for start, title in GROUPS.items():
        codes = [{f"{c} {entry.title}": page_of(c)} for c, entry in chosen(sample).items() if c.startswith(start)]
        tree.append({title: codes})
    return tree


def _index(sample: bool) -> str:
    parts = [
        "# Diagnostics",
        "Every finding has a code, a place, a reason and most often a mend. `xcompose explain XC031` prints in a "
        "terminal what stands here.",
        f'```yaml title="mine.xc.yaml"\n{MINE}```',
        "Commands on these pages work on this spec; `text.txt` is some text.\n{ .xc-note }",
    ]
    for start, title in GROUPS.items():
        rows = [f"| [{c}]({c}.md) | {CODES[c].title} |" for c in chosen(sample) if c.startswith(start)]
        parts.append(f"## {title}\n\n" + "\n".join(["| code | what it says |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def page(entry: Code) -> str:
    """The page of a code; what it shows is what was said when the page was made."""
    parts = [f"# {entry.code}", f"{entry.title[0].upper()}{entry.title[1:]}.\n{{ .xc-lead }}", entry.explanation]
    if not entry.bad:
        return "\n\n".join([*parts, f"{reason(entry)}\n{{ .xc-note }}"]) + "\n"
    parts += ["## What earns it", _block(entry.bad)]
    if runs(entry):
        parts += ["## What is said", f"```text\n{run(entry.bad).text}\n```"]
    else:
        parts.append(f"{reason(entry)}\n{{ .xc-note }}")
    parts += ["## What mends it", _block(entry.mend)]
    return "\n\n".join(parts) + "\n"


def runs(entry: Code) -> bool:
    """Whether its example is a spec, or commands that can be run here."""
    if not entry.bad or entry.bad.startswith(BEGINS):
        return bool(entry.bad)
    return all(line.startswith(PROGRAMS) for text in (entry.bad, entry.mend) for line in text.strip().splitlines())


def reason(entry: Code) -> str:
    """Why a page does not show what is said."""
    return REASONS.get(entry.code, "It takes more than a few lines.")


def _block(text: str) -> str:
    if text.startswith(BEGINS):
        return f'```yaml title="example.xc.yaml"\n{text}```'
    lines = text.strip().splitlines(keepends=True)
    if not lines[0].startswith((*PROGRAMS, "pip ")):
        language = "toml" if lines[0].startswith("[") else "python"
        return f"```{language}\n{''.join(lines)}\n```"
    return f"```console\n{''.join(f'$ {line}' for line in lines)}\n```"


def run(example: str) -> Said:
    """Check a spec, or run commands, in a folder of their own that holds `mine.xc.yaml` and `text.txt`."""
    with tempfile.TemporaryDirectory() as folder, _inside(Path(folder)):
        Path("mine.xc.yaml").write_text(MINE)
        Path("text.txt").write_text(TEXT)
        if not example.startswith(BEGINS):
            return _said([_command(line) for line in example.strip().splitlines()])
        Path("example.xc.yaml").write_text(example)
        said = Said("", frozenset(), 0)
        for stage in ("compose", "contracts"):
            if not said.codes:
                said = _said([_command(f"xcompose check example.xc.yaml --stage {stage}")])
        return said


def _said(ran: list[tuple[int, str]]) -> Said:
    text = "\n".join(text for _, text in ran)
    return Said(_only_findings(text), frozenset(c for c in CODES if f"[{c}]" in text), ran[-1][0])


def _only_findings(text: str) -> str:
    """What is said of the findings, without the table of stages behind it."""
    lines = [line.rstrip() for line in text.splitlines()]
    ends = [n for n, line in enumerate(lines) if line.startswith("  = ") or line.startswith(("   =", "    ="))]
    return "\n".join(lines[: ends[-1] + 1] if ends else lines).strip("\n")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _command(line: str) -> tuple[int, str]:
    """Run one line in this process: a command of ours, or one of the few that prepare a file.

    Raises:
        ValueError: it is another program; a page about findings starts none.
    """
    words = shlex.split(line)
    match words:
        case ["xcompose", *_]:
            return _ours(words)
        case ["mkdir", name] if _here(name):
            Path(name).mkdir()
        case ["mv", old, new] if _here(old, new):
            Path(old).rename(new)
        case ["touch", name] if _here(name):
            Path(name).touch()
        case ["printf", text, ">", name] if _here(name):
            Path(name).write_bytes(text.encode().decode("unicode_escape").encode("latin-1"))
        case _:
            raise ValueError(f"an example cannot run '{line}'")
    return 0, ""


def _here(*names: str) -> bool:
    """Whether these are names in the folder of the example."""
    return all(Path(name).name == name for name in names)


def _ours(words: list[str]) -> tuple[int, str]:
    from xcompose.cli.main import main

    found, told, code = io.StringIO(), io.StringIO(), 0
    called, wide = mock.patch.object(sys, "argv", words), mock.patch.dict(os.environ, {"COLUMNS": "120"})
    with called, wide, contextlib.redirect_stdout(told), contextlib.redirect_stderr(found):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
    return code, found.getvalue() + told.getvalue()
