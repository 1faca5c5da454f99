"""Short ways to read a spec in a test."""

from __future__ import annotations

import textwrap
from pathlib import Path

from xcompose.diagnostics.render import text as rendered
from xcompose.spec import check_text, load_text
from xcompose.spec.model import Layer, Node, Spec

from .catalogue import CATALOGUE

EXAMPLES = Path(__file__).parent / "examples"
GOOD = sorted(p.relative_to(EXAMPLES).as_posix() for p in EXAMPLES.rglob("*.xc.yaml") if p.parent.name != "bad")
BAD = sorted(p.relative_to(EXAMPLES).as_posix() for p in (EXAMPLES / "bad").glob("*.xc.yaml"))


def spec_of(text: str, *sets: str, variants: tuple[str, ...] = ()) -> Spec:
    """The spec of a text, read with the test catalogue."""
    return load_text(textwrap.dedent(text), "s", sets, catalogue=CATALOGUE, variants=variants)


def model_of(text: str, *sets: str, variants: tuple[str, ...] = ()) -> Node:
    """The model of a text that holds the keys of a decoder of width 256 and what differs."""
    head = "xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n"
    model = spec_of(
        head + textwrap.indent(textwrap.dedent(text).strip("\n"), "  ") + "\n", *sets, variants=variants
    ).model
    assert model is not None
    return model


def layers_of(text: str, *sets: str) -> tuple[Layer, ...]:
    """The layers of such a model."""
    return model_of(text, *sets).options["layers"]


def findings_of(text: str, *sets: str, variants: tuple[str, ...] = ()) -> str:
    """What is wrong with a text, as the terminal shows it."""
    _, diagnostics = check_text(textwrap.dedent(text), "s", sets, CATALOGUE, variants=variants)
    return rendered(diagnostics).strip("\n")


def messages_of(text: str, *sets: str, variants: tuple[str, ...] = ()) -> list[str]:
    """The first lines alone, with line and column."""
    _, diagnostics = check_text(textwrap.dedent(text), "s", sets, CATALOGUE, variants=variants)
    return [
        f"{d.span.line}:{d.span.column} {d.code} {d.message}" if d.span else f"{d.code} {d.message}"
        for d in diagnostics
    ]


def patterns(layers: tuple[Layer, ...]) -> list[str]:
    """Short names of the patterns of layers: `window 64`."""
    found = []
    for layer in layers:
        pattern = layer.options["mixer"].options["pattern"]
        found.append("dense" if pattern is None else f"{pattern.name} {pattern.options.get('size', '')}".strip())
    return found
