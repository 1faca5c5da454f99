"""Calls the command line inside this process, which spares the imports."""

from __future__ import annotations

import io
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import attrs

ROOT = Path(__file__).parent.parent.parent


@attrs.frozen
class Called:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything that a terminal would show: output behind findings, without blank ends of lines."""
        lines = (self.err + self.out).splitlines()
        return "\n".join(line.rstrip() for line in lines).strip("\n")


def call(command: str, *more: str) -> Called:
    """Run `xcompose ...` as written in a shell, in the current folder."""
    from xcompose.cli.main import main

    words = [*shlex.split(command), *more]
    assert words[0] == "xcompose", command
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with mock.patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
    return Called(code, out.getvalue(), err.getvalue())
