"""No recurrence: nothing but the pattern and the memory says how far back a query reads.

Maths    the token read is what the pattern allows
Shapes   none
Cost     none
Limits   none
Paper    Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv:1706.03762
"""

from __future__ import annotations

from xcompose.api import Component, Context, hookimpl, options


@options
class NoRecurrenceOptions:
    """No recurrence."""


def build(options: NoRecurrenceOptions, context: Context) -> None:
    """Nothing is carried."""


@hookimpl
def components():
    return [Component(kind="recurrence", name="none", options=NoRecurrenceOptions, build=build)]
