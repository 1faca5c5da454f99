"""Layers that use one set of weights.

Maths    layer l uses the parameters of layer floor(l / (L / groups)) * (L / groups), L layers in the stack
Shapes   unchanged
Cost     time unchanged; parameters of `groups` layers instead of L
Limits   shared layers must be alike; states, caches and adapters stay apart, one for each application
Paper    Lan et al., ALBERT, ICLR 2020, arXiv:1909.11942, s. 3.1
"""

from __future__ import annotations

from typing import Literal

from xcompose.api import Addon, Block, Component, Context, Count, Model, PartError, hookimpl, option, options

ROLES = {"all": ("mixer", "cross", "ffn", "residual"), "mixer": ("mixer",), "ffn": ("ffn",)}
NEEDED = {"all": ("mixer", "cross", "ffn", "residual", "norm"), "mixer": ("mixer",), "ffn": ("ffn",)}


@options
class ShareOptions:
    """Options of sharing."""

    what: Literal["all", "mixer", "ffn"] = option("all", main=True)
    """Which part of a layer: all of it with its norms, its mixer, or its feed-forward network."""
    groups: Count = option(1, at_least=1)
    """How many sets of weights a stack has; layers that follow each other share."""


class Share(Addon):
    rung = "weights"

    def __init__(self, options: ShareOptions, context: Context):
        self.what, self.groups = options.what, options.groups

    def apply(self, model: Model) -> None:  # type: ignore[override]
        for stack in model.stacks().values():
            size, rest = divmod(len(stack.blocks), self.groups)
            if rest:
                message = f"{len(stack.blocks)} layers do not divide into {self.groups} groups"
                raise PartError(message, option="groups", code="XC032")
            for start in range(0, len(stack.blocks), size):
                first, *others = stack.blocks[start : start + size]
                for block in others:
                    self._share(first, block)

    def _share(self, first: Block, block: Block) -> None:
        unlike = [name for name in NEEDED[self.what] if block.options.get(name) != first.options.get(name)]
        if unlike:
            raise PartError(
                f"layers {first.number} and {block.number} cannot share, they differ in {' and '.join(unlike)}",
                fixes=("make the layers alike, or share only what is alike: share(mixer), share(ffn)",),
            )  # fmt: skip
        for role in ROLES[self.what]:
            setattr(block, role, getattr(first, role))


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="share", options=ShareOptions, build=Share, facts={"stage": "model"},
            also=("tie", "weight-sharing"),
        )
    ]  # fmt: skip
