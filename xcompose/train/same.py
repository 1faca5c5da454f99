"""What a run needs to know of its beginning, so that it goes on as the same run or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.spec.frozen import unsigned
from xcompose.train.folder import RunFolder

if TYPE_CHECKING:
    from xcompose.compose.addons import Given
    from xcompose.train.prepare import Prepared


class Start(NamedTuple):
    """The files of weights that a run begins with."""

    base: Path | None = None
    adapters: tuple[Path, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What `run.json` says of them, under `begins_with`: where they lie and the hash of each; nothing of none."""
        files = {"base": [self.base] if self.base else [], "adapters": self.adapters}
        found = {name: [_file(path) for path in paths] for name, paths in files.items() if paths}
        return {"begins_with": found} if found else {}

    def again(self, facts: Mapping[str, Any]) -> Start:
        """These, and those that the run began with where nothing is given now."""
        old = {name: tuple(Path(f["path"]) for f in files) for name, files in facts.get("begins_with", {}).items()}
        (base,) = old.get("base", (None,))
        return Start(self.base or base, self.adapters or old.get("adapters", ()))

    def same(self, facts: Mapping[str, Any]) -> dict[str, bool]:
        """Of base and adapters, where there are or were some, whether their hashes are those of the beginning."""
        old, now = (found.get("begins_with", {}) for found in (facts, self.facts()))
        return {name: _hashes(old, name) == _hashes(now, name) for name in ("base", "adapters") if name in old | now}


def _file(path: Path) -> dict[str, str]:
    with open(path, "rb") as file:
        return {"path": str(path.resolve()), "hash": hashlib.file_digest(file, "sha256").hexdigest()}


def _hashes(files: Mapping[str, list[dict[str, str]]], name: str) -> list[str]:
    return [file["hash"] for file in files.get(name, ())]


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


def refuse_another(run: RunFolder, facts: Mapping[str, Any], prepared: Prepared, digest: str, start: Start) -> None:
    """Refuse to go on with a run that began otherwise.

    Args:
        facts: what `run.json` says.
        digest: the fingerprint of the data that would be used.
        start: the weights that it would begin with.

    Raises:
        SpecError: XC087, naming what changed.
    """
    kept = prepared.kept
    texts = {run.spec: kept.text, **{run.path / name: text for name, text in kept.others.items()}}
    same = {
        "spec": all(file.exists() and unsigned(file.read_text()) == unsigned(text) for file, text in texts.items()),
        "data": facts["digest"] == digest,
        **start.same(facts),
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
