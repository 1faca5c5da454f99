"""Writes docs/slots.md: what each kind of component owes, from the code.

python docs/tools/slots_page.py
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from xcompose import api, hookspecs
from xcompose.registry.discovery import GROUP
from xcompose.scaffold.kinds import Slot, slots

PAGE = Path(__file__).resolve().parents[1] / "slots.md"
TOP = """\
# Slots: what each kind of component owes

A plugin fills slots. There are {count} kinds; `xcompose plugin new NAME --kind KIND` writes a package for any of them,
with a mechanism that runs, its spec and its tests. All names below come from `xcompose.api`, those of contracts from
`xcompose.testing`. This page is made from the code (`docs/tools/slots_page.py`), and a test compares the two.

## Hooks

The module that a package announces in the entry-point group `{group}` marks its hooks with `@hookimpl`:

{hooks}

## Kinds

| kind | derive from, or return | must write | may write | contract |
|---|---|---|---|---|
{rows}
"""
SECTION = """\
## {kind}

{what}

```python
{signatures}
```
"""


def page() -> str:
    """The page."""
    hooks = [f"- `{name}{signature(hook)}`: {first(hook)}" for name, hook in hooks_of().items()]
    rows = [_row(owed) for owed in slots().values()]
    top = TOP.format(count=len(rows), group=GROUP, hooks="\n".join(hooks), rows="\n".join(rows))
    return "\n".join([top, *(_section(owed) for owed in slots().values())])


def hooks_of() -> dict[str, Any]:
    """Every hook there is, by name."""
    return {name: f for name, f in vars(hookspecs).items() if f"{hookspecs.PROJECT}_spec" in getattr(f, "__dict__", {})}


class Written(str):
    """An annotation that is shown as it is written."""

    __repr__ = str.__str__


def signature(function: Any) -> str:
    """Its arguments and what it returns, as they are written."""
    found = inspect.signature(function)
    arguments = [p.replace(annotation=_written(p.annotation)) for p in found.parameters.values()]
    return str(found.replace(parameters=arguments, return_annotation=_written(found.return_annotation)))


def _written(annotation: Any) -> Any:
    return Written(annotation.replace("'", '"')) if isinstance(annotation, str) else annotation


def first(thing: Any) -> str:
    """The first paragraph of its docstring, in one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def _row(owed: Slot) -> str:
    must, may = (" ".join(f"`{name}`" for name in names) or "–" for names in (owed.must, owed.may))
    if not owed.must and inspect.isclass(getattr(api, owed.base)):
        must = "what applies" if owed.may else "–"
    return f"| [{owed.kind}](#{owed.kind}) | `{owed.base}` | {must} | {may} | `{owed.contract}` |"


def _section(owed: Slot) -> str:
    base = getattr(api, owed.base)
    if not inspect.isclass(base):
        what = f"`build(options, context)` returns a function, `{owed.base}`."
        return SECTION.format(kind=owed.kind, what=what, signatures=f"{owed.base} = {_alias(base)}")
    lines = []
    for name in (*owed.must, *owed.may):
        found = inspect.getattr_static(base, name)
        lines.append(f"def {name}{signature(found)}: ...{'  # must' if name in owed.must else ''}")
    return SECTION.format(kind=owed.kind, what=f"`{owed.base}`. {first(base)}", signatures="\n".join(lines))


def _alias(alias: Any) -> str:
    return str(alias).replace("collections.abc.", "").replace("typing.", "").replace("torch.optim.optimizer.", "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
