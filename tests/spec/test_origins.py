"""`why`: who gave a place its value."""

from __future__ import annotations

import pytest

from xcompose.diagnostics import SpecError
from xcompose.spec import load, why

from .catalogue import CATALOGUE
from .helpers import EXAMPLES, spec_of


def chain(spec, path):
    return [(o.text, o.span.line if o.span else None, o.by) for o in why(spec, path)]


def test_the_chain_of_a_referred_value(monkeypatch):
    monkeypatch.chdir(EXAMPLES)
    spec = load("beyond/window-then-linear.xc.yaml@tiny", ["let.w=16"], catalogue=CATALOGUE)

    assert chain(spec, "model.layers.0.mixer.pattern.of.0.size") == [
        ("16", 1, "--set let.w=16"),
        ("64", 24, "variants.tiny.let.w"),
        ("256", 4, "let.w"),
        ("window(${w})", 11, "used at"),
    ]
    assert why(spec, "let.w")[0].span.file == "--set #1"


def test_the_chain_of_overridden_and_default_values():
    text = "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 2, ffn: gated(2x)}\n"
    spec = spec_of(text + "variants:\n  a: {model: {dim: 128}}\n", "ffn.act=relu", variants=("a",))

    assert chain(spec, "model.dim") == [("128", 4, "variants.a.model.dim"), ("256", 2, "model.dim")]
    assert chain(spec, "model.ffn.act") == [("relu", 1, "--set ffn.act=relu")]
    assert chain(spec, "model.ffn") == [
        ("{act: relu}", 1, "--set ffn.act=relu"), ("gated(2x)", 2, "model.ffn"),
    ]  # fmt: skip
    assert chain(spec, "model.layers.0.ffn.width") == [("2x", 2, "model.ffn.width")]
    assert chain(spec, "model.vocab") == [("256", None, "default")]
    assert chain(spec, "model.norm") == [("layer", None, "default")]


def test_a_place_that_is_not_there():
    spec = spec_of("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 2}\n")

    with pytest.raises(SpecError) as caught:
        why(spec, "model.dmi")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.message, diagnostic.fixes[0][:12]) == ("s has no place 'model.dmi'", "did you mean")
