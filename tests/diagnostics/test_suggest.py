"""Did you mean."""

from __future__ import annotations

import pytest

from xcompose.diagnostics.suggest import nearest, suggest


@pytest.mark.parametrize(
    ("name", "candidates", "found"),
    [
        ("patern", ["pattern", "score", "memory"], ["pattern"]),
        ("kv-heads", ["heads", "kv_heads"], ["kv_heads", "heads"]),
        ("RMSNorm", ["rms-norm", "layer"], ["rms-norm"]),
        ("xyz", ["pattern"], []),
        ("a", [], []),
    ],
)
def test_nearest(name, candidates, found):
    assert nearest(name, candidates) == found


def test_at_most_three():
    assert len(nearest("head", [f"head{i}" for i in range(9)])) == 3


KINDS = {"mixer": ["attention", "chain"], "ffn": ["mlp", "gated"]}


@pytest.mark.parametrize(
    ("name", "wanted", "sentences"),
    [
        ("atention", "mixer", ["did you mean 'attention'?"]),
        ("gated", "mixer", ["'gated' is a ffn, not a mixer"]),
        ("swiglu", "ffn", ["xcompose calls it 'gated'"]),
        ("SwiGLU", "ffn", ["xcompose calls it 'gated'"]),
        ("nothing-like-it", "ffn", []),
    ],
)
def test_sentences(name, wanted, sentences):
    assert suggest(name, KINDS[wanted], KINDS, wanted=wanted, also={"swiglu": "gated"}) == sentences


def test_several_near_names():
    assert suggest("heds", ["heads", "head", "herds"]) == ["did you mean 'herds', 'heads' or 'head'?"]


def test_a_minus_sign_read_as_part_of_a_name():
    assert suggest("dense-global", ["dense", "global", "window"]) == [
        "did you mean 'dense - global'? a '-' between letters belongs to the name"
    ]
    assert suggest("pre-nrom-x", ["pre-norm", "x"])[0] == "did you mean 'pre-norm'?"


def test_without_a_wanted_kind():
    assert suggest("mlp", [], {"ffn": ["mlp"]}) == ["'mlp' is a ffn"]
