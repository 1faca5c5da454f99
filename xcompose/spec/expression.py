"""Parse component expressions and layer sequences, and write them back.

sequence     = element { "," element }
element      = [ number "*" ] union
union        = intersection { "|" intersection }
intersection = primary { ( "&" | "-" ) primary }
primary      = component | literal | reference | "[" [ sequence ] "]" | "(" sequence ")"
"""

from __future__ import annotations

import re

from xcompose.diagnostics import SpecError
from xcompose.spec import references
from xcompose.spec.tokens import NAME, OPTION, Token, fail, tokens
from xcompose.spec.tree import (
    Argument,
    Call,
    Element,
    Expression,
    Group,
    List,
    Literal_,
    Name,
    Operation,
    Reference,
    Scalar,
)

_WORD = re.compile(r"[a-z0-9_-]+")
LEVELS = 32
DEEPEST = 2 * LEVELS
MENDED = 100
CONSTANTS = {"true": "flag", "false": "flag", "null": "null"}


def parse_sequence(scalar: Scalar, path: str = "") -> tuple[Element, ...]:
    """The elements of a sequence: `3*near, far`.

    Args:
        scalar: the text with its places.
        path: of the place, for findings.

    Raises:
        SpecError: with the first thing that is not well formed.
    """
    parser = _Parser(scalar, path)
    found = parser.sequence()
    parser.expect_end()
    return found


def parse_expression(scalar: Scalar, path: str = "") -> Expression:
    """The one expression that a text holds: `window(256) | global(4)`.

    Args:
        scalar: the text with its places.
        path: of the place, for findings.

    Raises:
        SpecError: with the first thing that is not well formed.
    """
    parser = _Parser(scalar, path, single=True)
    element = parser.element()
    if element.number is not None:
        reason = "a number and `*` stand before layers and groups of heads only"
        raise parser.fail_at(element.number, "expected one component, found several", reason, (unparse(element.value),))
    if parser.here.text == "," and parser.here.kind == "sign":
        reason = "one component stands here"
        raise parser.fail(parser.here, "expected the end, found `,`", reason)
    parser.expect_end()
    return element.value


def unparse(expression: Expression | Element | tuple[Element, ...]) -> str:
    """The canonical spelling; parsing it gives an equal tree."""
    if isinstance(expression, tuple):
        return ", ".join(unparse(element) for element in expression)
    if isinstance(expression, Element):
        value = unparse(expression.value)
        if expression.number is None:
            return value
        return f"{unparse(expression.number)}*" + (f"({value})" if isinstance(expression.value, Operation) else value)
    if isinstance(expression, Operation):
        return _unparse_operation(expression)
    if isinstance(expression, Call):
        arguments = (f"{a.option}={unparse(a.value)}" if a.option else unparse(a.value) for a in expression.arguments)
        return f"{expression.name}({', '.join(arguments)})"
    if isinstance(expression, List):
        return f"[{unparse(expression.items)}]"
    if isinstance(expression, Group):
        return f"({unparse(expression.items)})"
    if isinstance(expression, Reference):
        return f"${{{expression.source.strip()}}}"
    if isinstance(expression, Literal_) and expression.kind == "string":
        return f'"{expression.text}"'
    return expression.text


def _unparse_operation(operation: Operation) -> str:
    written = []
    for position, operand in enumerate(operation.operands):
        text = unparse(operand)
        if isinstance(operand, Operation):
            looser = operand.operator == "|"
            left_of_same_rank = operation.operator != "|" and position == 0 and not looser
            inside_union = operation.operator == "|" and not looser
            text = text if left_of_same_rank or inside_union else f"({text})"
        written.append(text)
    return f" {operation.operator} ".join(written)


def _depth(element: Element) -> int:
    """How many calls, operations, lists and groups lie within each other."""
    deepest, waiting = 0, [(element.value, 1)]
    while waiting:
        value, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(value, Operation):
            waiting += [(operand, depth + 1) for operand in value.operands]
        elif isinstance(value, Call):
            waiting += [(argument.value.value, depth + 1) for argument in value.arguments]
        elif isinstance(value, List | Group):
            waiting += [(item.value, depth + 1) for item in value.items]
    return deepest


class _Parser:
    def __init__(self, scalar: Scalar, path: str, single: bool = False):
        self.scalar, self.path, self.single = scalar, path, single
        self._tokens = tokens(scalar, path)
        self._at = 0
        self._open: list[Token] = []
        if self.here.kind == "end":
            raise self.fail(self.here, "expected an expression, found nothing")

    @property
    def here(self) -> Token:
        return self._tokens[self._at]

    def sequence(self) -> tuple[Element, ...]:
        found = [self.element()]
        while self._takes(","):
            if self._closes():
                raise self._stray_comma()
            found.append(self.element())
        return tuple(found)

    def element(self) -> Element:
        start, number = self.here, None
        if start.kind == "number" and self._is(self._tokens[self._at + 1], "*"):
            number = Literal_("number", start.text, self.scalar.span_of(start.start, start.end))
            self._at += 2
        value = self._union()
        found = Element(value, number, self._span(start))
        if not self._open and _depth(found) > DEEPEST:
            raise fail(
                self.scalar, start.start, start.end, f"an expression of more than {DEEPEST} levels", path=self.path,
                code="XC008",
            )  # fmt: skip
        return found

    def expect_end(self) -> None:
        token = self.here
        if token.kind == "end":
            return
        if token.kind == "sign" and token.text in ")]":
            raise self.fail(token, f"`{token.text}` closes nothing", fixes=("delete it",))
        raise self._missing_comma("the end")

    def fail(self, token: Token, message: str, label: str = "", fixes: tuple[str, ...] = ()) -> SpecError:
        return fail(self.scalar, token.start, token.end, message, label, fixes, self.path)

    def fail_at(self, number: Literal_, message: str, label: str, fixes: tuple[str, ...]) -> SpecError:
        first = self._tokens[0]
        assert first.text == number.text
        return self.fail(first, message, label, fixes)

    def _union(self) -> Expression:
        start = self.here
        operands = [self._intersection()]
        while self._takes("|"):
            operands.append(self._intersection())
        return operands[0] if len(operands) == 1 else Operation("|", tuple(operands), self._span(start))

    def _intersection(self) -> Expression:
        start = self.here
        left = self._primary()
        joined = 0
        while self._is(self.here, "&") or self._is(self.here, "-"):
            joined += 1
            if joined > LEVELS:
                raise self._too_deep(f"more than {LEVELS} `&` and `-` in a row")
            operator = self.here.text
            self._at += 1
            right = self._primary()
            left = Operation("&" if operator == "&" else "-", (left, right), self._span(start))
        return left

    def _primary(self) -> Expression:
        token = self.here
        if token.kind == "word":
            return self._component()
        if self._is(token, "(") or self._is(token, "["):
            return self._brackets()
        negative = self._takes("-")
        token = self.here
        if token.kind == "number":
            self._at += 1
            if self._is(self.here, "*"):
                label = "a number and `*` stand at the beginning of a layer or of a group of heads"
                raise self.fail(self.here, "`*` stands in the middle of an expression", label)
            start = token.start if not negative else self._tokens[self._at - 2].start
            span = self.scalar.span_of(start, token.end)
            return Literal_("number", f"-{token.text}" if negative else token.text, span)
        if not negative and token.kind == "string":
            self._at += 1
            return Literal_("string", token.text, self.scalar.span_of(token.start, token.end))
        if not negative and token.kind == "reference":
            self._at += 1
            found = Reference(
                token.text,
                self.scalar.span_of(token.start, token.end),
                references.part(self.scalar, token.start + 2, token.end - 1),
            )
            references.parse(found, self.path)
            return found
        raise self._expected("a number" if negative else "a component or a value")

    def _component(self) -> Expression:
        token = self.here
        self._check_name(token)
        self._at += 1
        if not self._is(self.here, "("):
            span = self.scalar.span_of(token.start, token.end)
            kind = CONSTANTS.get(token.text)
            return Literal_(kind, token.text, span) if kind else Name(token.text, span)  # type: ignore[arg-type]
        self._enter()
        arguments: list[Argument] = []
        named: dict[str, None] = {}
        while not self._is(self.here, ")"):
            arguments.append(self._argument(named))
            if not self._takes(","):
                break
            if self._closes():
                raise self._stray_comma()
        self._leave(")")
        return Call(token.text, tuple(arguments), self._span(token), self.scalar.span_of(token.start, token.end))

    def _check_name(self, token: Token) -> None:
        text = token.text
        if NAME.fullmatch(text):
            return
        if ".xc.yaml" in text:
            fix = f'write it in double quotes: "{text}"'
            raise self.fail(token, f"`{text}` is not a name", "the name of a file is a text", (fix,))
        if "." in text:
            reason = "a spec names installed components, never Python code"
            words = all(_WORD.fullmatch(word) for word in text.split("."))
            fixes = (f'write "{text}" in double quotes, where a text is wanted',) if words else ()
            raise self.fail(token, f"`{text}` is not a name", reason, fixes)
        mended = text.lower().replace("_", "-").strip("-")
        fixes = (f"did you mean `{mended}`?",) if NAME.fullmatch(mended) else ()
        label = "a name is small letters and digits, joined by `-`"
        raise self.fail(token, f"`{text}` is not a name", label, fixes)

    def _argument(self, named: dict[str, None]) -> Argument:
        """The next argument; `named` holds the names of those before it."""
        start = self.here
        if start.kind != "word" or not self._is(self._tokens[self._at + 1], "="):
            value = self.element()
            if named:
                reason = f"it follows the named option '{next(iter(named))}'"
                fixes = ("write unnamed values first, or name this one",)
                raise self.fail(start, "an unnamed value behind a named one", reason, fixes)
            return Argument(None, value, self._span(start))
        if not OPTION.fullmatch(start.text):
            mended = start.text.lower().replace("-", "_")
            fixes = (f"did you mean `{mended}`?",) if OPTION.fullmatch(mended) else ()
            label = "options are small letters and digits, joined by `_`"
            raise self.fail(start, f"`{start.text}` is not the name of an option", label, fixes)
        if start.text in named:
            raise self.fail(start, f"the option '{start.text}' is written twice", fixes=("keep one of them",))
        self._at += 2
        value = self.element()
        named[start.text] = None
        return Argument(start.text, value, self._span(start), self.scalar.span_of(start.start, start.end))

    def _brackets(self) -> Expression:
        start = self.here
        closer = ")" if start.text == "(" else "]"
        self._enter()
        if self._is(self.here, closer):
            if closer == ")":
                raise self.fail(start, "`()` holds nothing", fixes=("delete it, or write what belongs inside",))
            items: tuple[Element, ...] = ()
        else:
            items = self.sequence()
        self._leave(closer)
        if closer == "]":
            return List(items, self._span(start))
        if len(items) == 1 and items[0].number is None:
            return items[0].value
        return Group(items, self._span(start))

    def _enter(self) -> None:
        if len(self._open) >= LEVELS:
            raise self._too_deep(f"more than {LEVELS} levels of brackets")
        self._open.append(self.here)
        self._at += 1

    def _too_deep(self, message: str) -> SpecError:
        return fail(self.scalar, self.here.start, self.here.end, message, path=self.path, code="XC008")

    def _leave(self, closer: str) -> None:
        if self._takes(closer):
            self._open.pop()
            return
        token, opened = self.here, self._open[-1]
        if token.kind == "end":
            missing = "".join({"(": ")", "[": "]"}[t.text] for t in reversed(self._open))
            fixes = (
                (self.scalar.text.strip() + missing,) if "\n" not in self.scalar.text.strip() else (f"add `{missing}`",)
            )
            raise self.fail(opened, f"`{opened.text}` is never closed", "opened here", fixes)
        if token.kind == "sign" and token.text in ")]":
            reason = f"`{opened.text}` is open here"
            raise self.fail(token, f"expected `{closer}`, found `{token.text}`", reason, (f"write `{closer}`",))
        if self._is(token, "="):
            raise self.fail(token, "expected `,` or `)`, found `=`", "only a call takes options: name(option=value)")
        raise self._missing_comma(f"`,` or `{closer}`")

    def _expected(self, wanted: str) -> SpecError:
        token = self.here
        if token.kind == "end" and self._open:
            opened = self._open[-1]
            return self.fail(opened, f"`{opened.text}` is never closed", "opened here, and the text ends within")
        if token.kind == "end" or not self._at:
            return self.fail(token, f"expected {wanted}, found {token.quoted}")
        before = self._tokens[self._at - 1]
        return self.fail(token, f"expected {wanted} behind `{before}`, found {token.quoted}")

    def _missing_comma(self, wanted: str) -> SpecError:
        token, before = self.here, self._tokens[self._at - 1]
        starts = token.kind in ("word", "number", "string", "reference") or token.text in "(["
        text = self.scalar.text
        fixes: tuple[str, ...] = ()
        if starts and len(text) <= MENDED and "\n" not in text.strip() and (self._open or not self.single):
            left, right = text[: token.start].strip(), text[token.start :].strip()
            times = before.kind == "number" and token.kind == "word"
            fixes = (f"did you mean {left}*{right}?" if times else f"a comma is missing: {left}, {right}",)
        return self.fail(token, f"expected {wanted}, found {token.quoted}", fixes=fixes)

    def _stray_comma(self) -> SpecError:
        return self.fail(self._tokens[self._at - 1], "nothing stands behind the comma", fixes=("delete the comma",))

    def _closes(self) -> bool:
        return self.here.kind == "end" or (self.here.kind == "sign" and self.here.text in ")]")

    def _is(self, token: Token, sign: str) -> bool:
        return token.kind == "sign" and token.text == sign

    def _takes(self, sign: str) -> bool:
        if self._is(self.here, sign):
            self._at += 1
            return True
        return False

    def _span(self, start: Token):
        return self.scalar.span_of(start.start, self._tokens[self._at - 1].end)
