from __future__ import annotations

import pytest

from xcompose.api import Count, PartError, Real, option, options, refuse_unused, written


@options
class Some:
    """Options."""

    size: Count | None = option(None, at_least=1)
    """A size."""
    rate: Real = option(0.5)
    """A rate."""


def test_an_option_is_written_when_it_is_not_its_default():
    assert [written(Some(size=3), name) for name in ("size", "rate")] == [True, False]
    assert [written(Some(rate=0.25), name) for name in ("size", "rate")] == [False, True]
    assert not written(Some(rate=0.5), "rate")


def test_what_changes_nothing_is_refused_with_its_reason():
    refuse_unused(Some(size=3), ("rate",), "part 'some'", "nobody asks", "more=true")
    with pytest.raises(PartError) as caught:
        refuse_unused(Some(rate=1.0), ("size", "rate"), "part 'some'", "nobody asks", "more=true")

    error = caught.value
    assert (error.message, error.label) == ("part 'some' has no use for 'rate' here", "nobody asks")
    assert (error.option, error.fixes) == ("rate", ("leave rate out", "more=true"))
