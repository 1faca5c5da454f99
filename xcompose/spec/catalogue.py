"""Every component a spec may name, as data: what the language knows of the installed plugins."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator

import attrs

from xcompose.schema import KINDS, ComponentSchema


@attrs.frozen
class Absence:
    """Why something is not there: a plugin that failed, or one that is known but not installed."""

    reason: str
    """Completes "no mixer 'acme/nystrom': ..."."""
    namespace: str = ""
    """Explains every name in this namespace."""
    names: frozenset[tuple[str, str]] = frozenset()
    """Explains these (kind, name) pairs."""
    fix: str = ""


@attrs.frozen
class Found:
    """A component, and how it was named."""

    schema: ComponentSchema
    name: str
    """Canonical: `window`, `acme/nystrom`, `acme/nystrom@2`."""
    short: bool = False
    """Named without its namespace, which works only while that is unique."""
    renamed: bool = False
    """Named by an old name."""


@attrs.frozen
class Missing:
    """Nothing of that kind and name, and why."""

    message: str
    label: str = ""
    fixes: tuple[str, ...] = ()


def canonical(schema: ComponentSchema) -> str:
    """The one name that specs, nodes and `freeze` use."""
    return schema.full_name if schema.version == 1 else f"{schema.full_name}@{schema.version}"


def article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


class Catalogue:
    """Components by kind and name.

    Args:
        schemas: what is installed.
        absent: what is known to be missing, and why; for messages.

    Raises:
        ValueError: two components have the same kind, name and version.
    """

    def __init__(self, schemas: Iterable[ComponentSchema] = (), absent: Iterable[Absence] = ()):
        self._by_kind: dict[str, dict[str, ComponentSchema]] = {kind: {} for kind in KINDS}
        self.absent = tuple(absent)
        for schema in schemas:
            names = self._by_kind[schema.kind]
            name = canonical(schema)
            if name in names:
                raise ValueError(f"two components are the {schema.kind} '{name}'")
            names[name] = schema

    def __iter__(self) -> Iterator[ComponentSchema]:
        for names in self._by_kind.values():
            yield from names.values()

    def __len__(self) -> int:
        return sum(len(names) for names in self._by_kind.values())

    def names(self, kind: str) -> tuple[str, ...]:
        """The canonical names of one kind, sorted."""
        return tuple(sorted(self._by_kind[kind]))

    def get(self, kind: str, name: str) -> ComponentSchema | None:
        """The component that this name means, or None."""
        found = self.find(kind, name)
        return found.schema if isinstance(found, Found) else None

    def find(self, kind: str, name: str) -> Found | Missing:
        """Look a name up as a spec writes it: `window`, `window@1`, `acme/nystrom`, `nystrom` while it is unique."""
        wanted = name.removesuffix("@1")
        names = self._by_kind[kind]
        if wanted in names:
            return Found(names[wanted], wanted)
        space = wanted.partition("/")[0] if "/" in wanted else ""
        now = self._renamed(kind, wanted, lambda schema: schema.namespace == space)
        if len(now) == 1:
            return Found(names[now[0]], now[0], renamed=True)
        if space:
            return self._missing(kind, name)
        full = sorted(n for n in names if "/" in n and n.partition("/")[2] == wanted)
        full = full or self._renamed(kind, wanted, lambda schema: True)
        if len(full) == 1:
            return Found(names[full[0]], full[0], short=True, renamed=full[0].partition("/")[2] != wanted)
        if full:
            fixes = tuple(f"write '{n}'" for n in full)
            return Missing(f"{kind} '{name}' could be any of {len(full)} components", "say whose", fixes)
        return self._missing(kind, name)

    def _renamed(self, kind: str, old: str, where: Callable[[ComponentSchema], bool]) -> list[str]:
        """The canonical names of what was called `old`, sorted."""
        bare, _, version = old.rpartition("/")[2].partition("@")
        return sorted(
            name for name, schema in self._by_kind[kind].items()
            if bare in schema.renamed_from and str(schema.version) == (version or "1") and where(schema)
        )  # fmt: skip

    def _missing(self, kind: str, name: str) -> Missing:
        message = f"no {kind} is called '{name}'"
        bare = name.partition("@")[0]
        known = [n for n in self._by_kind[kind] if n.partition("@")[0] == bare]
        if known:
            versions = ", ".join(sorted(known))
            return Missing(f"{kind} '{bare}' has no version {name.partition('@')[2]}", f"there is {versions}")
        for absence in self.absent:
            namespace = absence.namespace and bare.startswith(absence.namespace + "/")
            short = {(of, full.partition("/")[2]) for of, full in absence.names}
            if namespace or (kind, bare) in absence.names | short:
                return Missing(message, absence.reason, (absence.fix,) if absence.fix else ())
        also = [n for n, s in self._by_kind[kind].items() if bare in s.also]
        if also:
            return Missing(message, f"xcompose calls it '{also[0]}'", (f"write '{also[0]}'",))
        elsewhere = [k for k in KINDS if k != kind and bare in self._by_kind[k]]
        if elsewhere:
            kinds = " and ".join(article(k) for k in elsewhere)
            return Missing(message, f"'{bare}' is {kinds}, not {article(kind)}", self._near(kind, bare))
        near = self._near(kind, bare)
        if near or not name.count("/"):
            return Missing(message, "" if near else self._nobody(kind), near)
        return Missing(message, f"no plugin with the namespace '{name.partition('/')[0]}' is installed")

    def _nobody(self, kind: str) -> str:
        if any(absence.namespace for absence in self.absent):
            return "none of the plugins in use has it, and there are others: xcompose plugin list"
        return f"none of the installed plugins has it: xcompose list {kind}"

    def _near(self, kind: str, name: str) -> tuple[str, ...]:
        spelled = {n: n for n in self._by_kind[kind]}
        spelled.update({n.partition("/")[2]: n for n in spelled.copy() if "/" in n})
        for full, schema in self._by_kind[kind].items():
            spelled.update({also: full for also in schema.also if also not in spelled})
        near = dict.fromkeys(spelled[n] for n in difflib.get_close_matches(name, spelled, n=2, cutoff=0.6))
        return (f"did you mean {' or '.join(repr(n) for n in near)}?",) if near else ()
