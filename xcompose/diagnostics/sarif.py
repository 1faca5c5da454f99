"""Findings as a log in SARIF 2.1.0, which code-scanning services of forges read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xcompose.diagnostics.codes import CODES
from xcompose.diagnostics.model import Diagnostic, Edit, Span
from xcompose.diagnostics.places import Home, fingerprints, from_root, is_file, marked, sentences, span_of
from xcompose.diagnostics.render import prepared, visible
from xcompose.diagnostics.sources import SOURCES, Sources

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"error": "error", "warning": "warning", "hint": "note"}
ROOT = "%SRCROOT%"
FINGERPRINT = "xcomposeFinding/v1"

Object = dict[str, Any]


def sarif(diagnostics: Iterable[Diagnostic], home: Home, version: str, sources: Sources = SOURCES) -> str:
    """One run with one result for each finding.

    A finding without a place in a file gets the first line of the file that it is about: services refuse a log with a
    result that is nowhere.

    Args:
        diagnostics: in any order.
        home: that file.
        version: of xcompose.
        sources: where marked texts come from.
    """
    found = prepared(diagnostics)
    codes = sorted({diagnostic.code for diagnostic in found})
    results = [
        _result(diagnostic, codes.index(diagnostic.code), fingerprint, home, sources)
        for diagnostic, fingerprint in zip(found, fingerprints(found, home, sources), strict=True)
    ]
    driver = {"name": "xcompose", "version": version, "rules": [_rule(code) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True}],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: {"description": {"text": "The root of the repository."}}},
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _rule(code: str) -> Object:
    entry = CODES.get(code)
    if entry is None:
        return {"id": code}
    text, markdown = [entry.explanation], [entry.explanation]
    for title, example in (("Refused", entry.bad), ("Mended", entry.mend)):
        if example:
            text.append(f"{title}:\n{example.rstrip()}")
            markdown.append(f"{title}:\n\n```yaml\n{example.rstrip()}\n```")
    return {
        "id": code,
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": entry.explanation},
        "help": {"text": "\n\n".join(text), "markdown": "\n\n".join(markdown)},
    }


def _result(diagnostic: Diagnostic, rule: int, fingerprint: str, home: Home, sources: Sources) -> Object:
    span = span_of(diagnostic)
    location: Object = {"physicalLocation": _physical(span, sources) if span else _whole(home(diagnostic))}
    if diagnostic.path:
        location["logicalLocations"] = [{"fullyQualifiedName": visible(diagnostic.path)}]
    result = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": LEVELS[diagnostic.severity],
        "message": {"text": _plain(sentences(diagnostic))},
        "locations": [location],
        "partialFingerprints": {FINGERPRINT: fingerprint},
        "properties": {"spec": diagnostic.spec, "stage": diagnostic.stage},
    }
    related = [(note.text, note.span) for note in diagnostic.notes if note.span and is_file(note.span.file)]
    if related:
        result["relatedLocations"] = [
            {"id": number, "message": {"text": _plain(text)}, "physicalLocation": _physical(span, sources)}
            for number, (text, span) in enumerate(related, start=1)
        ]
    if diagnostic.edits and all(is_file(edit.span.file) for edit in diagnostic.edits):
        result["fixes"] = [_fix(diagnostic)]
    return result


def _fix(diagnostic: Diagnostic) -> Object:
    by_file: dict[str, list[Edit]] = {}
    for edit in diagnostic.edits:
        by_file.setdefault(edit.span.file, []).append(edit)
    changes = [
        {
            "artifactLocation": _artifact(file),
            "replacements": [
                {"deletedRegion": _region(edit.span), "insertedContent": {"text": edit.text}} for edit in edits
            ],
        }
        for file, edits in by_file.items()
    ]
    return {"description": {"text": _plain("; ".join(diagnostic.fixes) or "mend it")}, "artifactChanges": changes}


def _physical(span: Span, sources: Sources) -> Object:
    region: Object = dict(_region(span))
    text = marked(span, sources)
    if text:
        region["snippet"] = {"text": text}
    return {"artifactLocation": _artifact(span.file), "region": region}


def _whole(file: str) -> Object:
    return {"artifactLocation": _artifact(file), "region": {"startLine": 1}}


def _region(span: Span) -> Mapping[str, int]:
    return {
        "startLine": span.line, "startColumn": span.column, "endLine": span.end_line, "endColumn": span.end_column,
    }  # fmt: skip


def _artifact(file: str) -> Object:
    path = from_root(file)
    if os.path.isabs(path):
        return {"uri": Path(path).as_uri()}
    return {"uri": quote(os.fsencode(path)), "uriBaseId": ROOT}


def _plain(text: str) -> str:
    """A text in which no reader finds a link."""
    return visible(text).replace("](", "] (")
