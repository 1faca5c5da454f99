"""What a run needs to know of its beginning, so that it goes on as the same run or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.train.folder import RunFolder

if TYPE_CHECKING:
    from xcompose.compose.addons import Given
    from xcompose.train.prepare import Prepared


def begun(data: Path | None, digest: str, given: Given | None, prepared: Prepared) -> dict[str, Any]:
    """What `run.json` says.

    Args:
        data: a file or folder of the user's.
        digest: a fingerprint of what is in it.
        given: what the command line gave to add-ons.
        prepared: what the run works with.
    """
    teacher = None if given is None else given.teacher
    addons = [dict(addon.facts()) for addon in prepared.work.addons]
    found = {"teacher": str(teacher.resolve()) if teacher else None, "specs": [*prepared.kept.others], "addons": addons}
    return {"data": str(data.resolve()) if data else None, "digest": digest} | {k: v for k, v in found.items() if v}


def given_again(given: Given | None, facts: Mapping[str, Any]) -> Given | None:
    """What the command line gives, and what it gave when the run began where it says nothing now."""
    from xcompose.compose.addons import Given

    known = Given() if given is None else given
    again = facts.get("teacher")
    return known._replace(teacher=Path(again)) if known.teacher is None and again else given


def refuse_another(run: RunFolder, facts: Mapping[str, Any], prepared: Prepared, digest: str) -> None:
    """Refuse to go on with a run that began otherwise.

    Args:
        facts: what `run.json` says.
        digest: the fingerprint of the data that would be used.

    Raises:
        SpecError: XC087, naming what changed.
    """
    kept = prepared.kept
    texts = {run.spec: kept.text, **{run.path / name: text for name, text in kept.others.items()}}
    same = {
        "spec": all(file.exists() and file.read_text() == text for file, text in texts.items()),
        "data": facts["digest"] == digest,
    }
    for old, addon in zip(facts.get("addons", ()), prepared.work.addons, strict=False):
        same |= {name: same.get(name, True) and old.get(name) == now for name, now in addon.facts().items()}
    changed = [name for name, is_same in same.items() if not is_same]
    if changed:
        what, needed = " and the ".join(changed), " and ".join(f"the same {name}" for name in same if name != "spec")
        raise SpecError(
            Diagnostic(
                "XC087", f"'{run.path}' cannot go on: the {what} changed since it began",
                fixes=(f"go on with '{run.spec}' and {needed}, or start afresh with --overwrite",), stage="train",
            )
        )  # fmt: skip
