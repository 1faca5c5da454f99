"""Did you mean: names near to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

MOST = 3


def nearest(name: str, candidates: Iterable[str], most: int = MOST) -> list[str]:
    """The candidates most like `name`, best first; the same name in the other spelling (`kv-heads`) comes first."""
    plain = {c: _plain(c) for c in candidates}
    same = [c for c, p in plain.items() if p == _plain(name)]
    by_plain: dict[str, str] = {}
    for candidate, spelling in plain.items():
        by_plain.setdefault(spelling, candidate)
    near = [by_plain[p] for p in difflib.get_close_matches(_plain(name), list(by_plain), n=most, cutoff=0.66)]
    return list(dict.fromkeys(same + near))[:most]


def suggest(
    name: str,
    candidates: Iterable[str],
    elsewhere: Mapping[str, Iterable[str]] | None = None,
    *,
    wanted: str = "",
    also: Mapping[str, str] | None = None,
) -> list[str]:
    """Sentences that may mend a wrong name, best first, at most three.

    Args:
        name: what was written.
        candidates: names that are valid at this place.
        elsewhere: names that are valid at other places, by kind: `{"ffn": ["mlp"]}`.
        wanted: the kind that this place takes.
        also: names that other people use, with the name here.
    """
    found = []
    names_here = list(candidates)
    known_as = {_plain(other): here for other, here in (also or {}).items()}.get(_plain(name))
    if known_as:
        found.append(f"xcompose calls it '{known_as}'")
    known = set(names_here)
    parts = name.split("-")
    for at in range(1, len(parts)):
        left, right = "-".join(parts[:at]), "-".join(parts[at:])
        if left in known and right in known:
            found.append(f"did you mean '{left} - {right}'? a '-' between letters belongs to the name")
    for kind, names in (elsewhere or {}).items():
        if kind != wanted and name in set(names):
            here = f", not {_article(wanted)} {wanted}" if wanted else ""
            found.append(f"'{name}' is {_article(kind)} {kind}{here}")
    if not known_as and not any(sentence.startswith("did you mean") for sentence in found):
        near = nearest(name, names_here)
        found += [f"did you mean {_either(near)}?"] if near else []
    return found[:MOST]


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _article(noun: str) -> str:
    return "an" if noun[:1] in set("aeiou") else "a"


def _either(names: list[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
