"""From a formula in the notation of the cards to LaTeX.

relation = range { "=" "<=" "<" ... range }       range = sums { ".." sums }        sums = sum { "|" "&" sum }
sum = [ "-" ] term { "+" "-" term }               term = product { "/" "*" "." "mod" product }
product = factor { factor }                       factor = atom { "'" "_" sub "^" sup "(" list ")" "[" list "]" }
atom = number | name | "(" list ")" | "[" list "]" | "{" anything "}" | "|" relation "|"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from site_signs import BESIDE, DOTS, FUNCTIONS, GREEK, NUMBERS, OPERATORS, PROSE, RELATIONS, SIGNS, Token, tokens


class NoFormula(Exception):
    """What stands here is prose."""


def _bare(latex: str) -> str:
    """Without brackets around the whole, which a fraction does not need."""
    opened, _, inner = latex.partition("(")
    if opened not in ("", r"\left") or not latex.endswith(")"):
        return latex
    depth = 1
    for place, sign in enumerate(inner):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return inner[:place].removesuffix(r"\right") if place == len(inner) - 1 else latex
    return latex


class Reader:
    """Reads the tokens of a line; a method that finds no formula raises NoFormula, and its caller goes back."""

    def __init__(self, line: str, names: Collection[str]):
        self.line, self.names, self.at = line, frozenset(names), 0
        self.small = 0
        """How deep in indices and exponents, where fractions stay on the line."""
        self.telling = False
        self.tokens = tokens(line)

    def formula(self) -> str:
        """The longest formula from here on, or an empty text after one token of prose."""
        begin, self.telling = self.at, False
        try:
            latex = self._relation()
        except NoFormula:
            latex = ""
        if latex and self.telling:
            return latex
        self.at = begin + 1
        return ""

    # the tokens in hand

    def _now(self, ahead: int = 0) -> Token:
        place = self.at + ahead
        return self.tokens[place] if 0 <= place < len(self.tokens) else Token("", "end", False, len(self.line))

    def _is(self, *texts: str, tight: bool = False) -> bool:
        token = self._now()
        return token.kind != "end" and token.text in texts and (token.tight or not tight)

    def _take(self, text: str) -> None:
        if not self._is(text):
            raise NoFormula
        self.at += 1

    def _or_back(self, read: Callable[[], str]) -> str:
        """What is read, or an empty text and no step forward."""
        begin = self.at
        try:
            return read()
        except NoFormula:
            self.at = begin
            return ""

    # the grammar, from loose to tight

    def _relation(self) -> str:
        return self._chain(self._range, self._relates)

    def _relates(self) -> str:
        token = self._now()
        if token.text == "in" and self._now(1).text in ("{", "["):
            return r"\in"
        return SIGNS[token.text] if token.text in RELATIONS else ""

    def _chain(self, read: Callable[[], str], sign: Callable[[], str]) -> str:
        latex = read()
        while joint := sign():
            begin, self.at = self.at, self.at + 1
            more = self._or_back(read)
            if not more:
                self.at = begin
                break
            self.telling = True
            latex += f" {joint} {more}"
        return latex

    def _range(self) -> str:
        latex = ""
        while True:
            if self._is(*DOTS):
                latex += f" {SIGNS['..']} "
                self.at += 1
            more = self._or_back(self._sums)
            latex += more
            if not more or not self._is(*DOTS):
                break
        if not latex:
            raise NoFormula
        return latex

    def _sums(self) -> str:
        return self._chain(self._sum, self._bar)

    def _bar(self) -> str:
        token, after = self._now(), self._now(1)
        apart = not token.tight and not after.tight and token.text in ("|", "||", "&")
        return SIGNS[token.text] if apart else ""

    def _sum(self) -> str:
        sign = ""
        if self._is("-", "+", "+-"):
            sign = SIGNS[self._now().text]
            self.at += 1
        return f"{sign}{self._chain(self._term, self._adds)}"

    def _adds(self) -> str:
        loose, after = not self._now().tight, self._now(1)
        if self._now().text == "-" and loose == after.tight:  # a sign of what follows, or a dash
            return ""
        return SIGNS[self._now().text] if self._is("+", "-", "+-") else ""

    def _term(self) -> str:
        latex = self._product()
        while self._is("/", "*", "mod") or self._dot():
            begin, sign, loose = self.at, self._now().text, not self._now().tight
            self.at += 1
            more = self._or_back(self._product)
            if not more:
                self.at = begin
                break
            self.telling = True
            if sign != "/":
                latex = f"{latex} {SIGNS[sign]} {more}"
            else:
                latex = (
                    rf"\frac{{{_bare(latex)}}}{{{_bare(more)}}}" if loose and not self.small else f"{latex} / {more}"
                )
        return latex

    def _dot(self) -> bool:
        return self._is(".") and not self._now().tight and not self._now(1).tight and self._now(1).kind != "end"

    def _product(self) -> str:
        latex = self._factor()
        while True:
            apart = not self._now().tight
            more = self._or_back(self._factor)
            if not more:
                return latex
            latex += (r"\, " if apart or r"\text" in latex + more else " ") + more

    def _factor(self) -> str:
        latex = self._atom()
        while True:
            more = self._or_back(self._behind)
            if not more:
                return latex
            latex += more

    def _behind(self) -> str:
        if not self._now().tight:
            raise NoFormula
        if self._is("'"):
            self.at += 1
            return "'"
        if self._is("_", "^"):
            sign = self._now().text
            self.at += 1
            self.telling = True
            return f"{sign}{{{self._script(sign)}}}"
        if self._is("(", "["):
            self.telling = True
            return self._list(words=True)
        raise NoFormula

    def _script(self, sign: str) -> str:
        """What stands below or above, which hangs on without a blank."""
        if not self._now().tight:
            raise NoFormula
        self.small += 1
        try:
            if self._is("{"):
                return self._anything()
            if self._is("(") and sign == "^":
                return self._listed()[1]
            if self._is("("):
                return self._list()
            return self._tight(sign)
        finally:
            self.small -= 1

    def _tight(self, sign: str) -> str:
        """Letters and numbers in a row: `_t,i,2j+1`, `_1..k`, `^-1`."""
        latex = ""
        if sign == "^" and self._is("-"):
            latex, self.at = "-", self.at + 1
        first = True
        while self._now().tight and self._now().kind in ("number", "word"):
            latex += self._index(self._now().text)
            self.at += 1
            if sign == "_" and not first and self._is("+") and self._now().tight and self._now(1).kind == "number":
                latex, self.at = latex + "+", self.at + 1
            elif sign == "_" and self._is(",", "..") and self._now().tight and self._now(1).tight:
                if self._now(1).kind not in ("number", "word"):
                    break
                latex, self.at = latex + SIGNS.get(self._now().text, ",") + " ", self.at + 1
            first = False
        if not latex.strip("-"):
            raise NoFormula
        return latex

    def _index(self, text: str) -> str:
        if text in GREEK:
            return f"\\{text} "
        if re.fullmatch(r"[a-zA-Z]{1,3}\d*|\d+", text):
            return " ".join(re.findall(r"[a-zA-Z]|\d+", text))
        return rf"\text{{{text}}}"

    def _list(self, *, words: bool = False) -> str:
        """Brackets around relations; `..` may stand for some of them, and words where they are arguments."""
        opening, inner, closing = self._listed(words)
        tall = r"\frac" in inner
        return rf"\left{opening}{inner}\right{closing}" if tall else f"{opening}{inner}{closing}"

    def _listed(self, words: bool = False) -> tuple[str, str, str]:
        opening = self._now().text
        closings = {"(": (")",), "[": ("]", ")")}[opening]
        self._take(opening)
        latex = ""
        while not self._is(*closings):
            latex += self._argument(words) if not self._is(",", ";") else ""
            if self._is(",", ";"):
                latex += f"{self._now().text}\\ "
                self.at += 1
            elif not self._is(*closings) and not words:
                raise NoFormula
        self.at += 1
        return opening, latex, self._now(-1).text

    def _argument(self, words: bool) -> str:
        if not words:
            return self._relation()
        begin = self.at
        found = self._or_back(self._relation)
        if found:
            return found
        if self._now().kind != "word" and self._now().text not in SIGNS:
            raise NoFormula
        self.at = begin + 1
        said = self.tokens[begin].text
        return rf"\text{{ {said} }}" if self.tokens[begin].kind == "word" else SIGNS[said]

    def _anything(self) -> str:
        """What stands in braces, where words are words."""
        self._take("{")
        latex = ""
        while not self._is("}"):
            begin = self.at
            found = self._or_back(self._relation)
            token = self._now()
            if found:
                latex += found
            elif token.kind == "end" or token.text in "()[]{`":
                raise NoFormula
            elif token.kind == "word":
                latex += r"\text{ in }" if token.text == "in" else rf"\text{{ {token.text} }}"
                self.at = begin + 1
            else:
                latex += rf"{token.text}\ "
                self.at = begin + 1
        self._take("}")
        return latex

    def _atom(self) -> str:
        token = self._now()
        if token.kind == "number":
            self.at += 1
            return token.text.replace(",", "{,}")
        if token.kind == "word":
            return self._name(token)
        if token.text == "{":
            self.telling = True
            return rf"\{{{self._anything()}\}}"
        if token.text in ("(", "["):
            return self._list()
        if token.text == "..." and self._now(-1).text in OPERATORS:
            self.at += 1
            return SIGNS["..."]
        if token.text == "|" and self._now(1).tight and (not token.tight or self._now(-1).text in "(["):
            return self._absolute()
        raise NoFormula

    def _absolute(self) -> str:
        self._take("|")
        inner = self._chain(self._sum, lambda: "")
        if not self._now().tight:
            raise NoFormula
        self._take("|")
        self.telling = True
        return f"|{inner}|"

    def _name(self, token: Token) -> str:
        text = token.text
        bracket = self._now(1).text in ("(", "[") and self._now(1).tight
        if text in ("sqrt", "floor", "ceil") and bracket:
            return self._enclosed(text)
        letter = re.fullmatch(r"([A-Za-z])(\d*)", text)
        if letter:
            self._refuse_article(text)
            self.at += 1
            self.telling = True
            return letter[1] + (f"_{{{letter[2]}}}" if letter[2] else "")
        self.at += 1
        if text in GREEK:
            self.telling = True
            return f"\\{text} "
        if text == "sum" and (self._is("_", tight=True) or self._starts_operand()):
            return r"\sum "
        if text in FUNCTIONS and (bracket or self._is("_", "'", tight=True) or self._starts_operand()):
            return rf"\operatorname{{{text}}}"
        if bracket or text in NUMBERS or (not PROSE.fullmatch(text) and (text in self.names or self._beside(token))):
            return rf"\text{{{text}}}"
        raise NoFormula

    def _enclosed(self, text: str) -> str:
        self.at += 1
        inner = self._listed()[1]
        self.telling = True
        marks = {"sqrt": (r"\sqrt{", "}"), "floor": (r"\lfloor ", r"\rfloor "), "ceil": (r"\lceil ", r"\rceil ")}
        return marks[text][0] + inner + marks[text][1]

    def _starts_operand(self) -> bool:
        """Whether what follows a function without brackets is what it is applied to: a letter, a root, a function."""
        token = self._now()
        if token.text in ("a", "A"):
            return False
        single = re.fullmatch(r"[A-Za-z]\d*", token.text) is not None
        return (
            single
            or token.text in FUNCTIONS | GREEK | {"sqrt", "sum"}
            or token.text in ("|", "(")
            or (token.kind == "number")
        )

    def _refuse_article(self, text: str) -> None:
        """`a head` is prose; so is the A that begins a sentence."""
        after = self._now(1)
        if text not in ("a", "A", "I") or after.tight or after.kind != "word" or len(after.text) == 1:
            return
        called = self._now(2).text in ("(", "[") and self._now(2).tight
        if after.text not in GREEK and not called and not re.fullmatch(r"[A-Za-z]\d+", after.text):
            raise NoFormula

    def _beside(self, token: Token) -> bool:
        """Whether a word stands beside a sign of arithmetic, and so for a number."""
        before, after = self._now(-2), self._now()
        dash = after.text == "-" and (after.tight or self._now(1).tight)
        counted = before.kind == "number" and after.text in (")", "+", "-")
        return (after.text in BESIDE and not dash) or (before.text in BESIDE and before.text != "-") or counted
