"""A type of model in which a component is not tried is named, so that no contract is green for want of a model."""

from __future__ import annotations

import warnings

from xcompose import registry
from xcompose.testing import FfnContract, RecurrenceContract


def tried(contract: type, expression: str) -> list[str]:
    """What is said when the test that composes a spec runs."""
    made = contract()
    made.registry, made.seed = registry.load(), 0
    made._test = lambda: "test_a_spec_with_it_composes"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made.stands(expression)
    return [str(one.message) for one in said]


def test_a_type_that_refuses_is_named_with_its_reason():
    assert tried(RecurrenceContract, "segments(4, memory=4)") == [
        "'segments(4, memory=4)' is not tried in models of type 'encoder': an encoder cannot use recurrence 'segments'"
        "; if that is meant, name the others in the class: types = (...)"
    ]


def test_where_types_are_named_nothing_is_left_out():
    class OfDecoders(RecurrenceContract):
        types = ("decoder",)

    assert tried(OfDecoders, "segments(4, memory=4)") == []
    assert tried(FfnContract, "mlp(2x)") == []
