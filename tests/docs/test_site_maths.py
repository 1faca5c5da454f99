"""From the notation of cards to MathML: no letter is lost, and what is no formula stays as it is."""

from __future__ import annotations

import html
import importlib
import re
from types import ModuleType

import pytest

from tests.test_docs import ROOT
from xcompose import registry

pytest.importorskip("latex2mathml", reason="pip install -e '.[docs]'")

SIGNS = {"∑": "sum", "ϕ": "phi", "φ": "phi", "π": "pi", "μ": "mu", "τ": "tau", "α": "alpha", "β": "beta",
         "ϵ": "epsilon", "ε": "epsilon", "∈": "in"}  # fmt: skip
ENCLOSED = re.compile(r"(?<![A-Za-z_])(sqrt|floor|ceil)(?=\()")


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "tools"))
    return importlib.import_module("site_maths")


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "tools"))
    return importlib.import_module("site_cards")


def letters(text: str) -> str:
    """Letters and digits alone: what a formula holds, however it is set."""
    for sign, name in SIGNS.items():
        text = text.replace(sign, name)
    return "".join(re.findall(r"[A-Za-z0-9]", text))


def shown(made: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", made))


@pytest.mark.parametrize(
    ("line", "formulas"),
    [
        ("S_i = {i + dilation a : -size <= a <= size};  in a decoder -size <= a <= 0",
         ["S_i = {i + dilation a : -size <= a <= size}", "-size <= a <= 0"]),
        ("o_i = sum_j phi(q_i) v_j / sum_j phi(q_i), over what i may read",
         ["o_i = sum_j phi(q_i) v_j / sum_j phi(q_i)", "i"]),
        ("before the sub-layer's dropout; W2 = 0 at the start", ["W2 = 0"]),
        ("a head of a group, and 2 n g - g^2 pairs a head", ["2 n g - g^2"]),
        ("a decoder has no slot for a block that is not complete", []),
        ("loss = - mean over texts of log p(class | text)", ["log p(class | text)"]),
        ("`own=false` leaves out distance 0; with side=keys S_i = {}", ["S_i = {}"]),
        ("S_i = A_i | B_i | ...;  |i - j| is a distance", ["S_i = A_i | B_i | ...", "|i - j|"]),
        ("with |.| taken as it is, and k in [size - last, size)", ["k in [size - last, size)"]),
    ],
)  # fmt: skip
def test_what_is_a_formula(tools, line, formulas):
    found = tools.pieces(line, {"size", "dilation", "last"})

    assert "".join(piece.text for piece in found) == line
    assert [piece.text for piece in found if piece.latex] == formulas


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("x^2", "x^{2}"),
        ("W1 x", r"W_{1}\, x"),
        ("a / (b + c)", r"\frac{a}{b + c}"),
        ("c/2 - 1", "c / 2 - 1"),
        ("10000^(-2 j / c)", r"10000^{-2\, j / c}"),
        ("sqrt(d)", r"\sqrt{d}"),
        ("floor(i / size)", r"\lfloor \frac{i}{\text{size}}\rfloor "),
        ("P_t,i,2j+1 = 0", "P_{t, i, 2j+1} = 0"),
        ("x <- y", r"x \leftarrow y"),
        ("(a + b) (c / d)", r"(a + b)\, \left(\frac{c}{d}\right)"),
    ],
)
def test_how_a_formula_is_set(tools, text, latex):
    (piece,) = tools.pieces(text, {"size"})

    assert piece.latex == latex


def test_nothing_of_any_card_is_lost(tools, cards):
    """Formulas keep their letters in their order; roots and rounding become signs; prose is the same."""
    formulas = 0
    for component in registry.load().components():
        card = cards.card_of(component.card)
        names = {option.name for option in component.schema.options}
        for line in (*card.blocks["Maths"], *card.blocks["Cost"], *card.blocks["Limits"]):
            found = tools.pieces(line.text, names)
            assert "".join(piece.text for piece in found) == line.text
            for piece in found:
                wanted = ENCLOSED.sub("", piece.text) if piece.latex else piece.text
                assert letters(shown(piece.html)) == letters(wanted), f"{component.name}: {piece.text}"
                formulas += bool(piece.latex)
        whole = letters(" ".join(component.card.split("\n\n", 1)[1].split()).replace("Maths", "", 1))
        kept = "".join(letters(line.text) for block in cards.BLOCKS for line in card.blocks[block])
        for block in cards.BLOCKS[1:]:
            whole = whole.replace(block, "", 1)
        assert sorted(kept) == sorted(whole), component.name
    assert formulas > 600


def test_wrapped_lines_are_joined_and_others_are_not(cards):
    card = cards.card_of(
        "What.\n\n"
        "Maths    " + "x " * 54 + "\n         wrapped\n         y = 1\n         long      z = 2\n"
        "Shapes   x (b n c);  y (c)\nCost     none\nLimits   none\nPaper    A, arXiv:2004.05150, s. 3"
    )

    assert [line.text.split()[-1] for line in card.blocks["Maths"]] == ["wrapped", "1", "2"]
    assert '<span class="xc-label">long</span>' in cards.maths(card.blocks["Maths"], ())
    assert "<code>(b n c)</code></li><li>" in cards.shapes(card.blocks["Shapes"])
    assert '<a href="https://arxiv.org/abs/2004.05150">arXiv:2004.05150</a>' in cards.papers(card.blocks["Paper"])


@pytest.mark.parametrize(
    ("last", "then", "begins"),
    [
        ("mean over rows", "V_ij = R_i C_j", True),
        ("in order; no norm at the end", "around=ffn: x <- y", True),
        ("up to the edges between", "[mu, t]_1..k = W x", True),
        ("of the rows, where", "p_i = softmax(q_i)", False),
        ("one after the other,", "p_i = softmax(q_i)", False),
        ("the sum of all", "slots of a block", False),
    ],
)
def test_a_formula_begins_a_statement_unless_it_is_led_up_to(cards, last, then, begins):
    full = "x " * 40 + last.rjust(29)

    lines = cards.card_of(
        f"What.\n\nMaths    {full}\n         {then}\nShapes   x\nCost     none\nLimits   none\nPaper    A"
    ).blocks["Maths"]

    assert [line.text for line in lines] == ([full, then] if begins else [f"{full} {then}"])


def test_behind_a_label_what_stands_under_it_begins_a_statement(cards):
    full = "x " * 49
    card = cards.card_of(
        f"What.\n\nMaths    one       {full}\n                   wrapped\n         two       {full}\n"
        "         beside all\nShapes   x\nCost     none\nLimits   none\nPaper    A"
    )

    assert [line.text.split()[-1] for line in card.blocks["Maths"]] == ["wrapped", "x", "all"]


def test_a_card_without_a_block_is_refused(cards):
    with pytest.raises(ValueError, match="Maths, Shapes, Cost, Limits, Paper, this one has Maths, Cost"):
        cards.card_of("What.\n\nMaths    x\nCost     none\n")
