"""What holds for all specs: two spellings of one tree, no crash, no torch."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xcompose.schema import OptionSchema, ValueType
from xcompose.spec import check_text, freeze, load_text

from .catalogue import CATALOGUE
from .helpers import EXAMPLES, spec_of

DEEPEST = 4
OPERATORS = {"union": "|", "intersection": "&", "difference": "-"}
SIMPLE = {
    "count": st.integers(1, 9000),
    "length": st.integers(1, 9000),
    "real": st.sampled_from(["0.5", "3e-4", "1"]),
    "width": st.sampled_from(["2x", "0.5x", 96]),
    "flag": st.booleans(),
    "text": st.sampled_from(["plain", "two words"]),
}


class Tree:
    """A component to be spelled in two ways."""

    def __init__(self, name: str, options: dict, shares: dict, main: str | None, operator: bool):
        self.name, self.options, self.shares, self.main, self.operator = name, options, shares, main, operator

    def expression(self) -> str:
        joined = self.options.get(self.main)
        if self.operator and isinstance(joined, list) and len(joined) == 2:
            operands = [f"({m.expression()})" if m.operator else m.expression() for m in joined]
            return f" {OPERATORS[self.name]} ".join(operands)
        arguments = []
        for option, value in sorted(self.options.items(), key=lambda pair: pair[0] != self.main):
            written = self.arguments(option, value)
            arguments += written if option == self.main else [f"{option}={w}" for w in written]
        return f"{self.name}({', '.join(arguments)})" if arguments else self.name

    def arguments(self, option: str, value: object) -> list[str]:
        if not isinstance(value, list):
            return [spelled(value)]
        shares = self.shares.get(option) or [1] * len(value)
        items = [spelled(v) if s == 1 else f"{s}*{spelled(v)}" for s, v in zip(shares, value, strict=True)]
        return items if option == self.main else [f"[{', '.join(items)}]"]

    def mapping(self) -> object:
        found: dict[str, object] = {"type": self.name}
        for option, value in self.options.items():
            if not isinstance(value, list):
                found[option] = value.mapping() if isinstance(value, Tree) else value
                continue
            items = [v.mapping() if isinstance(v, Tree) else v for v in value]
            shares = self.shares.get(option)
            found[option] = [{"shares": s, "use": i} for s, i in zip(shares, items, strict=True)] if shares else items
        return found


def spelled(value: object) -> str:
    if isinstance(value, Tree):
        return value.expression()
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) and " " in value else str(value)


@st.composite
def components(draw, kind: str, depth: int = 0):
    schemas = [s for s in CATALOGUE if s.kind == kind and not any(has_record(o.type) for o in s.options)]
    leaves = [s for s in schemas if not any(inner(o.type).name == "component" and o.required for o in s.options)]
    schema = draw(st.sampled_from(leaves if depth >= DEEPEST else schemas))
    options, shares = {}, {}
    for option in schema.options:
        if not option.required and (option.inherited or draw(st.booleans())):
            continue
        options[option.name] = draw(values(option, option.type, depth + 1))
        if option.shares:
            shares[option.name] = [draw(st.sampled_from([1, 3])), 1][: len(options[option.name])]
            shares[option.name] = [1, 1][: len(options[option.name])] if depth else shares[option.name]
    main = schema.main.name if schema.main else None
    operator = schema.name in OPERATORS and kind == "pattern" and draw(st.booleans())
    if operator and any(m.operator for m in options[main]):
        operator = False
    return Tree(schema.full_name, options, shares, main, operator)


@st.composite
def values(draw, option: OptionSchema, type: ValueType, depth: int):
    if type.name == "component":
        return draw(components(type.kind, depth))
    if type.name == "list":
        return [draw(values(option, type.of, depth)) for _ in range(draw(st.integers(1, 2)))]
    if type.name == "word":
        return draw(st.sampled_from(type.words))
    return draw(SIMPLE[type.name])


def inner(type: ValueType) -> ValueType:
    return inner(type.of) if type.of is not None else type


def has_record(type: ValueType) -> bool:
    return inner(type).name in ("record", "any", "layers", "map")


HEAD = "xcompose: 1\nmodel:\n  type: encoder\n  dim: 256\n  heads: 64\n  layers: 1\n  mixer: "


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(components("mixer"))
def test_expression_and_mapping_give_equal_trees(tree):
    one, one_said = check_text(f"{HEAD}'{tree.expression()}'\n", "one", (), CATALOGUE)
    two, two_said = check_text(HEAD + json.dumps(tree.mapping()) + "\n", "two", (), CATALOGUE)

    assert sorted(d.message for d in one_said) == sorted(d.message for d in two_said)
    assert {d.code for d in one_said} <= {"XC015", "XC019"}
    if one is not None and two is not None:
        assert one.model == two.model
        assert load_text(freeze(one), "frozen", catalogue=CATALOGUE).model == one.model


TEXTS = [p.read_text() for p in sorted(EXAMPLES.rglob("*.xc.yaml"))]
WORDS = sorted({w for text in TEXTS for w in re.findall(r"[\w.\-]+|[^\sA-Za-z0-9]", text)})
POINTERS = ["w", "let.w", "model.dim / 8", "model.layers.0.mixer", "model.ffn.width", "model.heads", "model.mixer"]


def mutated(rng: random.Random) -> str:
    text = rng.choice(TEXTS)
    for _ in range(rng.choice([1, 1, 2, 3, 6])):
        pieces = re.split(r"(\s+|[^\sA-Za-z0-9_.\-])", text)
        at, other, dice = rng.randrange(len(pieces)), rng.randrange(len(pieces)), rng.random()
        if dice < 0.35:
            pieces[at] = rng.choice(WORDS)
        elif dice < 0.5:
            del pieces[at]
        elif dice < 0.65:
            pieces.insert(at, rng.choice(WORDS))
        elif dice < 0.8:
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif dice < 0.9:
            pieces[at] = f"${{{rng.choice(POINTERS)}}}"
        else:
            lines = text.split("\n")
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            pieces = ["\n".join(lines)]
        text = "".join(pieces)
    return text


@pytest.mark.parametrize("seed", range(6))
def test_mutated_specs_never_crash(seed):
    rng = random.Random(seed)
    for _ in range(500):
        text = mutated(rng)
        variants = re.findall(r"^  ([a-z_]+):", text.partition("\nvariants:")[2], re.MULTILINE)[:1]
        started = time.perf_counter()

        spec, said = check_text(text, "s", (), CATALOGUE, variants=variants if rng.random() < 0.4 else ())

        assert time.perf_counter() - started < 5
        assert (spec is None) == any(d.severity == "error" for d in said), text


def test_reading_a_spec_imports_no_torch():
    program = (
        "import sys; from xcompose.spec import Catalogue, check_text; "
        "check_text('xcompose: 1\\nmodel: {type: decoder, dim: 2, layers: 1}', 's', (), Catalogue()); "
        "print([m for m in ('torch', 'omegaconf', 'numpy', 'xcompose_plugins') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_deep_tree_ends_in_a_finding():
    text = (
        "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 1, mixer: "
        + "{type: sum, of: " * 28
        + "attention"
        + "}" * 28
        + "}"
    )
    assert spec_of(text).model is not None

    parts = ", ".join(f"a{i}: '{'sum(' * 30}${{a{i + 1}}}{')' * 30}'" for i in range(6)) + ", a6: attention"
    text = f"xcompose: 1\nlet: {{{parts}}}\nmodel: {{type: decoder, dim: 256, layers: 1, mixer: '${{a0}}'}}\n"
    _, said = check_text(text, "s", (), CATALOGUE)

    assert [d.message for d in said] == ["components nest deeper than 90 levels"]
