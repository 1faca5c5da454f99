"""The loader: what it reads, what it refuses and how it says so, and that no text makes it fall over."""

from __future__ import annotations

import gc
import os
import random
import time
from pathlib import Path

import pytest

from xcompose.diagnostics import Diagnostic, Span, SpecError
from xcompose.diagnostics.render import text
from xcompose.spec import tree, yaml
from xcompose.spec.yaml import file_bytes, load_file, parse, parse_override, read

from . import goldens

EXAMPLES = Path(__file__).parent / "examples"
GOOD = sorted(p for p in EXAMPLES.rglob("*.xc.yaml") if p.parent.name != "bad")
FRONT = ("anchors", "flow-comma", "flow-list", "flow-ref", "text")


def said(content: bytes | str, file: str = "my.xc.yaml") -> str:
    return text(read(content, file).diagnostics)


@pytest.mark.parametrize(("content", "message"), goldens.cases("yaml.txt"))
def test_what_is_said(content, message):
    assert said(content) == message


def test_a_tab():
    assert said("a:\n\tb: 1\n") == (
        "error[XC004]: a tab where YAML wants blanks\n"
        " --> my.xc.yaml:2:1\n"
        "  |\n"
        "2 |  b: 1\n"
        "  | ^\n"
        "  = fix: indent with blanks, two a level"
    )


def test_an_item_of_nothing():
    assert said("a:\n  - \n  - 2\n") == (
        "error[XC009]: nothing stands behind this `-`\n"
        " --> my.xc.yaml:2:3   a\n"
        "  |\n"
        "2 |   -\n"
        "  |   ^\n"
        "  = fix: write a value, or delete the item"
    )


def test_an_empty_file():
    assert said("") == (
        "error[XC004]: a spec is a mapping of sections, found nothing\n"
        " --> my.xc.yaml:1:1\n"
        "  |\n"
        "1 |\n"
        "  | ^\n"
        "  = fix: begin with: xcompose: 1"
    )


@pytest.mark.parametrize(
    ("character", "code"),
    [("\x1b", "001B"), ("\x7f", "007F"), ("\x85", "0085"), ("\u2028", "2028"), ("\ufeff", "FEFF"), ("\ud800", "D800")],
)
def test_a_character_that_cannot_be_seen(character, code):
    assert said(f"a: b{character}c\n") == (
        f"error[XC003]: the character U+{code} may not stand in a spec\n"
        " --> my.xc.yaml:1:5\n"
        "  |\n"
        "1 | a: b\N{REPLACEMENT CHARACTER}c\n"
        "  |     ^ it cannot be seen\n"
        "  = fix: delete it"
    )


def test_a_nul_byte():
    assert said(b"a: b\0c\n") == (
        "error[XC003]: my.xc.yaml is no text file\n"
        " --> my.xc.yaml:1:5\n"
        "  |\n"
        "1 | a: b\N{REPLACEMENT CHARACTER}c\n"
        "  |     ^ a NUL byte"
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf_16(encoding):
    mark = b"" if encoding == "utf-16" else "\ufeff".encode(encoding)
    assert said(mark + "a: b".encode(encoding)) == (
        "error[XC003]: my.xc.yaml is UTF-16; a spec is UTF-8\n  = fix: save it as UTF-8"
    )


def test_another_encoding():
    assert said(b"ok: 1\na: caf\xe9\n") == (
        "error[XC003]: my.xc.yaml is not UTF-8 text\n"
        " --> my.xc.yaml:2:7\n"
        "  |\n"
        "2 | a: caf\N{REPLACEMENT CHARACTER}\n"
        "  |       ^ the byte 0xe9 is not UTF-8\n"
        "  = fix: save it as UTF-8"
    )


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfa: b\nc: d\n", b"a: b\r\nc: d\r\n", b"a: b\rc: d\r", b"---\na: b\nc: d\n...\n"]
)
def test_marks_and_line_ends_change_nothing(content):
    assert [(e.key.text, e.value.text) for e in parse(content, "f").entries] == [("a", "b"), ("c", "d")]  # type: ignore[union-attr]


def test_the_tree_and_its_places():
    found = parse("a: one\nb:\n  - [x, 'y z']\n  - {k: \"v\"}\nc: |\n  two\n  lines\n", "f")

    def at(line, column, end_line, end_column):
        return Span("f", line, column, end_line, end_column)

    one = tree.Scalar("one", at(1, 4, 1, 7))
    inner = tree.Sequence((tree.Scalar("x", at(3, 6, 3, 7)), tree.Scalar("y z", at(3, 9, 3, 14))), at(3, 5, 3, 15))
    pair = tree.Entry(tree.Scalar("k", at(4, 6, 4, 7)), tree.Scalar("v", at(4, 9, 4, 12)))
    items = tree.Sequence((inner, tree.Mapping((pair,), at(4, 5, 4, 13))), at(3, 3, 4, 13))
    block = tree.Scalar("two\nlines\n", at(5, 4, 8, 1))
    assert found == tree.Mapping(
        (
            tree.Entry(tree.Scalar("a", at(1, 1, 1, 2)), one),
            tree.Entry(tree.Scalar("b", at(2, 1, 2, 2)), items),
            tree.Entry(tree.Scalar("c", at(5, 1, 5, 2)), block),
        ),
        at(1, 1, 8, 1),
    )
    assert [e.value.style for e in found.entries if isinstance(e.value, tree.Scalar)] == ["plain", "literal"]
    assert (items.items[0].flow, found.flow) == (False, False)
    assert found.get("b") is found.entries[1]
    assert found.get("d") is None


def test_no_value_is_guessed_from_its_look():
    texts = ["no", "017", "12:30:45", "1.10", "0x10", "1e3", "null", "~", "<", "2001-01-01", "9" * 5000]
    found = parse("".join(f"k{i}: {t}\n" for i, t in enumerate(texts)), "f")
    assert [e.value.text for e in found.entries] == texts  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        ("m: one\n  | two\n\n  | three\n", {"two": (2, 5), "three": (4, 5)}),
        ("m: >\n  one\n  | two\n\n  | three\n", {"one": (2, 3), "two": (3, 5), "three": (5, 5)}),
        ("m: |2-\n    one\n   | two\n", {"one": (2, 5), "two": (3, 6)}),
        ("m: >+  # with one\n   one\n   | two\n\n", {"one": (2, 4), "two": (3, 6)}),
        ("m: 'it''s one |\n\n   two'\n", {"one": (1, 11), "two": (3, 4)}),
        (
            'm: "o\\x41e |\n  two | \\\n   three \\u0020 four"\n',
            {"oAe": (1, 5), "two": (2, 3), "three": (3, 4), "four": (3, 17)},
        ),
        ("\N{GRINNING FACE}: 'one | two'\n", {"one": (1, 5), "two": (1, 11)}),
        ("m: 'one'\n", {"one": (1, 5)}),
        ("m: !!x  one\n", {}),
    ],
)
def test_every_piece_of_a_scalar_has_its_place(content, pieces):
    parsed = read(content, "f")
    value = parsed.tree.entries[0].value if parsed.tree else None
    for piece, place in pieces.items():
        assert isinstance(value, tree.Scalar)
        start = value.text.index(piece)
        span = value.span_of(start, start + len(piece))
        assert (span.line, span.column) == place
    if not pieces:
        assert value is None


def test_all_findings_at_once():
    content = "a: &x 1\na: {p: f(1, 2), q: [${w}]}\nabout: this: that\n- 3\n"
    codes = sorted((d.span.line, d.code) for d in read(content, "f").diagnostics if d.span)
    assert codes == [(1, "XC005"), (2, "XC006"), (2, "XC010"), (2, "XC010"), (3, "XC009"), (4, "XC004")]


def test_a_hint_leaves_the_tree():
    parsed = read("a: uses #3\nb: 1   # fine\n", "f")
    assert parsed.tree is not None
    assert [(d.code, d.severity) for d in parsed.diagnostics] == [("XC009", "hint")]


@pytest.mark.parametrize("name", FRONT)
def test_bad_examples_earn_one_finding_each(name):
    with pytest.raises(SpecError) as caught:
        load_file(EXAMPLES / "bad" / f"{name}.xc.yaml")
    assert len(caught.value.diagnostics) == 1


@pytest.mark.parametrize("path", [p for p in EXAMPLES.rglob("*.xc.yaml") if p.name.split(".")[0] not in FRONT], ids=str)
def test_all_other_examples_are_read(path):
    assert load_file(path).get("xcompose")


LIMITS = {
    "flow": ("a: " + "[" * 30_000, "XC008", "more than 64 levels of nesting"),
    "block": ("".join(" " * i + "a:\n" for i in range(1_400)), "XC008", "more than 64 levels of nesting"),
    "dashes": ("- " * 400_000, "XC008", "more than 64 levels of nesting"),
    "size": ("a: " + "x" * (1 << 20), "XC008", "f is larger than 1 MiB, the most a spec may have"),
    "wide": ("a: " + "é" * (1 << 19), "XC008", "f is larger than 1 MiB, the most a spec may have"),
    "text": ("a: " + "x" * 65_537, "XC008", "a text of 65,537 characters; at most 65,536 are allowed"),
    "escapes": ('a: "' + "\\x41" * 250_000 + '"', "XC008", "a text of 250,000 characters; at most 65,536 are allowed"),
    "nodes": ("a: [" + "1," * 30_000 + "]", "XC008", "more than 20,000 keys and values"),
    "laugh": (
        "a: &a [x]\n" + "".join(f"b{i}: [*a,*a]\n" for i in range(99)),
        "XC005",
        "a spec has no YAML anchors, found `&a`",
    ),
    "quote": ("a: '" + "x\n" * 400_000, "XC004", "the quote ' is never closed"),
    "keys": ("a: 1\n" * 9_000, "XC006", "the key 'a' is written twice"),
    "calls": ("a: [" + "f(1, 2), " * 9_000 + "]\n", "XC010", "a comma inside [ ] ends the value"),
    "open": ("a: [" + "f(x, " * 20_000 + "]", "XC008", "more than 20,000 keys and values"),
    "colons": ("".join(f"k{i}: a b: c\n" for i in range(9_000)), "XC009", "a colon ends the text"),
    "tabs": ("\t" * 1_000_000, "XC004", "a tab where YAML wants blanks"),
    "object": (
        "a: !!python/object/apply:os.system ['x']\n",
        "XC005",
        "a spec has no YAML tags, found `!!python/object/apply:os.system`",
    ),
    "path": (
        "a: !!python/object/apply:pathlib.Path [/etc]\n",
        "XC005",
        "a spec has no YAML tags, found `!!python/object/apply:pathlib.Path`",
    ),
    "circle": ("a: &a [*a]\n", "XC005", "a spec has no YAML anchors, found `&a`"),
}


@pytest.fixture
def no_garbage():
    """Whatever other tests left in memory is not looked through while the clock runs."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("name", LIMITS)
def test_hostile_texts_end_quickly_in_a_finding(name):
    content, code, message = LIMITS[name]
    begun = time.process_time()
    with pytest.raises(SpecError) as caught:
        parse(content, "f")
    shown = str(caught.value)
    first = caught.value.diagnostics[0]
    assert (first.code, first.message) == (code, message)
    assert len(shown) < 60_000
    assert time.process_time() - begun < 1.0


def test_just_within_the_limits():
    assert parse("a: " + "[" * 63 + "]" * 63, "f")
    assert parse("a: " + "x" * 65_536, "f")
    assert parse("a: [" + "1," * 19_996 + "1]", "f")
    assert parse("# " + "x" * ((1 << 20) - 8) + "\na: 1", "f")


MUTATIONS = 3_000
PIECES = list("{}[]()|&-,:#'\"\n\t *!%@`$<>?=.~0a\\_") + [
    "é",
    "\u2028",
    "\0",
    "\ue000",
    ": ",
    " #",
    "- ",
    "&x ",
    "*x",
    "<<: ",
]


def mutated(chance: random.Random, contents: list[str]) -> str:
    signs = list(chance.choice(contents))
    for _ in range(chance.choice([1, 1, 2, 3, 10])):
        at, kind = chance.randrange(len(signs)), chance.random()
        if kind < 0.35:
            signs[at] = chance.choice(PIECES)
        elif kind < 0.7:
            signs.insert(at, chance.choice(PIECES))
        elif kind < 0.85:
            del signs[at : at + chance.randrange(1, 5)]
        else:
            other = chance.randrange(len(signs))
            signs[at:at] = signs[other : other + chance.randrange(40)]
    return "".join(signs)


def test_mutated_specs_never_crash():
    chance = random.Random(0)
    contents = [p.read_text() for p in EXAMPLES.rglob("*.xc.yaml")]
    read_well = 0
    for _ in range(MUTATIONS):
        content = mutated(chance, contents)
        parsed = read(content, "f")
        read_well += parsed.tree is not None
        assert text(parsed.diagnostics) or parsed.tree is not None
        for diagnostic in parsed.diagnostics:
            span = diagnostic.span
            assert span is not None
            assert (1, 1) <= (span.line, span.column) < (span.end_line, span.end_column)
    assert 200 < read_well < MUTATIONS - 200


def test_both_parsers_of_yaml_say_the_same(monkeypatch):
    same = [case.values for case in goldens.cases("yaml.txt") if case.id not in {"lone-tag"}]
    monkeypatch.setattr("xcompose.spec.events.Loader", yaml_safe_loader())
    assert [said(content) for content, _ in same] == [message for _, message in same]


def yaml_safe_loader():
    import yaml as pyyaml

    return pyyaml.SafeLoader


def finding(error: pytest.ExceptionInfo[SpecError]) -> Diagnostic:
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.stage == "parse"
    return diagnostic


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml", "mine.xc.yml", "mine"])
def test_another_suffix(tmp_path, name):
    (tmp_path / name).write_text("xcompose: 1\n")
    with pytest.raises(SpecError) as caught:
        load_file(tmp_path / name, name)
    assert str(caught.value) == (
        f"error[XC002]: a spec's file name ends in .xc.yaml, found {name}\n  = fix: rename it to mine.xc.yaml"
    )


def test_another_suffix_of_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        load_file("specs/mine.yaml")
    assert str(caught.value) == (
        "error[XC002]: a spec's file name ends in .xc.yaml, found specs/mine.yaml\n  = fix: write specs/mine.xc.yaml"
    )


def test_no_such_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("specs").mkdir()
    Path("specs/mine.xc.yaml").write_text("xcompose: 1\n")
    with pytest.raises(SpecError) as caught:
        load_file("specs/mien.xc.yaml")
    assert str(caught.value) == (
        "error[XC001]: there is no file specs/mien.xc.yaml\n  = fix: did you mean specs/mine.xc.yaml?"
    )


def test_no_such_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        load_file("nowhere/mine.xc.yaml")
    assert str(caught.value) == "error[XC001]: there is no file nowhere/mine.xc.yaml: no folder nowhere"


def test_a_folder(tmp_path):
    with pytest.raises(SpecError) as caught:
        load_file(tmp_path, "specs")
    assert finding(caught).message == "expected a file, found a folder: specs"


def test_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.xc.yaml")
    with pytest.raises(SpecError) as caught:
        load_file(tmp_path / "pipe.xc.yaml", "pipe.xc.yaml")
    assert finding(caught).message == "expected a file, found no regular file: pipe.xc.yaml"


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "mine.xc.yaml"
    path.write_text("xcompose: 1\n")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SpecError) as caught:
        load_file(path, "mine.xc.yaml")
    assert finding(caught).message == "cannot read mine.xc.yaml: permission denied"


def test_a_large_file_is_not_read_whole(tmp_path):
    path = tmp_path / "mine.xc.yaml"
    path.write_bytes(b"#" * (3 << 20))
    assert len(file_bytes(path)) == yaml.BYTES + 1
    with pytest.raises(SpecError) as caught:
        load_file(path, "mine.xc.yaml")
    assert finding(caught).message == "mine.xc.yaml is larger than 1 MiB, the most a spec may have"


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("dim=256", "dim", "256"),
        (" model.dim = 256 ", "model.dim", "256"),
        ("layers=3*near, far", "layers", "3*near, far"),
        ("model.mixer=attention(pattern=window(64))", "model.mixer", "attention(pattern=window(64))"),
        ("about=one: two # three", "about", "one: two # three"),
        ("let.w=${a}", "let.w", "${a}"),
        ("dim='256'", "dim", "256"),
    ],
)
def test_an_override(override, path, value):
    entry = parse_override(override, 3)
    assert isinstance(entry.value, tree.Scalar)
    assert (entry.key.text, entry.value.text) == (path, value)
    for scalar in (entry.key, entry.value):
        span = scalar.span
        assert (span.file, span.line, span.end_line) == ("--set #3", 1, 1)
        assert override[span.column - 1 : span.end_column - 1].strip("'") == scalar.text


def test_an_override_with_a_collection():
    entry = parse_override("model.ffn={width: 2x, act: [a, b]}", 1)
    assert isinstance(entry.value, tree.Mapping)
    assert [e.key.text for e in entry.value.entries] == ["width", "act"]
    assert entry.value.entries[0].value.span == Span("--set #1", 1, 19, 1, 21)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "dim",
            "error[XC028]: an override needs `=`\n"
            " --> --set #1:1:1\n"
            "  |\n"
            "1 | dim\n"
            "  | ^^^\n"
            "  = fix: write PATH=VALUE, for example model.dim=256",
        ),
        (
            "=256",
            "error[XC028]: an override needs a path before `=`\n"
            " --> --set #1:1:1\n"
            "  |\n"
            "1 | =256\n"
            "  | ^^^^\n"
            "  = fix: write PATH=VALUE, for example model.dim=256",
        ),
        (
            "dim= ",
            "error[XC028]: an override needs a value behind `=`\n"
            " --> --set #1:1:1\n"
            "  |\n"
            "1 | dim=\n"
            "  | ^^^^^\n"
            "  = fix: write PATH=VALUE, for example model.dim=256\n"
            "  = fix: to drop what is set there: dim=null",
        ),
        (
            "layers=[near, window(2, 3)]",
            "error[XC010]: a comma inside [ ] ends the value\n"
            " --> --set #1:1:15   layers.1\n"
            "  |\n"
            "1 | layers=[near, window(2, 3)]\n"
            "  |               ^^^^^^^^^ YAML reads `window(2` here, and then an item `3)`\n"
            '  = fix: layers=[near, "window(2, 3)"]',
        ),
        (
            'dim="256',
            'error[XC004]: the quote " is never closed\n --> --set #1:1:5\n  |\n1 | dim="256\n  |     ^ opened here',
        ),
    ],
)
def test_an_override_that_is_not_well_formed(override, message):
    with pytest.raises(SpecError) as caught:
        parse_override(override, 1)
    assert str(caught.value) == message
