"""Logs in SARIF: they fit the schema, and say all that a finding says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.diagnostics.findings import (
    CHAT,
    ELSEWHERE,
    EVERY,
    IN_A_PACKAGE,
    LONG,
    OVERRIDE,
    PLUGIN,
    RENAMED,
    home,
    sources,
)
from xcompose.diagnostics import Diagnostic, Span
from xcompose.diagnostics.codes import CODES
from xcompose.diagnostics.sarif import FINGERPRINT, sarif

HERE = {"uriBaseId": "%SRCROOT%"}
PART = Path(__file__).with_name("sarif-part.schema.json")
PUBLISHED = "SARIF_SCHEMA"
"""Names a copy of the published schema, to hold the logs against that, too."""


def written(*findings: Diagnostic) -> Any:
    return json.loads(sarif(findings, home, "0.1.0", sources()))


def result(finding: Diagnostic) -> Any:
    return written(finding)["runs"][0]["results"][0]


@pytest.mark.parametrize("findings", [(), EVERY, *((one,) for one in EVERY)])
def test_a_log_fits_the_schema(findings):
    schemas = [PART, *([Path(os.environ[PUBLISHED])] if PUBLISHED in os.environ else [])]
    for schema in schemas:
        jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(written(*findings))


def test_every_code_is_a_rule_that_fits_the_schema():
    log = written(*(Diagnostic(code, "m", Span("a", n, 1, n, 2)) for n, code in enumerate(CODES, start=1)))

    jsonschema.Draft7Validator(json.loads(PART.read_text())).validate(log)
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(CODES)
    assert all(rule["help"]["text"].startswith(CODES[rule["id"]].explanation) for rule in rules)


def test_results_know_their_rules():
    run = written(*EVERY)["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]

    assert rules == ["XC009", "XC011", "XC015", "XC050", "XC998"]
    assert [rules[one["ruleIndex"]] for one in run["results"]] == [one["ruleId"] for one in run["results"]]
    assert len(run["results"]) == len(EVERY)


def test_a_finding_with_a_place_notes_and_an_exact_mend():
    found = result(RENAMED)
    region = {"startLine": 2, "startColumn": 10, "endLine": 2, "endColumn": 14}

    assert found["level"] == "warning"
    assert found["message"] == {
        "text": "option 'wide' is now called 'size': renamed. measured: nothing. Fix: write 'size'"
    }
    assert found["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": CHAT, **HERE}, "region": {**region, "snippet": {"text": "wide"}},
            },
            "logicalLocations": [{"fullyQualifiedName": "model.layers.0.mixer.pattern"}],
        }
    ]  # fmt: skip
    (related,) = found["relatedLocations"]
    assert (related["id"], related["message"]["text"]) == (1, "the pattern is written here")
    assert related["physicalLocation"]["region"]["snippet"] == {"text": "abc: x(wide=3, de"}
    assert found["fixes"] == [
        {
            "description": {"text": "write 'size'"},
            "artifactChanges": [
                {
                    "artifactLocation": {"uri": CHAT, **HERE},
                    "replacements": [{"deletedRegion": region, "insertedContent": {"text": "size"}}],
                }
            ],
        }
    ]
    assert found["properties"] == {"spec": "chat", "stage": "schema"}


def test_a_span_of_several_lines_and_an_odd_name():
    found = result(LONG)
    place = found["locations"][0]["physicalLocation"]

    assert found["level"] == "note"
    assert found["message"]["text"] == "100 % [sure] (http://x) \N{REPLACEMENT CHARACTER}[31m"
    assert place["artifactLocation"]["uri"] == "specs/b%20%C3%A4%2Cc%3Ad.xc.yaml"
    assert place["region"] == {
        "startLine": 1, "startColumn": 4, "endLine": 3, "endColumn": 3, "snippet": {"text": "cdé\nzweite\ndr"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("finding", "uri", "said"),
    [
        (OVERRIDE, CHAT, "no such option. At --set #1:1:1. Fix: a. Fix: b"),
        (IN_A_PACKAGE, CHAT, "no such option. At acme:specs/base.xc.yaml:7:1"),
        (PLUGIN, "pyproject.toml", "plugin 'acme' is not loaded: ImportError"),
    ],
)
def test_what_has_no_place_in_the_repository_stands_in_the_file_it_is_about(finding, uri, said):
    found = result(finding)

    assert found["message"]["text"] == said
    assert found["locations"] == [
        {"physicalLocation": {"artifactLocation": {"uri": uri, **HERE}, "region": {"startLine": 1}}}
    ]


def test_a_file_outside_the_repository_has_an_absolute_address():
    place = result(ELSEWHERE)["locations"][0]["physicalLocation"]["artifactLocation"]

    assert place == {"uri": "file:///elsewhere/a%20b.xc.yaml"}


def test_fingerprints_do_not_move_with_lines():
    moved = sources()
    moved.register(CHAT, "\n\nmodel:\n  abc: x(wide=3, deep=4)\n")
    shifted = Diagnostic("XC015", RENAMED.message, Span(CHAT, 4, 10, 4, 14), "renamed")
    other = Diagnostic("XC015", RENAMED.message, Span(CHAT, 4, 18, 4, 22), "renamed")

    def fingerprint(*findings: Diagnostic) -> list[str]:
        log = json.loads(sarif(findings, home, "0.1.0", moved))
        return [one["partialFingerprints"][FINGERPRINT] for one in log["runs"][0]["results"]]

    (before,) = result(RENAMED)["partialFingerprints"].values()
    assert fingerprint(shifted) == [before]
    assert fingerprint(other) != [before]
    twice = fingerprint(shifted, Diagnostic("XC015", RENAMED.message, Span(CHAT, 4, 10, 4, 14), spec="b"), other)
    assert len(set(twice)) == len(twice) == 2
