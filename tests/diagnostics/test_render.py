"""How findings look."""

from __future__ import annotations

import json

import attrs
import pytest

from xcompose.diagnostics import Diagnostic, Note, Span, SpecError
from xcompose.diagnostics.render import as_json, concise, github, prepared, render_rich, text
from xcompose.diagnostics.sources import Sources

CHAT = "    - {repeat: 3, mixer: {type: attention, pattern: window(256, dilation=2)}}"
COMMA = Diagnostic(
    "XC010",
    "a comma inside { } ends the value",
    Span("specs/team/chat.xc.yaml", 9, 53, 9, 64),
    "YAML reads `window(256` here, and then a key `dilation=2)`",
    path="model.layers.0.mixer.pattern",
    fixes=("- 3*attention(pattern=window(256, dilation=2))",),
)
DIGEST = Diagnostic(
    "XC031",
    "a decoder cannot use memory 'linformer'",
    Span("specs/team/digest.xc.yaml", 22, 36, 22, 50),
    "each of its 256 slots stands for positions 0..n-1, so every query would read the future",
    path="variants.long",
    notes=(
        Note("causal because of this", Span("specs/team/digest.xc.yaml", 4, 9, 4, 16)),
        Note("the file itself is fine; only digest@long is refused"),
    ),
    fixes=("conv(3) or recurrence: compressive(...) summarise causally; or type: encoder",),
)


@pytest.fixture
def sources() -> Sources:
    found = Sources()
    found.register("specs/team/chat.xc.yaml", "\n" * 8 + CHAT + "\n")
    found.register(
        "specs/team/digest.xc.yaml",
        "\n\n\n  type: decoder\n" + "\n" * 17 + "    model.blocks.far.mixer.memory: linformer(256)\n",
    )
    return found


def test_one_line(sources):
    assert text([COMMA], sources=sources) == (
        "error[XC010]: a comma inside { } ends the value\n"
        " --> specs/team/chat.xc.yaml:9:53   model.layers.0.mixer.pattern\n"
        "  |\n"
        f"9 | {CHAT}\n"
        f"  | {' ' * 52}^^^^^^^^^^^ YAML reads `window(256` here, and then a key `dilation=2)`\n"
        "  = fix: - 3*attention(pattern=window(256, dilation=2))"
    )


def test_two_places_and_a_note(sources):
    assert text([DIGEST], sources=sources) == (
        "error[XC031]: a decoder cannot use memory 'linformer'\n"
        "  --> specs/team/digest.xc.yaml:22:36   variants.long\n"
        "   |\n"
        "22 |     model.blocks.far.mixer.memory: linformer(256)\n"
        f"   | {' ' * 35}^^^^^^^^^^^^^^ each of its 256 slots stands for positions 0..n-1, "
        "so every query would read the future\n"
        "  ::: specs/team/digest.xc.yaml:4:9\n"
        "   |\n"
        " 4 |   type: decoder\n"
        "   |         ------- causal because of this\n"
        "   = note: the file itself is fine; only digest@long is refused\n"
        "   = fix: conv(3) or recurrence: compressive(...) summarise causally; or type: encoder"
    )


def test_notes_with_a_word_of_their_own():
    found = Diagnostic(
        "XC071",
        "a slot uses a row outside its span",
        notes=(Note("measured: one row"), Note("hint: a window"), Note("so")),
    )
    assert text([found]) == (
        "error[XC071]: a slot uses a row outside its span\n  = measured: one row\n  = hint: a window\n  = note: so"
    )


def test_without_a_place():
    assert text([Diagnostic("XC040", "too large")]) == "error[XC040]: too large"
    found = Diagnostic("XC070", "it leaks", path="model.layers.0", label="by 0.27", severity="warning")
    assert text([found]) == "warning[XC070]: it leaks\n --> model.layers.0   by 0.27"


def test_without_the_text():
    found = Diagnostic("XC031", "no", Span("gone.xc.yaml", 12, 3, 12, 5), "because", fixes=("do",))
    assert text([found], sources=Sources()) == ("error[XC031]: no\n  --> gone.xc.yaml:12:3\n   = because\n   = fix: do")


@pytest.mark.parametrize(
    ("line", "span", "shown"),
    [
        ("a: b", (4, 1, 5), ["1 | a: b", "  |    ^ here"]),
        ("a: b", (4, 1, 4), ["1 | a: b", "  |    ^ here"]),
        ("a: b", (4, 2, 3), ["1 | a: b", "  |    ^ here"]),
        ("a: b c", (4, 3, 3), ["1 | a: b c", "  |    ^^^ here"]),
        ("a:\tb", (4, 1, 5), ["1 | a: b", "  |    ^ here"]),
        ("字字: b", (5, 1, 6), ["1 | 字字: b", "  |       ^ here"]),
        ("a: 字", (4, 1, 5), ["1 | a: 字", "  |    ^^ here"]),
        ("e\u0301: b", (5, 1, 6), ["1 | e\u0301: b", "  |    ^ here"]),
        ("a: \x1b[31m", (4, 1, 5), ["1 | a: \N{REPLACEMENT CHARACTER}[31m", "  |    ^ here"]),
        ("", (1, 1, 1), ["1 |", "  | ^ here"]),
        ("a", (9, 1, 12), ["1 | a", "  |  ^ here"]),
    ],
)
def test_marks_stand_below_what_they_mark(line, span, shown):
    sources = Sources()
    sources.register("f", line)
    column, end_line, end_column = span
    found = Diagnostic("XC004", "no", Span("f", 1, column, end_line, end_column), "here")
    assert text([found], sources=sources).split("\n")[3:] == shown


def test_a_long_line_is_cut_around_the_mark():
    sources = Sources()
    sources.register("f", "x" * 1000 + "HERE" + "y" * 1000)
    lines = text([Diagnostic("XC004", "no", Span("f", 1, 1001, 1, 1005))], sources=sources).split("\n")
    assert lines[3].startswith("1 | ...xxx")
    assert lines[3].endswith("yyy...")
    assert len(lines[3]) == 4 + 140 + 6
    start, end = lines[4].index("^"), lines[4].rindex("^") + 1
    assert lines[3][start:end] == "HERE"


def test_a_long_path_is_cut():
    found = Diagnostic("XC008", "deep", Span("f", 1, 1, 1, 2), path="a." * 100 + "z")
    assert len(text([found], sources=Sources()).split("\n")[1]) < 125


def test_a_message_cannot_command_the_terminal():
    assert text([Diagnostic("XC013", "no '\x1b]0;x\x07'", fixes=("a\nb",))]) == (
        "error[XC013]: no '\N{REPLACEMENT CHARACTER}]0;x\N{REPLACEMENT CHARACTER}'\n  = fix: a b"
    )


def test_colours_change_nothing_else(sources):
    plain = text([COMMA, DIGEST], sources=sources)
    coloured = text([COMMA, DIGEST], color=True, sources=sources)
    rich = render_rich([COMMA, DIGEST], sources)
    for sequence in ("\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"):
        assert sequence in coloured
        coloured = coloured.replace(sequence, "")
    assert coloured == plain == rich.plain
    assert "bold red" in {str(span.style) for span in rich.spans}


def at(line: int, column: int = 1, file: str = "f", **facts) -> Diagnostic:
    facts = {"code": "XC011", "message": "m", **facts}
    return Diagnostic(span=Span(file, line, column, line, column + 1), **facts)


def test_order():
    found = [at(2), at(1, 5), at(1, 2), at(1, 1, "e"), Diagnostic("XC040", "whole"), at(9, severity="hint")]
    assert [(d.span and (d.span.file, d.span.line, d.span.column)) for d in prepared(found)] == [
        None, ("e", 1, 1), ("f", 1, 2), ("f", 1, 5), ("f", 2, 1), ("f", 9, 1),
    ]  # fmt: skip


def test_one_for_each_place():
    hint, error, again = at(1, severity="hint"), at(1, code="XC014"), at(1, code="XC014", spec="tiny")
    assert prepared([hint, again, error]) == [again]
    assert len(prepared([Diagnostic("XC040", "a"), Diagnostic("XC040", "a"), Diagnostic("XC040", "b")])) == 2


def test_at_most_fifty():
    shown = text([at(line, message=f"m{line}") for line in range(1, 62)], sources=Sources())
    assert shown.count("error[") == 50
    assert shown.endswith("\n\n... and 11 more findings")
    assert "\n\nerror[XC011]: m2\n" in shown
    assert text([at(line) for line in range(1, 51)], sources=Sources()).count("error[") == 50


def test_concise(sources):
    assert concise([DIGEST, COMMA, Diagnostic("XC040", "too large")]) == (
        "XC040 too large\n"
        "specs/team/chat.xc.yaml:9:53: XC010 a comma inside { } ends the value\n"
        "specs/team/digest.xc.yaml:22:36: XC031 a decoder cannot use memory 'linformer'"
    )


def test_json():
    found = json.loads(as_json([COMMA]))
    assert found == [json.loads(json.dumps(attrs.asdict(COMMA)))]
    assert found[0]["span"] == {
        "file": "specs/team/chat.xc.yaml", "line": 9, "column": 53, "end_line": 9, "end_column": 64,
    }  # fmt: skip
    assert as_json([]) == "[]"


def test_github():
    assert github([COMMA]) == (
        "::error file=specs/team/chat.xc.yaml,line=9,col=53,endColumn=64,title=XC010::"
        "a comma inside { } ends the value: YAML reads `window(256` here, and then a key `dilation=2)`. "
        "Fix: - 3*attention(pattern=window(256, dilation=2))"
    )


def test_github_of_several_lines_and_odd_names():
    found = Diagnostic("XC009", "100 %\nsure", Span("a,b:c.xc.yaml", 1, 2, 3, 4), severity="hint")
    assert github([found]) == "::notice file=a%2Cb%3Ac.xc.yaml,line=1,endLine=3,title=XC009::100 %25%0Asure"


def test_github_without_a_file():
    assert github([Diagnostic("XC040", "too large", severity="warning")]) == "::warning title=XC040::too large"
    assert github([at(1, file="--set #1")]) == "::error title=XC011::m"


def test_an_error_shows_its_findings():
    assert str(SpecError([Diagnostic("XC040", "b"), Diagnostic("XC040", "a")])) == "error[XC040]: b\n\nerror[XC040]: a"


def test_old_texts_are_forgotten():
    sources = Sources(kept=10)
    for name in "abac":
        sources.register(name, f"{name}1\n{name}2")
    assert [sources.line(name, 2) for name in "abc"] == ["a2", None, "c2"]
    sources.register("a", "a1\na2")
    assert [sources.line(name, 2) for name in "abc"] == ["a2", None, "c2"]
    assert (sources.line("a", 0), sources.line("a", 3)) == (None, None)
