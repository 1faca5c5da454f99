"""All of several memories: a query reads the slots of each, in one softmax.

Maths    o_i = sum over the slots of all members, one denominator
Shapes   slots (b m g d) of each member
Cost     the sum of its members
Limits   each member keeps its own pattern
Paper    a combinator of this project; a common softmax: Ainslie et al., ETC, EMNLP 2020, arXiv:2004.08483, s. 3.2
"""

from __future__ import annotations

from xcompose.api import Component, Context, Memory, Part, PartError, hookimpl, option, options


@options
class AllOptions:
    """All of several memories."""

    of: tuple[Part.memory, ...] = option(main=True)
    """The memories: all(conv(3), conv(9))."""


def build(options: AllOptions, context: Context) -> tuple[Memory, ...]:
    """The members, those of nested ones too."""
    if not options.of:
        raise PartError("memory 'all' joins at least one memory, found none", option="of")
    made = [context.build(part) for part in options.of]
    return tuple(one for some in made for one in (some if isinstance(some, tuple) else (some,)))


@hookimpl
def components():
    return [Component(kind="memory", name="all", options=AllOptions, build=build)]
