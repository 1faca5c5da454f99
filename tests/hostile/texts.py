"""Hostile and broken specs that are one text each, by what they try; findings.txt holds what is said about each."""

# ruff: noqa: E501 (one line holds one spec)

from __future__ import annotations

HEAD = "xcompose: 1\n"
MODEL = HEAD + "model:\n  type: decoder\n  dim: 16\n  heads: 2\n"
ONE = MODEL + "  layers: 1\n"
LIMIT = 1 << 20
ESC, RIGHT_TO_LEFT = "\x1b", "\u202e"

Row = tuple[str, "str | bytes"]
"""What it tries, and the text, or the bytes."""


def mixer(text: str) -> str:
    """A spec with one layer of this mixer."""
    return f"{MODEL}  layers: 1\n  mixer: {text}\n"


def quoted(text: str) -> str:
    """A spec with one layer of this mixer, in single quotes."""
    return mixer("'" + text.replace("'", "''") + "'")


def bomb(levels: int, each: int) -> str:
    """A name that stands for `each` of the next, and so on."""
    lines = [f"  a{i}: [{', '.join([f'${{a{i + 1}}}'] * each)}]" for i in range(levels)]
    return "\n".join([*lines, f"  a{levels}: attention"])


NESTING: list[Row] = [
    ("flow lists, 65 levels", HEAD + "let: {a: " + "[" * 64 + "]" * 64 + "}\n"),
    ("flow lists, 100,000 levels", HEAD + "let: {a: " + "[" * 100_000 + "]" * 100_000 + "}\n"),
    ("flow lists that never end", HEAD + "let: {a: " + "[" * 500_000),
    ("flow mappings, 50,000 levels", HEAD + "let: " + "{a: " * 50_000 + "1" + "}" * 50_000),
    ("mixed flow, 30,000 levels", HEAD + "let: " + "{a: [" * 30_000 + "]}" * 30_000),
    ("block lists on one line", HEAD + "let:\n  a: \n    " + "- " * 20_000 + "1\n"),
    ("block mappings, 700 levels", HEAD + "".join(f"{' ' * i}a:\n" for i in range(700))),
    ("explicit keys in each other", HEAD + "? " * 5_000 + "a\n"),
    ("a key of many lists", HEAD + "? " + "[" * 40 + "]" * 40 + "\n: 1\n"),
    ("closing brackets only", HEAD + "let: " + "]" * 100_000),
    ("brackets in an expression, 33 levels", quoted("(" * 33 + "attention" + ")" * 33)),
    ("brackets in an expression, 30,000 levels", quoted("(" * 30_000 + "attention" + ")" * 30_000)),
    ("calls in calls, 10,000 levels", quoted("sum(" * 10_000 + "attention" + ")" * 10_000)),
    ("calls that are never closed", quoted("sum(" * 15_000)),
    ("lists in calls", quoted("sum([" * 5_000 + "])" * 5_000)),
    ("brackets in a reference, 20,000 levels", mixer('"${' + "(" * 20_000 + "1" + ")" * 20_000 + '}"')),
    ("references in references", mixer('"' + "${" * 20_000 + "a" + "}" * 20_000 + '"')),
    ("60,000 minus signs", quoted("-" * 60_000 + "1")),
    ("60,000 operators", quoted("attention(pattern=" + "window(2)|" * 6_000 + "window(2))")),
    ("10,000 ands", quoted("attention(pattern=" + "window(2)&" * 6_000 + "window(2))")),
    ("a mapping of mappings as mixer", mixer("{type: sum, of: " * 60 + "attention" + "}" * 60)),
    ("20,001 keys", HEAD + "let:\n" + "".join(f"  a{i}: 1\n" for i in range(20_001))),
    ("200,000 empty lists", HEAD + "let: {a: [" + "[]," * 200_000 + "]}"),
    ("20,000 words in an expression", quoted("sum(" + "a," * 20_000 + "a)")),
    ("20,000 operations in a reference", mixer('"${1' + "+1" * 20_000 + '}"')),
]

BOMBS: list[Row] = [
    (
        "a bomb with a broken heart",
        f"{HEAD}let:\n"
        + "".join(f"  a{i}: '({', '.join([f'${{a{i + 1}}}'] * 10)})'\n" for i in range(12))
        + "  a12: '(near far)'\nmodel: {type: decoder, dim: 16, layers: '${a0}'}\n",
    ),
    (
        "each in each in each of what is not there",
        MODEL
        + "  layers: ["
        + "".join(f"{{each: {{w{i}: [{', '.join('1' * 200)}]}}, layers: [" for i in range(4))
        + "{use: nothing}"
        + "]}" * 4
        + "]\n",
    ),
    ("an alias bomb", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n" + HEAD),
    ("an alias to itself", HEAD + "let: &a {b: *a}\n"),
    ("an alias of nothing", HEAD + "let: {a: *nothing}\n"),
    ("5,000 anchors", HEAD + "let:\n" + "".join(f"  a{i}: &a{i} 1\n" for i in range(5_000))),
    ("5,000 aliases of one anchor", HEAD + "let:\n  a: &a 1\n" + "".join(f"  b{i}: *a\n" for i in range(5_000))),
    ("an interpolation bomb", f"{HEAD}let:\n{bomb(15, 10)}\nmodel:\n  type: decoder\n  dim: 16\n  layers: '${{a0}}'\n"),
    (
        "an interpolation bomb of mixers",
        HEAD
        + "let:\n"
        + "".join(f"  a{i}: 'sum(${{a{i + 1}}}, ${{a{i + 1}}})'\n" for i in range(14))
        + "  a14: attention\nmodel: {type: decoder, dim: 16, layers: 1, mixer: '${a0}'}\n",
    ),
    (
        "a bomb in brackets",
        f"{HEAD}let:\n"
        + "".join(f"  a{i}: '({', '.join([f'${{a{i + 1}}}'] * 10)})'\n" for i in range(12))
        + "  a12: attention\nmodel: {type: decoder, dim: 16, layers: '${a0}'}\n",
    ),
    (
        "blocks of blocks",
        MODEL
        + "  blocks:\n"
        + "".join(f"    b{i}: {{use: b{i + 1}}}\n" for i in range(300))
        + "    b300: attention\n  layers: b0\n",
    ),
    ("groups in groups, repeated", MODEL + "  layers: '" + "9*(" * 30 + "attention" + ")" * 30 + "'\n"),
    (
        "repeated groups as mappings",
        MODEL + "  layers: [" + "{repeat: 99, layers: [" * 20 + "attention" + "]}" * 20 + "]\n",
    ),
    (
        "each of 20,000 values",
        MODEL
        + f"  layers:\n    - each: {{w: [{', '.join(['4'] * 15_000)}]}}\n      mixer: 'attention(pattern=window(${{w}}))'\n",
    ),
    (
        "each inside each",
        MODEL
        + "  layers: ["
        + "{each: {w: [1, 2, 3, 4, 5, 6, 7, 8, 9]}, layers: [" * 12
        + "attention"
        + "]}" * 12
        + "]\n",
    ),
    (
        "a chain of 5,000 names",
        HEAD
        + "let:\n"
        + "".join(f"  a{i}: '${{a{i + 1}}}'\n" for i in range(5_000))
        + "  a5000: 1\nmodel: {type: decoder, dim: '${a0}', layers: 1}\n",
    ),
    (
        "numbers that double",
        HEAD
        + "let:\n  a0: 2\n"
        + "".join(f"  a{i + 1}: '${{a{i} * a{i}}}'\n" for i in range(15))
        + "model: {type: decoder, dim: '${a15}', layers: 1}\n",
    ),
]

CYCLES: list[Row] = [
    ("a name that is itself", HEAD + "let: {a: '${a}'}\nmodel: {type: decoder, dim: '${a}', layers: 1}\n"),
    (
        "two names that are each other",
        HEAD + "let: {a: '${b}', b: '${a}'}\nmodel: {type: decoder, dim: '${a}', layers: 1}\n",
    ),
    ("a width that is its own half", ONE.replace("dim: 16", "dim: '${model.dim / 2}'")),
    ("an option that is the whole model", mixer("'${model}'")),
    ("a layer that is all layers", MODEL + "  layers: ['${model.layers}']\n"),
    ("a block that uses itself", MODEL + "  blocks: {a: {use: a}}\n  layers: a\n"),
    ("two blocks that use each other", MODEL + "  blocks: {a: {use: b}, b: {use: a}}\n  layers: a\n"),
    ("a block that is its own name", MODEL + "  blocks: {a: a}\n  layers: a\n"),
    ("a mixer that holds itself", mixer("'sum(attention, ${model.mixer})'")),
    (
        "each that refers to itself",
        MODEL + "  layers: [{each: {w: ['${w}']}, mixer: 'attention(pattern=window(${w}))'}]\n",
    ),
    (
        "names of let in circles of ten",
        HEAD
        + "let:\n"
        + "".join(f"  a{i}: '${{a{(i + 1) % 10}}}'\n" for i in range(10))
        + "model: {type: decoder, dim: '${a3}', layers: 1}\n",
    ),
    (
        "heads of dim, dim of heads",
        MODEL.replace("dim: 16", "dim: '${model.heads * 2}'").replace("heads: 2", "heads: '${model.dim / 2}'")
        + "  layers: 1\n",
    ),
]

KEYS: list[Row] = [
    ("a key twice", ONE + "  dim: 32\n"),
    ("a key twice, once quoted", HEAD + 'model: {type: decoder, dim: 16, layers: 1, "dim": 32}\n'),
    ("a key twice, once escaped", HEAD + 'model: {type: decoder, dim: 16, layers: 1, "\\x64im": 32}\n'),
    ("a section twice", ONE + "model: {type: encoder, dim: 16, layers: 1}\n"),
    ("5,000 times one key", HEAD + "let: {a: 1}\n" * 5_000),
    ("a path and a mapping for one place", HEAD + "extends: base.xc.yaml\nmodel.dim: 16\nmodel: {dim: 32}\n"),
    ("a list as key", HEAD + "[a, b]: 1\n"),
    ("a mapping as key", HEAD + "{a: b}: 1\n"),
    ("an empty key", HEAD + "'': 1\n"),
    ("no key", HEAD + ": 1\n"),
    ("null as key", HEAD + "~: 1\n"),
    ("a number as key", HEAD + "1: 1\n"),
    ("a key of 900 characters", HEAD + f"{'k' * 900}: 1\n"),
    ("a key of 60,000 characters", HEAD + f"? {'k' * 60_000}\n: 1\n"),
    ("a merge key", HEAD + "let: {<<: {a: 1}}\n"),
    ("a dunder", ONE + "  __class__: x\n"),
    ("dunders on a path", mixer("'${model.__class__.__init__.__globals__}'")),
    ("a dotted key", HEAD + "model.__dict__: 1\n"),
    ("self as option", quoted("attention(self=1, cls=2)")),
    ("a key of blanks", HEAD + "'   ': 1\n"),
    ("a key with a line break", HEAD + '"a\\nb": 1\n'),
    ("a variant called like a path", ONE + "variants: {'../x': {model: {dim: 8}}}\n"),
    ("a variant called like an option", ONE + "variants: {'--help': {model: {dim: 8}}}\n"),
    ("a name of let like a section", ONE + "let: {model: 1}\n"),
]

TAGS: list[Row] = [
    (f"a tag {tag.split('/')[-1].split(' ')[0]}", HEAD + f"let: {{a: {tag}}}\n")
    for tag in (
        "!!python/object/apply:os.system ['touch pwned']",
        "!!python/object/new:os.system [x]",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
        "!!binary aGVsbG8=",
        "!!float nan",
        "!!set {a, b}",
        "!!timestamp 2001-12-14",
        "!custom x",
        "!<tag:yaml.org,2002:str> x",
        "!include secrets.yaml",
        "!env HOME",
    )
]
TAGS += [
    ("a tag on the document", "!!map\n" + ONE),
    ("a directive of tags", "%TAG ! tag:evil,2000:\n---\n" + ONE),
    ("a directive of YAML", "%YAML 9.9\n---\n" + ONE),
    ("an unknown directive", "%FOO bar\n---\n" + ONE),
    ("a second document", ONE + "---\n" + ONE),
    ("10,000 documents", "---\na: 1\n" * 10_000),
    ("a tag that never ends", HEAD + "let: {a: !<" + "x" * 50_000 + "\n"),
]

NUMBERS: list[Row] = [
    (f"dim: {number if len(number) < 30 else number[:12] + '...'}", ONE.replace("dim: 16", f"dim: {number}"))
    for number in (
        "9" * 5_000, "1e400", "1e999999999", "1e-999999999", "9223372036854775808", "-1", "0", "0x10", "0b1", "0o7", "1_000",
        "1e5000000000000000000", ".inf", "-.inf", ".nan", "NaN", "Infinity", "1e", "1.", ".5", "+5", "٣", "１６", "Ⅻ", "1e+", "16K",
        "1.5", "true", "null", "~", "''", "[]", "{}", "12:30:45", "1,000", "0 16", "99999999E",
    )
]  # fmt: skip
NUMBERS += [
    ("a real of 5,000 digits", ONE.replace("  layers", f"  dropout: 0.{'1' * 5_000}\n  layers")),
    ("a real of 1e-400", ONE.replace("  layers", "  dropout: 1e-401\n  layers")),
    ("a real that is not finite", ONE + "train: {lr: 1e308, clip: 1e309}\n"),
    ("a sum beyond all numbers", ONE.replace("dim: 16", "dim: '${9223372036854775807 + 1}'")),
    ("a product beyond all numbers", ONE.replace("dim: 16", "dim: '${9223372036854775807 * 9223372036854775807}'")),
    ("a digit too many", ONE.replace("dim: 16", "dim: '${99999999999999999999}'")),
    ("a division by zero", ONE.replace("dim: 16", "dim: '${16 / 0}'")),
    ("a division by a hidden zero", ONE.replace("dim: 16", "dim: '${16 / (2 - 2)}'")),
    ("a difference below zero", ONE.replace("dim: 16", "dim: '${1 - 9223372036854775807 - 9223372036854775807}'")),
    ("a share of 10^18", quoted("heads(1000000000000000000*attention, attention)")),
    ("a share of nothing", quoted("heads(0*attention, 0*attention)")),
    ("a position of 5,000 digits", mixer("'${model.layers." + "9" * 5_000 + "}'")),
    ("10^30 layers", MODEL + "  layers: 1000000000000000000000000000000\n"),
    ("10^9 layers", MODEL + "  layers: 1000000000\n"),
    ("10^9 layers of a block", MODEL + "  layers: '1000000000*attention'\n"),
    ("repeat of 10^18", MODEL + "  layers: [{repeat: 1000000000000000000, mixer: attention}]\n"),
    ("repeat of a group of 10^18", MODEL + "  layers: [{repeat: 1E, layers: [1E]}]\n"),
    ("zero layers 10^18 times", MODEL + "  layers: [{repeat: 1E, layers: [0]}]\n"),
]

CHARACTERS: list[Row] = [
    ("NUL at the end", ONE + "\0"),
    ("NUL in a key", HEAD + "mo\0del: 1\n"),
    ("NUL by escape", HEAD + 'name: "a\\0b"\n'),
    ("only NULs", "\0" * 10_000),
    ("a tab before a key", HEAD + "model:\n\ttype: decoder\n"),
    ("tabs between", HEAD + "model:\n  type:\tdecoder\n\tdim:\t16\n"),
    ("an escape sequence", HEAD + f"name: {ESC}[31mred\n"),
    ("an escape sequence by escape, in a key", HEAD + '"\\e[2J\\e[1;1Hok": 1\n'),
    ("an escape sequence by escape, as name", ONE.replace("type: decoder", 'type: "\\e]0;owned\\a"')),
    ("an escape sequence in an expression", ONE + '  mixer: "attention\\e[8m"\n'),
    ("a bell and backspaces", HEAD + '"a\\b\\b\\a": 1\n'),
    ("a carriage return by escape", HEAD + '"ok\\rerror": 1\n'),
    ("right to left in a key", HEAD + f"{RIGHT_TO_LEFT}ledom: 1\n"),
    ("right to left in a name", ONE.replace("type: decoder", f"type: {RIGHT_TO_LEFT}redoced")),
    ("isolates in an expression", mixer("\u2066attention\u2069")),
    ("a Cyrillic a", mixer("\u0430ttention")),
    ("a zero width space", mixer("atten\u200btion")),
    ("a soft hyphen in a key", HEAD + "mo\u00addel: 1\n"),
    ("5,000 combining marks", HEAD + "a" + "\u0301" * 900 + ": 1\n"),
    ("a private character", HEAD + "\ue000: 1\n"),
    ("beyond the first plane", HEAD + "\U0001f600: 1\n"),
    ("tags of language", HEAD + "model\U000e0041: 1\n"),
    ("a line separator", HEAD + "a\u2028b: 1\n"),
    ("next line", HEAD + "a\u0085b: 1\n"),
    ("delete", HEAD + "a\x7fb: 1\n"),
    ("a byte order mark inside", HEAD + "a\ufeffb: 1\n"),
    ("a lone surrogate by escape", HEAD + 'name: "\\ud800"\n'),
    ("a pair of surrogates by escape, as key", HEAD + '"\\ud83d\\ude00": 1\n'),
    ("a number beyond all characters by escape", HEAD + 'name: "\\UFFFFFFFF"\n'),
    ("a broken escape", HEAD + 'name: "\\xZZ"\n'),
    ("an unknown escape", HEAD + 'name: "\\q"\n'),
]

BYTES: list[Row] = [
    ("UTF-16, little end first", ONE.encode("utf-16-le")),
    ("UTF-16, big end first, with mark", b"\xfe\xff" + ONE.encode("utf-16-be")),
    ("UTF-16 with mark", ONE.encode("utf-16")),
    ("UTF-32 with mark", ONE.encode("utf-32")),
    ("UTF-32, big end first", ONE.encode("utf-32-be")),
    ("UTF-7", (HEAD + "n\xe4me: 1\n").encode("utf-7")),
    ("Latin-1", (HEAD + "name: caf\xe9\n").encode("latin-1")),
    ("Windows-1252", (HEAD + "name: \u201cx\u201d\n").encode("cp1252")),
    ("Shift JIS", (HEAD + "name: \u8868\n").encode("shift-jis")),
    ("EBCDIC", ONE.encode("cp500")),
    ("a lone surrogate in UTF-8", HEAD.encode() + b"name: \xed\xa0\x80\n"),
    ("an overlong slash", HEAD.encode() + b"name: \xc0\xaf\n"),
    ("an overlong NUL", HEAD.encode() + b"name: \xc0\x80\n"),
    ("a character that is cut", HEAD.encode() + b"name: \xf0\x9f\x98"),
    ("beyond U+10FFFF", HEAD.encode() + b"name: \xf4\x90\x80\x80\n"),
    ("a byte of 0xff", HEAD.encode() + b"name: \xff\n"),
    ("two byte order marks", b"\xef\xbb\xbf\xef\xbb\xbf" + ONE.encode()),
    ("half a byte order mark", b"\xef\xbb" + ONE.encode()),
    ("an archive", b"PK\x03\x04" + bytes(range(256)) * 16),
    ("a pickle", b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."),
    ("a program", b"\x7fELF\x02\x01\x01" + b"\0" * 500),
    ("nothing", b""),
    ("blanks", b" \n" * 1000),
    ("a mark alone", b"\xef\xbb\xbf"),
    ("comments alone", b"# nothing\n" * 1000),
    ("one above the limit", ONE.encode() + b"#" * (LIMIT + 1 - len(ONE))),
    ("far above the limit", b"a" * (8 * LIMIT)),
    ("one line of a mebibyte", HEAD.encode() + b"a" * (LIMIT - 100)),
    ("a text of 65,537 characters", HEAD.encode() + b"name: " + b"x" * 65_537),
    ("500,000 line ends", b"\r" * 500_000),
    ("a comment of a mebibyte", b"#" * LIMIT),
    ("brackets to the limit", b"[" * LIMIT),
    ("quotes to the limit", b"'" * LIMIT),
    ("double quotes to the limit", b'"' * LIMIT),
    ("colons to the limit", b": " * (LIMIT // 2)),
    ("dashes to the limit", b"- " * (LIMIT // 2)),
    ("question marks to the limit", b"? " * (LIMIT // 2)),
    ("ampersands to the limit", b"&a " * (LIMIT // 3)),
    ("percents to the limit", b"%" * LIMIT),
    ("bars to the limit", b"|\n" * (LIMIT // 2)),
    ("braces and commas to the limit", b"{," * (LIMIT // 2)),
    ("short lines to the limit", b"a: 1\n" * (LIMIT // 5)),
    ("backslashes in quotes", HEAD.encode() + b'name: "' + b"\\\\" * 500_000 + b'"\n'),
    ("stairs of blanks", HEAD.encode() + b"".join(b" " * i + b"a\n" for i in range(1400))),
]

CODE: list[Row] = [
    (f"a mixer called {name}", quoted(name))
    for name in (
        "os.system", "builtins.eval", "torch.nn.Linear", "os:system", "xcompose.api", "__import__", "eval", "exec(1)",
        "subprocess.Popen(ls)", "importlib.import_module(os)", "acme/evil", "../plugins/evil", "attention@99", "attention@x",
        "evil.xc.yaml", "lambda", "attention;import os", "attention\\nimport os", "{{config}}", "{{7*7}}", "<%= 7*7 %>", "$(ls)", "`ls`",
        "%s%s%n", "{0.__class__}", "a b", "attention()()", "attention.forward", "attention[0]", "f\"{x}\"", "1 if 1 else 2",
    )
]  # fmt: skip
CODE += [
    (f"a reference to {text if len(text) < 40 else text[:37] + '...'}", mixer(f'"${{{text}}}"'))
    for text in (
        "oc.env:HOME", "oc.env:SECRET,none", "env:HOME", "oc.decode:x", "oc.create:x", "oc.load:f", "oc.deprecated:x", "oc.select:model",
        "oc.dict.keys:model", "HOME", "env.HOME", "os.environ.HOME", "model.__class__", "file:x", "http://x", "${model.dim}", "a[0]",
        "'x'", "model..dim", ".dim", "model.", "1.5", "-1", "2**9", "9//2", "9 % 2", "abs(1)", "x if y", "", " ", "model:dim", "!x",
    )
]  # fmt: skip
CODE += [
    ("a target of hydra", HEAD + "model: {_target_: os.system, command: ls}\n"),
    ("a target inside options", mixer("{type: attention, _target_: torch.load, f: x}")),
    ("an auto map", ONE + "auto_map: {AutoModel: evil--modeling.Evil}\n"),
    ("trust in remote code", ONE + "trust_remote_code: true\n"),
    ("a defaults list", "defaults: [override /db: evil]\n" + ONE),
    ("an environment in the name of data", ONE + "task: lm(data=${oc.env:HOME})\n"),
    ("a mixer from a mapping with a dotted type", mixer("{type: torch.nn.Linear}")),
    ("a template of brackets", mixer("'${${model.mixer}}'")),
]

SECTIONS: list[Row] = [
    ("a text", "just a text\n"),
    ("a list", "- 1\n- 2\n"),
    ("a number", "42\n"),
    ("JSON of an array", "[1, 2, 3]"),
    ("HTML", "<!DOCTYPE html><html><body>404</body></html>\n"),
    ("TOML", '[model]\ntype = "decoder"\ndim = 16\n'),
    ("Python", "import os\nos.system('ls')\n"),
    ("a version of the future", "xcompose: 2\nmodel: {type: decoder, dim: 16, layers: 1}\n"),
    ("a version of lists", "xcompose: [1]\nmodel: {type: decoder, dim: 16, layers: 1}\n"),
    ("no version", "model: {type: decoder, dim: 16, layers: 1}\n"),
    ("a model of a number", HEAD + "model: 1\n"),
    ("a model of a list", HEAD + "model: [decoder]\n"),
    ("a model of nothing", HEAD + "model:\n"),
    ("a model without all", HEAD + "model: {}\n"),
    ("a let of a list", ONE + "let: [1]\n"),
    ("variants of a list", ONE + "variants: [tiny]\n"),
    ("a variant of a number", ONE + "variants: {tiny: 1}\n"),
    ("expect of 10^400 parameters", ONE + "expect: {params: 1e401}\n"),
    ("expect of an endless range", ONE + "expect: {params: 1..2..3..4}\n"),
    ("expect backwards", ONE + "expect: {params: 9..1}\n"),
    ("expect of a growth that is none", ONE + "expect: {time: 'O(n^n^n)'}\n"),
    ("expect of a growth of 10^9", ONE + "expect: {time: 'O(n^1000000000)'}\n"),
    ("expect of a growth of brackets", ONE + f"expect: {{time: '{'O(' * 5_000}n{')' * 5_000}'}}\n"),
    ("expect of a length of 10^30", ONE + "expect: {memory: ..1GiB at 1e30}\n"),
    ("expect of a tolerance of 10^9", ONE + "expect: {params: 1k ± 1e999%}\n"),
    ("expect of lists in lists", ONE + "expect: {params: [[[[1]]]]}\n"),
    ("expect of lengths of zero", ONE + "expect: {lengths: multiple of 0}\n"),
    ("expect of what there is not", ONE + "expect: {secrets: 1}\n"),
    (
        "a search of 10^18 trials",
        ONE + "search: {choices: {model.dim: [16, 32]}, minimize: [params], budget: 1e30 trials}\n",
    ),
    (
        "a search over a section that is none",
        ONE + "search: {choices: {extends: [a.xc.yaml]}, minimize: [params], budget: 2 trials}\n",
    ),
    (
        "a search over dunders",
        ONE + "search: {choices: {model.__class__: [1]}, minimize: [params], budget: 2 trials}\n",
    ),
    (
        "a search over 10,000 values",
        ONE + f"search: {{choices: {{model.dim: {list(range(10_000))}, model.heads: x}}, minimize: [params]}}\n",
    ),
    ("a search of texts", ONE + "search: {choices: x, minimize: []}\n"),
    ("a budget of an age", ONE + "train: {budget: 1e400 steps}\n"),
    ("a budget of nothing", ONE + "train: {budget: soon}\n"),
    ("a batch of nothing", ONE + "train: {batch: 0}\n"),
    ("data of a path", ONE + "task: lm(data=../../etc/passwd)\n"),
    ("a name with slashes", ONE + "name: ../../etc/passwd\ntrain: {lr: -1}\n"),
]

ROWS: dict[str, list[Row]] = {
    "nesting": NESTING, "bombs": BOMBS, "cycles": CYCLES, "keys": KEYS, "tags": TAGS, "numbers": NUMBERS,
    "characters": CHARACTERS, "bytes": BYTES, "code": CODE, "sections": SECTIONS,
}  # fmt: skip
