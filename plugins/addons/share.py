"""Layers that use one set of weights.

Maths    layer l uses the parameters of set s(l), L layers and G groups in the stack, layers and sets from 0
         sequence: s(l) = floor(l G / L);  cycle: s(l) = l mod G;  cycle-reversed: as cycle, but the last
         sets, from layer G (ceil(L / G) - 1) on, in reverse: s(l) = G - 1 - (l mod G)
         gradient of a parameter = the sum over the layers that use it
Shapes   unchanged
Cost     time and state unchanged; parameters of G layers instead of L
Limits   shared layers must be alike; each stack by itself. States and caches stay apart, one for each application, and
         so do adapters that are listed behind it. What learns by counting (centroids) counts every application and
         learns once a step; losses of a layer are added once for each application. What a layer draws by its number
         (hashes, random blocks), and how an init starts it, is that of the first layer of its set
Paper    all, mixer, ffn, groups: Lan et al., ALBERT, ICLR 2020, arXiv:1909.11942, s. 3.1, 4.6; orders: Takase, Kiyono,
         Lessons on Parameter Sharing across Layers in Transformers, 2021, arXiv:2104.06022, s. 3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from xcompose.api import (
    Addon,
    Component,
    Context,
    Count,
    LayerPart,
    Model,
    PartError,
    Text,
    called,
    hookimpl,
    option,
    options,
    share_layers,
    stacks_named,
)

EVERY: tuple[LayerPart, ...] = get_args(LayerPart)
MEANT: dict[str, tuple[LayerPart, ...]] = {"all": EVERY, "attention": ("mixer", "cross")}
"""Words for several parts of a layer."""


@options
class ShareOptions:
    """Options of sharing."""

    what: tuple[Literal["all", "attention", "mixer", "cross", "ffn", "norms"], ...] = option(("all",), main=True)
    """Which parts of a layer. `attention` is its mixer and its cross mixer, `all` these, its feed-forward network and
    its norms; `share([attention, ffn])` leaves each layer norms of its own."""
    groups: Count = option(1, at_least=1)
    """How many sets of weights a stack has."""
    order: Literal["sequence", "cycle", "cycle-reversed"] = option("sequence")
    """Which layers use the same set: those that follow each other, or every so many; reversed in the last round."""
    stacks: tuple[Text, ...] | None = option(None)
    """The stacks whose layers share, by name; each stack of the model if not written."""


class Share(Addon):
    rung = "weights"

    def __init__(self, options: ShareOptions, context: Context):
        self.options = options
        if not options.what:
            raise PartError(
                "an empty list of parts shares nothing", option="what",
                fixes=("share(all)", "share([attention, ffn])", "leave share out"),
            )  # fmt: skip
        meant = {part for word in options.what for part in MEANT.get(word, (word,))}
        self.parts: tuple[LayerPart, ...] = tuple(part for part in EVERY if part in meant)

    def apply(self, model: Model) -> None:  # type: ignore[override]
        stacks = stacks_named(model, self.options.stacks)
        blocks = [block for stack in stacks.values() for block in stack.blocks]
        there = {role for block in blocks for role in block.roles}
        if any(True for block in blocks for _ in block.residual.parameters()):
            there.add("norms")
        for word in self.options.what:
            if word not in (*MEANT, *there):
                raise PartError(
                    f"no layer has the part '{word}'", option="what",
                    label=f"layers of this model have {' and '.join(sorted(there))}", fixes=("share(all)",),
                )  # fmt: skip
        shared = [share_layers(stack, self._sets(name, len(stack.blocks)), self.parts, name)
                  for name, stack in stacks.items()]  # fmt: skip
        if any(shared):
            return
        if all(len(stack.blocks) == self.options.groups for stack in stacks.values()):
            raise PartError(
                "no two layers share anything", label="each layer is a group by itself",
                fixes=("fewer groups", "more layers", "leave share out"), option="groups",
            )  # fmt: skip
        raise PartError(
            "no two layers share anything", option="what",
            label=f"these parts of its layers have no weights: {', '.join(self.options.what)}",
            fixes=("share(all)", "leave share out"),
        )  # fmt: skip

    def _sets(self, stack: str, layers: int) -> Sequence[int]:
        groups, order = self.options.groups, self.options.order
        if groups > layers or order == "sequence" and layers % groups:
            message = f"{layers} layers{called(stack)} do not divide into {groups} groups"
            fixes = [f"groups={count}" for count in range(groups, 0, -1) if layers % count == 0][:1]
            if groups < layers:
                fixes.append("order=cycle, where the last round may be shorter")
            raise PartError(message, option="groups", code="XC032", fixes=fixes)
        if order == "sequence":
            return [layer * groups // layers for layer in range(layers)]
        last = groups * (-(-layers // groups) - 1) if order == "cycle-reversed" else layers
        return [layer % groups if layer < last else groups - 1 - layer % groups for layer in range(layers)]

    def describe(self, model: Model) -> Sequence[str]:  # type: ignore[override]
        return [
            f"share: the {len(stack.blocks)} layers{called(name)} stay apart, each is a group by itself"
            for name, stack in stacks_named(model, self.options.stacks).items()
            if len(stack.blocks) == self.options.groups
        ]


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="share", options=ShareOptions, build=Share, facts={"stage": "model"},
            also=("tie", "weight-sharing"),
        )
    ]  # fmt: skip
