"""Findings as a code-quality report of GitLab."""

from __future__ import annotations

import json
from collections.abc import Iterable

from xcompose.diagnostics.model import Diagnostic
from xcompose.diagnostics.places import Home, fingerprints, from_root, sentences, span_of
from xcompose.diagnostics.render import prepared, visible
from xcompose.diagnostics.sources import SOURCES, Sources

SEVERITIES = {"error": "critical", "warning": "minor", "hint": "info"}


def gitlab(diagnostics: Iterable[Diagnostic], home: Home, sources: Sources = SOURCES) -> str:
    """A list of issues. One without a place stands in the first line of the file that it is about.

    Args:
        diagnostics: in any order.
        home: that file.
        sources: where marked texts come from.
    """
    found = prepared(diagnostics)
    issues = []
    for diagnostic, fingerprint in zip(found, fingerprints(found, home, sources), strict=True):
        span = span_of(diagnostic)
        issues.append(
            {
                "description": visible(sentences(diagnostic)),
                "check_name": diagnostic.code,
                "fingerprint": fingerprint,
                "severity": SEVERITIES[diagnostic.severity],
                "location": {
                    "path": visible(from_root(span.file if span else home(diagnostic))),
                    "lines": {"begin": span.line, "end": span.end_line} if span else {"begin": 1},
                },
            }
        )
    return json.dumps(issues, indent=2, ensure_ascii=False)
