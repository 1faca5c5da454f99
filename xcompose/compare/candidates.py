"""What is compared, and the one recipe by which all of it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.spec.model import Node, Spec

if TYPE_CHECKING:
    from xcompose.spec.catalogue import Catalogue


@attrs.frozen
class Candidate:
    """A spec in the comparison."""

    label: str
    spec: Spec
    again: Callable[[Sequence[str]], Spec] | None = attrs.field(default=None, eq=False)
    """Loads it once more with further changes."""
    step: bool = False
    """Whether it is there to show what add-ons do, and need not be as large as the others."""


@attrs.frozen
class Recipe:
    """How every candidate is trained."""

    name: str
    task: Node
    train: Mapping[str, Any]

    def applied_to(self, spec: Spec, seed: int) -> Spec:
        """The spec with this task and this way of training, whatever it says itself. Its add-ons of training stay: they
        are what is compared, not how."""
        addons = (*self.train["addons"], *spec.train.get("addons", ()))
        return attrs.evolve(spec, task=self.task, train={**self.train, "seed": seed, "addons": addons})

    def describe(self) -> str:
        """One line: what all of them get."""
        from xcompose.spec.formats import format_length

        train = self.train
        size = f"{train['batch']} × {format_length(train['length'])} tokens a step"
        data = self.task.options.get("data")
        task = f"task {self.task.name}" + (f" on {data}" if data else "")
        return f"{train['budget']} a run, {size}, {task}, {train['optimizer'].name} {train['lr']:g}"


def candidates(
    references: Sequence[str], sets: Sequence[str], catalogue: Catalogue,
    vary: tuple[str, Sequence[str]] | None = None, spelled: Callable[[Node], str] | None = None,
) -> tuple[Candidate, ...]:  # fmt: skip
    """Load what is to be compared.

    Args:
        references: `FILE[@VARIANT]`, one candidate each.
        sets: changes of all of them, as `--set` takes them.
        catalogue: the components there are.
        vary: a path and its values; each value makes a candidate of each reference.
        spelled: where given, each candidate is also compared without its add-ons, and with one more of them each time;
            it writes an add-on as people read it.

    Raises:
        SpecError: a spec does not load; one has no add-on to leave out, or fewer than two candidates (XC090).
    """
    from xcompose.spec import load

    path, values = vary or ("", [""])
    found = []
    for reference in references:
        for value in values:
            more = [*sets, f"{path}={value}"] if vary else list(sets)

            def again(further: Sequence[str], reference: str = reference, more: Sequence[str] = tuple(more)) -> Spec:
                return load(reference, [*more, *further], catalogue=catalogue)

            spec = again(())
            varied = f"{path}={value}"
            label = (f"{spec.name} {varied}" if len(references) > 1 else varied) if vary else spec.name
            found.append(Candidate(label, spec, again))
    if spelled is not None:
        found = [step for candidate in found for step in _steps(candidate, spelled)]
    _refuse_too_few(found)
    return tuple(_told_apart(found))


def _steps(candidate: Candidate, spelled: Callable[[Node], str]) -> Iterator[Candidate]:
    """A candidate without its add-ons, then with one more of them each time; those of training come last."""
    of_model, of_training = candidate.spec.addons, tuple(candidate.spec.train.get("addons", ()))
    every = [*of_model, *of_training]
    if not every:
        message = f"'{candidate.label}' has no add-on to compare with and without"
        raise SpecError(Diagnostic("XC090", message, fixes=("leave --addons out",), stage="compare"))
    for count in range(len(every)):
        kept, more = every[:count], of_training[: max(0, count - len(of_model))]
        train = {**candidate.spec.train, "addons": more} if candidate.spec.train else candidate.spec.train
        spec = attrs.evolve(candidate.spec, addons=tuple(kept[: len(of_model)]), train=train)
        with_these = f"with {', '.join(spelled(node) for node in kept)} alone" if kept else "without add-ons"
        yield Candidate(f"{candidate.label} {with_these}", spec, step=True)
    yield attrs.evolve(candidate, step=True)


def _refuse_too_few(found: Sequence[Candidate]) -> None:
    if len(found) < 2:
        fix = "name another spec, or --vary PATH VALUE VALUE ..."
        raise SpecError(Diagnostic("XC090", "a comparison takes at least two specs", fixes=(fix,), stage="compare"))
    for candidate in found:
        if candidate.spec.model is None:
            message = f"'{candidate.label}' has no model to compare"
            raise SpecError(Diagnostic("XC030", message, fixes=("give it as --recipe",), stage="compare"))


def _told_apart(found: Sequence[Candidate]) -> list[Candidate]:
    """Labels that differ: a spec named twice gets its number."""
    labels = [c.label for c in found]
    return [
        attrs.evolve(c, label=f"{c.label} #{labels[: i + 1].count(c.label)}") if labels.count(c.label) > 1 else c
        for i, c in enumerate(found)
    ]


def recipe_of(spec: Spec | None, candidates: Sequence[Candidate], catalogue: Catalogue) -> Recipe:
    """The recipe in a spec; without one, the defaults of training on the task that all candidates share.

    Raises:
        SpecError: there is no task (XC090).
    """
    from xcompose.spec import train_settings
    from xcompose.spec.settings import DEFAULT_LENGTH

    if spec is not None:
        if spec.task is None:
            _no_task(f"the recipe '{spec.name}' names no task", "add one: task: lm(data=stdlib)")
        return Recipe(spec.name, spec.task, train_settings(spec, catalogue))  # type: ignore[arg-type]
    tasks = [c.spec.task for c in candidates]
    if tasks[0] is None or any(task != tasks[0] for task in tasks):
        _no_task("these specs do not share a task", "--recipe FILE, a spec with `task` and `train`")
    defaults = train_settings(Spec(name="defaults", file=""), catalogue)
    return Recipe("defaults", tasks[0], {**defaults, "length": DEFAULT_LENGTH})  # type: ignore[arg-type]


def _no_task(message: str, fix: str) -> None:
    raise SpecError(Diagnostic("XC090", message, fixes=(fix,), stage="compare"))
