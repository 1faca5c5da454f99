"""Which specs a spec builds on."""

from __future__ import annotations

from collections.abc import Iterator

from xcompose.spec import tree
from xcompose.spec.files import Document, open_base
from xcompose.spec.findings import Findings
from xcompose.spec.settings import INHERITED


def frozen_bases(document: Document) -> Iterator[Document]:
    """The frozen specs that a spec builds on, however far below; for a spec that was gathered without a finding."""
    seen, waiting = {document.place}, [document]
    while waiting:
        current = waiting.pop()
        extends = current.root.get("extends")
        value = extends.value if extends is not None else None
        entries_of = value.entries if isinstance(value, tree.Mapping) else ()
        named = [entry.value for entry in entries_of if entry.key.text in INHERITED] or [value]
        for scalar in named:
            if not isinstance(scalar, tree.Scalar) or scalar.text.strip() == "null":
                continue
            base, _ = open_base(current, scalar, Findings(), [])
            if base.place not in seen:
                seen.add(base.place)
                waiting.append(base)
                if base.root.get("frozen") is not None:
                    yield base
