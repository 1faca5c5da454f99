"""Characters that may not stand in a spec: they cannot be seen, or show others in another order."""

from __future__ import annotations

TURNING = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""They decide in which direction text around them is shown."""
UNSEEN = frozenset(map(chr, (0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF)))


def first_forbidden(text: str) -> int | None:
    """Where the first of them is; None where there is none."""
    if text.replace("\n", "").replace("\t", "").isprintable():  # most texts, at the speed of C
        return None
    return next((at for at, c in enumerate(text) if not (c.isprintable() or c in "\n\t") and _forbidden(c)), None)


def said(character: str) -> tuple[str, str, str]:
    """Message, label and mend of a finding about one."""
    code = ord(character)
    message = f"the character U+{code:04X} may not stand in a spec"
    if code == 0:
        return message, "a NUL byte", "delete it"
    if character in TURNING:
        return message, "it shows what is around it in another order", "delete it"
    return message, "it cannot be seen", "delete it"


def _forbidden(character: str) -> bool:
    code = ord(character)
    seen = code >= 0xA0 or 0x20 <= code < 0x7F
    return not seen or 0xD800 <= code < 0xE000 or character in UNSEEN or character in TURNING
