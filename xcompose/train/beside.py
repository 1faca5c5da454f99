"""Runs that train adapters beside a frozen base: the base is the same before and after, and adapters get files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xcompose.diagnostics import Diagnostic
from xcompose.train.folder import RunFolder


def hash_of_base(model: Any) -> dict[str, str]:
    """The hash of a base that is frozen, under `base`; nothing where all is trained."""
    from xcompose.compose.adapter_files import base_hash

    return {"base": base_hash(model)} if getattr(model, "frozen", False) else {}


def kept_base(model: Any, run: RunFolder) -> dict[str, str] | None:
    """The hashes of a frozen base before and after training; None where all is trained."""
    after = hash_of_base(model)
    facts = json.loads(run.facts.read_text()) if after and run.facts.exists() else {}
    return {"before": facts["base"], "after": after["base"]} if "base" in facts else None


def changed_base(kept: Mapping[str, str] | None) -> tuple[Diagnostic, ...]:
    """A finding where training changed what it had to leave alone."""
    if kept is None or kept["before"] == kept["after"]:
        return ()
    return (
        Diagnostic(
            "XC088", "training changed the base, which was frozen", stage="train",
            label=f"its hash was {kept['before'][:12]} and is {kept['after'][:12]}",
            fixes=("a part that changes its own numbers while it is called cannot be a base: tell its author",),
        ),
    )  # fmt: skip


def write_adapters(model: Any, run: RunFolder) -> list[str]:
    """Write each adapter of a model to a file of its own."""
    from xcompose.compose.adapter_files import save_adapter
    from xcompose.compose.adapters import adapters_of

    names = list(adapters_of(model))
    for name in names:
        save_adapter(model, name, run.adapters / f"{name}.safetensors")
    return names
