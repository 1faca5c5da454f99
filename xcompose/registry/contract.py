"""What a plugin must give: its answers are looked at here, once, so that a wrong one is named and goes no further."""

from __future__ import annotations

import re
import typing
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from xcompose.registry.component import Component
from xcompose.registry.discovery import Found

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class PluginFault(Exception):
    """A plugin breaks the contract; the text says how and what to do."""

    def __init__(self, message: str, *, code: str = "XC053"):
        super().__init__(message)
        self.code = code


def listed(hook: str, answers: list[Any]) -> list[Any]:
    """What the one plugin that was asked has answered, as a list.

    Raises:
        PluginFault: it returned nothing, or something that holds nothing.
    """
    if not answers:
        raise PluginFault(f"{hook}() returns nothing; return a list")
    answer = answers[0]
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        raise PluginFault(f"{hook}() must return a list, found {type(answer).__name__}")
    return list(answer)


def checked(answers: Iterable[Any], found: Found) -> tuple[Component, ...]:
    """The components of a plugin, with the namespace that is theirs.

    Raises:
        PluginFault: one of them breaks the contract, or has the name of another.
    """
    components = tuple(_checked(answer, found) for answer in answers)
    for (kind, name), times in Counter((c.kind, c.full_name) for c in components).items():
        if times > 1:
            raise PluginFault(f"it offers the {kind} '{name}' {'twice' if times == 2 else f'{times} times'}")
    return components


def _checked(component: Any, found: Found) -> Component:
    if not isinstance(component, Component):
        raise PluginFault(f"components() must return Component objects, found {type(component).__name__}")
    if not (isinstance(component.name, str) and _NAME.fullmatch(component.name)):
        raise PluginFault(f"'{component.name}' is no name of a component: lower-case words joined by dashes")
    if found.namespace:
        _check_fields(component)
    component = attrs.evolve(component, namespace=found.namespace, distribution=found.distribution)
    try:
        _ = component.schema
    except (TypeError, NameError) as error:
        raise PluginFault(f"the options of {component.kind} '{component.name}' are wrong: {error}") from error
    return component


def _check_fields(component: Component) -> None:
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    hints = typing.get_type_hints(Component)
    for field in attrs.fields(Component):
        value, hint = getattr(component, field.name), hints[field.name]
        if field.name == "build" and value is not None:
            hint = Callable[[Any, Any], Any]  # said without the None, which nobody meant
        try:
            check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError as error:
            said = " ".join(str(error).split())
            raise PluginFault(f"`{field.name}` of {component.kind} '{component.name}' is wrong: {said}") from error
    if not attrs.has(component.options):
        raise PluginFault(
            f"the options of {component.kind} '{component.name}' are wrong: "
            f"{component.options.__name__} is not marked with @options"
        )
