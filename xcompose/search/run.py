"""Architecture search over a spec: from a spec with a section `search` to a folder with its winners."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcompose.compose.build import plan_model
from xcompose.compose.objectives import asked, part_builder, search_findings
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.search.candidates import refuse_teachers
from xcompose.search.ground import Ground, sources_of
from xcompose.search.latency import machine
from xcompose.search.loop import Search, Unseen, Watcher
from xcompose.search.result import SearchResult
from xcompose.search.store import SearchFolder
from xcompose.search.trial import Aim

if TYPE_CHECKING:
    from xcompose.registry import Registry
    from xcompose.spec.bounds import Budget
    from xcompose.spec.model import Spec

SHARES = (0.25, 0.5, 0.75)
"""Of a trial's budget: when it is asked whether it can still win."""


def search(
    reference: str,
    sets: Sequence[str] = (),
    folder: Path | None = None,
    *,
    data: Path | None = None,
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    budget: Budget | None = None,
    registry: Registry | None = None,
    watcher: Watcher | None = None,
    accelerator: str = "auto",
) -> SearchResult:
    """Search among the choices of a spec, as its section `search` says.

    Args:
        reference: FILE, FILE@VARIANT or FILE@A+B.
        sets: overrides, PATH=VALUE each; the search's own choices stand above them.
        folder: of the search; if not said `runs/search-NAME`.
        data: a file or folder of the user's, in place of the task's named data.
        jobs: processes that measure at once. With one, equal seeds give equal trials, and a search that is killed and
            goes on gives those of one that was never stopped, unless time is measured. With several, what is proposed
            depends on which trial is over first.
        resume: go on with a search of this spec. With a larger budget also with one that is finished.
        overwrite: start afresh where there is a search.
        budget: in place of the spec's own.
        registry: where components are looked up, for one job; None is everything installed.
        watcher: shows progress.
        accelerator: as Lightning calls it.

    Raises:
        SpecError: the spec, its search, the folder or the data does not allow it.
    """
    from xcompose.registry import load as load_registry
    from xcompose.spec import load

    known = registry or load_registry()
    spec = load(reference, sets, catalogue=known.catalogue)
    sources = sources_of(spec)
    there = SearchFolder(folder or Path("runs") / f"search-{spec.name}")
    aims = _checked(spec, known)
    facts: Mapping[str, Any] = {}
    if resume:
        facts = there.reopen()
        data = Path(facts["data"]) if data is None and facts["data"] else data
    found = _facts(spec, data, known)
    with there.held():
        if resume:
            _refuse_another(there, spec, found, facts)
        else:
            there.start(overwrite=overwrite)
            there.write_json(there.facts, {**found, "seconds": 0.0, "machine": machine()})
            there.write_json(there.sampler, _sampler(spec))
        ground = Ground(
            spec=spec, reference=reference, sets=tuple(sets), choices=spec.search["choices"],
            seed=spec.search["seed"], folder=there.strategy, data=data, registry=known, shares=SHARES,
            accelerator=accelerator, sources=sources,
        )  # fmt: skip
        made = Search(there, ground, aims, budget or spec.search["budget"], watcher or Unseen(), jobs)
        return made.run()


def _refuse_another(there: SearchFolder, spec: Spec, found: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to go on with the search of something else."""
    sampler = there.read_json(there.sampler) == _sampler(spec)
    there.refuse_change([
        *(what for what in ("spec", "data") if found[what + " digest"] != facts[what + " digest"]),
        *([] if sampler else ["strategy"]),
    ])  # fmt: skip


def _checked(spec: Spec, registry: Registry) -> tuple[Aim, ...]:
    """The objectives of a spec whose search makes sense.

    Raises:
        SpecError: it does not, or there is none.
    """
    if not spec.search:
        fixes = ("add one, for example: search: {choices: {model.dim: [64, 128]}, minimize: [loss, params]}",)
        message = f"'{spec.name}' does not say what to search"
        raise SpecError(Diagnostic("XC030", message, fixes=fixes, path="search", spec=spec.name, stage="search"))
    model = plan_model(spec, registry=registry)
    found = search_findings(spec, model, registry)
    if found:
        raise SpecError(found)
    task = None if spec.task is None else part_builder(model, registry, spec.name)(spec.task)

    def larger(key: str) -> bool:
        return task is not None and key == task.metric and task.higher_is_better

    return tuple(Aim(o, o.is_metric and larger(o.key)) for o in spec.search["minimize"])


def _facts(spec: Spec, data: Path | None, registry: Registry) -> dict[str, Any]:
    """What must be the same when a search goes on. Reads the data, so that what is wrong with it is said at once."""
    from xcompose.spec import freeze

    parts = [freeze(spec), *(repr(spec.search[key]) for key in ("choices", "minimize"))]
    parts += [repr([(e.key, e.text) for e in spec.search["within"]]), repr(spec.search["seed"])]
    read = ""
    if asked(spec):
        refuse_teachers(spec)
        from xcompose.train.prepare import prepare
        from xcompose.train.run import digest, require_extra

        require_extra()
        read = digest(prepare(spec, data, registry).work)
    return {
        "spec": spec.name, "data": str(data.resolve()) if data else None,
        "spec digest": hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16], "data digest": read,
    }  # fmt: skip


def _sampler(spec: Spec) -> dict[str, Any]:
    from xcompose.spec.freeze import identity

    return {"strategy": identity(spec.search["strategy"]), "seed": spec.search["seed"]}
