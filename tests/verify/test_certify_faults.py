"""Every certificate finds the faults planted for it, and names the layer."""

from __future__ import annotations

import pytest
from small_models import BlockMeans, Windowed, subject

from xcompose.verify import alive, causal, decode, padding


def said(findings):
    return [(f.code, f.message, f.label, f.path) for f in findings]


@pytest.mark.parametrize(
    ("certificate", "faulty", "expected"),
    [
        (causal, subject("", "leaks by one"), ""),
        (causal, subject("", "statistic over time"), ""),
        (causal, subject("", ffn="sum over time", causal="strict", model="shifted"), ""),
        (causal, subject(mixers=lambda: [Windowed(), BlockMeans(fault="memory a step early")]), ""),
        (alive, subject("", "hides one"), ""),
        (alive, subject("wrong axis", ""), ""),
        (alive, subject("", "declares one less"), ""),
        (alive, subject("", "", ffn="sum over time"), ""),
        (alive, subject("", "", model="only the last layer"), ""),
        (alive, subject("", "", causal="none", model="shifted"), ""),
        (padding, subject("", "padding in the denominator"), ""),
        (padding, subject("", "", model="ignores the mask"), ""),
        (padding, subject("", "", model="answers for padding"), ""),
        (decode, subject("", "cache one short"), ""),
        (decode, subject("", "keeps too much"), ""),
        (decode, subject("", "time of the first row"), ""),
    ],
)
def test_a_planted_fault_is_found(certificate, faulty, expected):
    for f in certificate.certify(faulty, seed=3):
        print(f.code, f.message, "|", f.label, "|", f.path, f.span, [n.text for n in f.notes], f.fixes)
