"""The words and signs of the notation of the cards."""

from __future__ import annotations

import re

import attrs

GREEK = frozenset(["alpha", "beta", "epsilon", "mu", "phi", "pi", "tau"])
FUNCTIONS = frozenset(["cos", "exp", "log", "log2", "max", "mean", "min", "sin"])
"""What may be applied without brackets, `log p`; with brackets any word is a function."""
NUMBERS = frozenset(["decay", "eps", "fan-in", "lr"])
"""Words that stand for numbers in every card."""
PROSE = re.compile(
    "a|an|all|and|are|as|at|be|becomes|before|behind|but|by|each|else|every|for|from|gets|has|have|if|in|is|it|its|"
    "likewise|may|not|of|on|one|or|over|so|than|that|the|them|then|this|those|to|unless|up|what|when|where|which|while|"
    "with|without|no"
)
"""Words that are never numbers."""
SIGNS = {
    "=": "=", "<=": r"\le", ">=": r"\ge", "<": "<", ">": ">", "!=": r"\ne", "~": r"\sim", "<-": r"\leftarrow",
    "->": r"\to", "+-": r"\pm", "+": "+", "-": "-", "..": r"\ldots", "...": r"\ldots", "||": r"\Vert", "|": r"\mid",
    "&": r"\cap", "*": r"\cdot", ".": r"\cdot", "mod": r"\bmod",
}  # fmt: skip
RELATIONS = ("=", "<=", ">=", "<", ">", "!=", "~", "<-", "->")
DOTS = ("..", "...")
BESIDE = (*RELATIONS, "+", "*", "/", "^", "_", "-", "+-", "|", "||")
OPERATORS = ("+", "-", "*", "|", "&")
TOKEN = re.compile(
    r"(?P<code>`[^`]*`|\b[a-z_]{2,}=(?:[a-z]{2,}|[a-z_]*\d+)(?![\w(]))"
    r"|(?P<number>\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?(?:e-?\d+)?)"
    r"|(?P<word>bits_per_[a-z]+|weight_decay|[A-Za-z]-th\b|[A-Za-z]{2,}(?:-[A-Za-z]{2,})*'s\b|[A-Za-z]{2,}(?:-[A-Za-z]{2,})+|[A-Za-z]+\d*)"
    r"|(?P<sign><=|>=|!=|<-|->|\+-|\|\||\.\.\.|\.\.|.)",
    re.DOTALL,
)


@attrs.frozen
class Token:
    text: str
    kind: str
    tight: bool
    """Nothing stands between it and the token before it."""
    start: int


def tokens(line: str) -> list[Token]:
    """What a line is made of, blanks left out."""
    found: list[Token] = []
    end = 0
    for match in TOKEN.finditer(line):
        if match[0].isspace():
            continue
        found.append(Token(match[0], str(match.lastgroup), match.start() == end, match.start()))
        end = match.end()
    return found
