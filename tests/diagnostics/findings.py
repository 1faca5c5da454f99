"""Findings of every form that a forge has to show."""

from __future__ import annotations

from xcompose.diagnostics import Diagnostic, Edit, Note, Span
from xcompose.diagnostics.sources import Sources

CHAT, ODD = "specs/team/chat.xc.yaml", "specs/b ä,c:d.xc.yaml"
RENAMED = Diagnostic(
    "XC015", "option 'wide' is now called 'size'", Span(CHAT, 2, 10, 2, 14), "renamed", "model.layers.0.mixer.pattern",
    notes=(Note("the pattern is written here", Span(CHAT, 2, 3, 2, 20)), Note("measured: nothing"),
           Note("given here", Span("--set #1", 1, 1, 1, 4))),
    fixes=("write 'size'",), severity="warning", stage="schema", spec="chat",
    edits=(Edit(Span(CHAT, 2, 10, 2, 14), "size"),),
)  # fmt: skip
LONG = Diagnostic("XC009", "100 % [sure](http://x) \x1b[31m", Span(ODD, 1, 4, 3, 3), severity="hint", spec="d")
OVERRIDE = Diagnostic("XC011", "no such option", Span("--set #1", 1, 1, 1, 4), fixes=("a", "b"), spec="chat@long")
IN_A_PACKAGE = Diagnostic("XC011", "no such option", Span("acme:specs/base.xc.yaml", 7, 1, 7, 4), spec="chat")
PLUGIN = Diagnostic("XC050", "plugin 'acme' is not loaded: ImportError", severity="warning")
ELSEWHERE = Diagnostic("XC998", "of a code that nobody knows", Span("/elsewhere/a b.xc.yaml", 1, 1, 1, 2))
EVERY = (RENAMED, LONG, OVERRIDE, IN_A_PACKAGE, PLUGIN, ELSEWHERE)


def sources() -> Sources:
    found = Sources()
    found.register(CHAT, "model:\n  abc: x(wide=3, deep=4)\n")
    found.register(ODD, "ab cdé\nzweite\ndritte\n")
    found.register("--set #1", "abc=1")
    return found


def home(finding: Diagnostic) -> str:
    return CHAT if finding.spec.startswith("chat") else "pyproject.toml"
