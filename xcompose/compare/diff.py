"""What changed between two specs, in meaning: not which lines differ, but which layers, costs and abilities do."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from xcompose.compare.pairs import Likeness, pairs
from xcompose.compose.spelling import Speller
from xcompose.registry import Registry
from xcompose.spec.freeze import identity
from xcompose.spec.model import Expectation, Layer, Node, Record, Section, Spec

PARTS = ("mixer", "cross", "ffn")
"""What a layer is told by."""
SETS = ("union", "intersection", "difference")


class Change(NamedTuple):
    """One thing that two specs say differently."""

    where: str
    """`model`, `layer 3`, `encoder layers 0 to 2`, `old layer 4`, `add-ons`, `train`.

    Layers have their numbers in NEW; those that went, and are called old, in OLD.
    """
    what: str
    """The option, `mixer.score`; empty for the whole of it."""
    old: str
    """As a spec would write it; empty where there was nothing."""
    new: str


@attrs.frozen
class _Leaf:
    what: str
    old: Any
    new: Any
    written: bool
    """Whether somebody wrote one of the two; else it follows from a change elsewhere."""


def changes(old: Spec, new: Spec, registry: Registry) -> tuple[Change, ...]:
    """What two specs say differently, in the order of a spec; equal meanings give nothing, however they are written.

    Args:
        old, new: resolved.
        registry: where their components are looked up.
    """
    # What follows from another change is said where nothing else explains the difference.
    models = tuple(_Teller(Speller(registry)).models(old.model, new.model))
    teller = _Teller(Speller(registry), follows=not models and not _same(old.model, new.model))
    return (
        *(models or teller.models(old.model, new.model)),
        *teller.lists("add-ons", old.addons, new.addons),
        *teller.values("task", old.task, new.task),
        *teller.mappings("train", old.train, new.train),
        *teller.mappings("search", old.search, new.search),
        *teller.mappings("expect", _expected(old.expect), _expected(new.expect)),
    )


def _expected(found: tuple[Expectation, ...]) -> dict[str, str]:
    written: dict[str, str] = {}
    for one in found:
        written[one.key] = f"{written[one.key]}, {one.text}" if one.key in written else one.text
    return written


def _same(old: Any, new: Any) -> bool:
    return type(old) is type(new) and identity(old) == identity(new)


def _holds_layers(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(item, Layer) for item in value)


@attrs.frozen
class _Stack:
    """The options around the layers of a stack."""

    name: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    written: frozenset[str]


@attrs.frozen
class _Teller:
    speller: Speller
    follows: bool = False
    """Whether to say what nobody wrote, too."""

    def models(self, old: Node | None, new: Node | None) -> Iterator[Change]:
        if old is None or new is None:
            yield from self.values("model", old, new)
            return
        if old.name != new.name:
            yield Change("model", "type", old.name, new.name)
        yield from self._stacks("", old.options, new.options, old.written | new.written)

    def _stacks(
        self, name: str, old: Mapping[str, Any], new: Mapping[str, Any], written: frozenset[str]
    ) -> Iterator[Change]:
        """The options of a model or of one of its stacks; what its layers have is said of them."""
        stacked = [key for key in _keys(old, new) if _nested(old.get(key)) or _nested(new.get(key))]
        of_layers = {
            key for side in (old, new) for key in stacked for layer in _layers_of(side.get(key)) for key in layer
        }
        plain = [key for key in _keys(old, new) if key not in stacked and key not in of_layers]
        leaves = [leaf for key in plain for leaf in self._leaves(key, old.get(key), new.get(key), key in written)]
        yield from self._told(name or "model", leaves)
        for key in stacked:
            one, other = old.get(key), new.get(key)
            if isinstance(one, Section) or isinstance(other, Section):
                yield from self._sections(key, one, other, written)
            else:
                yield from self._layers(_Stack(name, old, new, written), one or (), other or ())

    def _sections(
        self, name: str, old: Section | None, new: Section | None, written: frozenset[str]
    ) -> Iterator[Change]:
        if old is None or new is None:
            yield Change("model", name, "" if old is None else "there", "" if new is None else "there")
            return
        yield from self._stacks(name, old.options, new.options, written | {*old.option_spans, *new.option_spans})

    def _layers(self, stack: _Stack, old: Sequence[Layer], new: Sequence[Layer]) -> Iterator[Change]:
        """Layers that stand for each other are compared, the others came or went."""
        before, after = ([json.dumps(identity(layer), sort_keys=True) for layer in layers] for layers in (old, new))
        found = pairs(before, after, lambda i, j: self._likeness(old[i], new[j], stack))
        told: dict[tuple[str, str, str], list[int]] = {}
        for i, j in found.changed:
            for change in self._told("", self._layer(old[i], new[j], stack)):
                told.setdefault(change[1:], []).append(j)
        for (what, one, other), numbers in told.items():
            yield Change(_numbered(stack.name, numbers, len(new)), what, one, other)
        for _, group in itertools.groupby(found.moved, key=lambda pair: pair[1] - pair[0]):
            was, now = (_numbered(stack.name, numbers) for numbers in zip(*group, strict=True))
            yield Change(now, "moved", was, now)
        for text, numbers in self._runs(found.removed, old):
            yield Change(f"old {_numbered(stack.name, numbers)}", "", text, "")
        for text, numbers in self._runs(found.added, new):
            yield Change(_numbered(stack.name, numbers), "", "", text)

    def _likeness(self, old: Layer, new: Layer, stack: _Stack) -> Likeness:
        names = [
            [part.name if isinstance(part := layer.options.get(key), Node) else None for key in PARTS]
            for layer in (old, new)
        ]
        return Likeness(names[0] == names[1], sum(1 for _ in self._layer(old, new, stack)))

    def _layer(self, old: Layer, new: Layer, stack: _Stack) -> Iterator[_Leaf]:
        for key in _keys(old.options, new.options):
            one, other = old.options.get(key), new.options.get(key)
            # What nobody wrote follows from something that somebody did.
            has_stacks = _same(one, stack.old.get(key)) and _same(other, stack.new.get(key))
            yield from self._leaves(key, one, other, key in stack.written or not has_stacks)

    def _runs(self, numbers: Iterable[int], layers: Sequence[Layer]) -> Iterator[tuple[str, list[int]]]:
        for text, group in itertools.groupby(numbers, key=lambda k: self._spelled(layers[k])):
            yield text, list(group)

    def _spelled(self, layer: Layer) -> str:
        parts = [layer.options.get(key) for key in PARTS]
        return ", ".join(self.speller.spelled(part) for part in parts if isinstance(part, Node))

    def lists(self, where: str, old: tuple[Node, ...], new: tuple[Node, ...]) -> Iterator[Change]:
        if not _same(old, new):
            yield Change(where, "", self._list(old), self._list(new))

    def _list(self, nodes: tuple[Node, ...]) -> str:
        return ", then ".join(self.speller.spelled(node) for node in nodes)

    def values(self, where: str, old: Any, new: Any) -> Iterator[Change]:
        yield from self._told(where, self._leaves("", old, new, True))

    def mappings(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
        if bool(old) != bool(new):
            yield Change(where, "", self._listed(old), self._listed(new))
            return
        for key in _keys(old, new):
            yield from self._told(where, self._leaves(key, old.get(key), new.get(key), True))

    def _listed(self, values: Mapping[str, Any]) -> str:
        told = {key: self._value(value) for key, value in values.items()}
        return ", ".join(f"{key}: {text}" for key, text in told.items() if text)

    def _told(self, where: str, leaves: Iterable[_Leaf]) -> Iterator[Change]:
        for leaf in leaves:
            if leaf.written or self.follows:
                yield Change(where, leaf.what, self._value(leaf.old), self._value(leaf.new))

    def _leaves(self, what: str, old: Any, new: Any, written: bool) -> Iterator[_Leaf]:
        """The smallest parts that differ: what two components of one name hold, else the whole."""
        if _same(old, new):
            return
        for key, one, other in _inside(old, new):
            yield from self._leaves(f"{what}.{key}", one, other, written)
        if _inside(old, new):
            return
        nodes_alike = isinstance(old, Node) and isinstance(new, Node) and old.name == new.name
        if not nodes_alike or old.name in SETS:
            yield _Leaf(what, old, new, written)
            return
        inherited, said = old.inherited & new.inherited, old.written | new.written
        for key in _keys(old.options, new.options):
            path = f"{what}.{key}" if what else key
            inner = old.options.get(key), new.options.get(key)
            nodes = any(isinstance(one, Node) for one in inner)
            yield from self._leaves(path, *inner, written and key not in inherited and (nodes or key in said))

    def _value(self, value: Any) -> str:
        if value is None or value in ((), {}):
            return ""
        return value if isinstance(value, str) else self.speller.value(value)


def _inside(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """What two values hold that can be compared one by one: lists of components or records, and records themselves."""
    if isinstance(old, Record) and isinstance(new, Record):
        return [(key, old.get(key), new.get(key)) for key in _keys(old, new)]
    if not (isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new)):
        return []
    if not all(isinstance(one, Node | Record) for one in (*old, *new)):
        return []
    return [(str(k), one, other) for k, (one, other) in enumerate(zip(old, new, strict=True))]


def _nested(value: Any) -> bool:
    return isinstance(value, Section) or _holds_layers(value)


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*old, *new]))


def _layers_of(value: Any) -> Iterator[Mapping[str, Any]]:
    """The options of the layers that a value holds."""
    if isinstance(value, Section):
        yield from (found for inner in value.options.values() for found in _layers_of(inner))
    elif _holds_layers(value):
        yield from (layer.options for layer in value)


def _numbered(stack: str, numbers: Sequence[int], of: int = 0) -> str:
    """`layer 3`, `encoder layers 0 to 2, 5`, `every layer`."""
    if len(numbers) == of > 1:
        return f"every {stack} layer" if stack else "every layer"
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return f"{f'{stack} ' if stack else ''}layer{'s' if len(numbers) > 1 else ''} {', '.join(texts)}"
