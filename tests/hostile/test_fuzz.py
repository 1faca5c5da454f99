"""Random texts: whatever is read, it ends in a tree or in findings that can be shown, and nothing else is raised."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.texts import ROWS
from xcompose.diagnostics import Diagnostic, Span, SpecError, render
from xcompose.registry import load
from xcompose.spec import check_text
from xcompose.spec.expression import parse_expression, parse_sequence, unparse
from xcompose.spec.references import as_reference, parse
from xcompose.spec.tree import Reference, Scalar
from xcompose.spec.yaml import parse_override, read

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("XC_FUZZ_SECONDS", "60"))
"""How long the long runs take, each."""
SEEDS = [path.read_text() for path in sorted((ROOT / "specs").rglob("*.xc.yaml"))]
SEEDS += [text for rows in ROWS.values() for _, text in rows if isinstance(text, str) and len(text) < 2_000]
WORDS = sorted({word for text in SEEDS for word in re.findall(r"[\w.\-]+|\$\{|[^\w\s]|\s+", text) if len(word) < 40})
EXPRESSION = [
    *(
        "attention",
        "window",
        "heads",
        "sum",
        "near",
        "acme/x",
        "x@2",
        "12",
        "4Ki",
        "1e9",
        "2x",
        "true",
        "null",
        '"a b"',
    ),
    *("${w}", "${model.dim / 8}", "${", "}", '"', "a=", "size=", "é", "²", "\0", *"()[],=*|&-+.\\'#@: \n"),
]
QUOTED = re.compile(r"'[^']*'|`[^`]*`|[^a-z ]")
Found = Sequence[Diagnostic]
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
expressions = st.lists(st.sampled_from(EXPRESSION), max_size=30).map("".join)
specs = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), max_size=60).map("".join)


def scalar(text: str) -> Scalar:
    return Scalar(text, Span("f", 1, 1, 1, len(text) + 1))


def fits(error: SpecError) -> Found:
    """The findings, each of which has a place and can be shown."""
    assert error.diagnostics
    for found in error.diagnostics:
        assert found.span is not None
        assert (1, 1) <= (found.span.line, found.span.column) < (found.span.end_line, found.span.end_column)
    said = render.text(error.diagnostics)
    assert said
    assert all(c.isprintable() or c == "\n" for c in said)
    return error.diagnostics


def read_spec(text: str) -> Found:
    spec, found = check_text(text, "s", (), load().catalogue)
    assert (spec is None) == any(d.severity == "error" for d in found)
    said = render.text(found)
    assert all(c.isprintable() or c == "\n" for c in said)
    assert spec is not None or said
    return found


def read_sequence(text: str) -> Found:
    try:
        found = parse_sequence(scalar(text))
    except SpecError as error:
        return fits(error)
    assert unparse(parse_sequence(scalar(unparse(found)))) == unparse(found)
    return ()


def read_expression(text: str) -> Found:
    try:
        found = parse_expression(scalar(text))
    except SpecError as error:
        return fits(error)
    assert unparse(parse_expression(scalar(unparse(found)))) == unparse(found)
    return ()


def read_reference(text: str) -> Found:
    try:
        parse(Reference(text, scalar(text).span))
        as_reference(scalar("${" + text + "}"))
    except SpecError as error:
        return fits(error)
    return ()


def read_override(text: str) -> Found:
    try:
        parse_override(text, 1)
    except SpecError as error:
        return fits(error)
    return check_text(
        "xcompose: 1\nmodel: {type: decoder, dim: 16, heads: 2, layers: 1}\n", "s", (text,), load().catalogue
    )[1]


READERS: dict[str, tuple[Callable[[str], Found], list[str]]] = {
    "spec": (read_spec, SEEDS),
    "sequence": (read_sequence, ["3*(near, far), attention(pattern=window(2) | global(1))"]),
    "expression": (read_expression, ["heads(3*window(2, dilation=${w}) - global(1), [a, \"b\"])"]),
    "reference": (read_reference, ["model.dim / (w + 2) * 3 - let.a"]),
    "override": (read_override, ["model.layers.0.mixer=attention(pattern=window(2))", "let.a={b: [1, 2]}"]),
}  # fmt: skip


@quick
@given(specs)
def test_any_words_of_specs(text):
    read_spec(text)


@quick
@given(st.binary(max_size=200))
def test_any_bytes(content):
    parsed = read(content, "f")
    assert parsed.tree is not None or parsed.diagnostics


@quick
@given(expressions)
def test_any_words_of_expressions(text):
    read_sequence(text)
    read_expression(text)


@quick
@given(expressions)
def test_any_words_of_references(text):
    read_reference(text)


@quick
@given(st.one_of(specs, expressions.map(lambda text: f"model.mixer={text}"), st.text(max_size=20)))
def test_any_override(text):
    read_override(text)


def mutated(chance: random.Random, text: str) -> str:
    """A text with some of its words exchanged, left out, doubled or put elsewhere."""
    pieces = re.findall(r"\w+|\s+|[^\w\s]", text) or [""]
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at, other = chance.randrange(len(pieces)), chance.randrange(len(pieces))
        match chance.randrange(6):
            case 0:
                pieces[at] = chance.choice(WORDS)
            case 1:
                pieces[at : at + chance.randrange(1, 4)] = [""]
            case 2:
                pieces.insert(at, pieces[other])
            case 3:
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case 4:
                pieces[at:at] = pieces[other : other + 8] * chance.choice((1, 2, 30))
            case 5:
                pieces[at] = chance.choice(EXPRESSION)
    return "".join(pieces)


@pytest.mark.parametrize("name", READERS)
def test_mutations(name):
    run(name, seconds=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_mutations(name):
    run(name, SECONDS, seed=time.time_ns())


def run(name: str, seconds: float, seed: int = 0) -> None:
    """Mutate what was interesting before: a text with which something new is said is kept."""
    reader, first = READERS[name]
    chance, kept = random.Random(seed), list(first)
    known: set[str] = set()
    ends = time.process_time() + seconds
    while time.process_time() < ends:
        text = mutated(chance, chance.choice(kept))[:20_000]
        began = time.process_time()
        try:
            found = reader(text)
        except Exception as error:
            error.add_note(f"seed {seed}, text {text!r}")
            raise
        assert time.process_time() - began < 2, text
        said = heard(found)
        if said not in known:
            known.add(said)
            kept.append(text)
    assert known


def heard(found: Found) -> str:
    """What is said, without the words of the text that it is about."""
    return " ".join(sorted({f"{d.code} {QUOTED.sub('', d.message)}" for d in found}))
