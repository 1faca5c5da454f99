"""Planted faults: `check` finds every one, and says which layer and which part of it is to blame.

The table is in the files `faults_of_*.py`: what the fault is, where public code had it, how it is planted, and what
`check` has to say.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest
from planting import FAULTS, Fault, checked

from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics.codes import CODES

HERE = Path(__file__).parent
for _file in sorted(HERE.glob("faults_of_*.py")):
    importlib.import_module(_file.stem)

EVERY = pytest.mark.parametrize("planted", FAULTS, ids=str)


COUNTS = {"expect.params", "expect.trainable"}
"""Promises of sums over the whole model: no layer is to blame, and none is named."""


def layer_of(path: str) -> str:
    """`model.decoder.layers.1` of `model.decoder.layers.1.mixer.memory`; the path itself where it is in no layer."""
    before, layers, behind = path.partition(".layers.")
    return f"{before}{layers}{behind.partition('.')[0]}" if layers else path


def errors(findings: tuple[Diagnostic, ...]) -> list[Diagnostic]:
    return [found for found in findings if found.severity == "error"]


@EVERY
def test_a_planted_fault_is_found_where_it_is(planted: Fault, tmp_path, monkeypatch):
    report = checked(planted.spec, tmp_path, monkeypatch, planted.plant, planted.variant)
    found = errors(report.findings)

    assert (planted.code, planted.path, planted.message) in [(f.code, f.path, f.message) for f in found]
    assert {layer_of(f.path) for f in found} == {layer_of(planted.path)}
    assert all(f.span is not None for f in found)
    notes = [note.text for f in found for note in f.notes]
    assert not planted.names or any(planted.names in note for note in notes), notes


@pytest.mark.slow
@EVERY
def test_the_same_spec_without_the_fault_passes(planted: Fault, tmp_path, monkeypatch):
    report = checked(planted.sound or planted.spec, tmp_path, monkeypatch, None, planted.variant)

    assert errors(report.findings) == []


def test_faults_are_many_differ_and_never_sit_in_the_first_layer():
    assert len(FAULTS) >= 50
    assert max(Counter(fault.name for fault in FAULTS).values()) == 1
    inside = [fault for fault in FAULTS if ".layers." in fault.path]
    assert len(inside) >= 40
    assert not [fault.name for fault in inside if ".layers.0" in fault.path]
    promises = [fault for fault in FAULTS if fault.path.startswith("expect.")]
    assert {fault.path for fault in promises if not fault.names} <= COUNTS
    assert all(re.match("layer [1-9]", fault.names) for fault in FAULTS if fault.names)
    assert {fault.code for fault in FAULTS} <= set(CODES)
