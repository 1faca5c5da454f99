"""Who may read whom, as a digest: it changes with what may be read, and with nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from xcompose import registry
from xcompose.compose.build import plan_model
from xcompose.compose.parts import Mixer, Visible
from xcompose.spec import load_text
from xcompose.verify.facts import Facts
from xcompose.verify.sight import sight, sight_at

HEAD = "xcompose: 1\nmodel: {type: decoder, vocab: 11, dim: 12, heads: 3, layers: '%s', %s}\n"


@pytest.fixture(scope="module")
def registered():
    return registry.load()


@pytest.fixture(scope="module")
def facts(registered):
    def of(layers: str, more: str = "length: 29") -> Facts:
        spec = load_text(HEAD % (layers, more), "s", catalogue=registered.catalogue)
        return Facts(plan_model(spec, registry=registered), spec)

    return of


def test_it_is_taken_at_the_longest_length_that_the_model_takes(facts):
    assert sight(facts("2")).startswith("29 ")
    assert sight(facts("2", "length: 1Ki")).startswith("512 ")
    assert len(sight(facts("2")).partition(" ")[2]) == 24


def test_what_may_be_read_changes_it_and_widths_do_not(facts):
    layers = (
        "window(5)",
        "window(7)",
        "window(5, dilation=2)",
        "heads(window(5), 2*window(7))",
        "window(5) | global(2)",
    )
    found = {sight(facts(f"attention(pattern={one})")) for one in layers}

    assert len(found) == len(layers)
    assert sight(facts("attention(pattern=window(5))", "length: 29, ffn: mlp(width=7)")) in found
    assert sight(facts("attention(pattern=heads(window(5), 2*window(5)))")) in found
    assert sight(facts("attention(pattern=window(5)), 1")) not in found


class Says(Mixer):
    """As much of a mixer as is asked."""

    def __init__(self, *heads: int, error: type[Exception] | None = None, last: int = 0):
        super().__init__()
        self.heads, self.error, self.last = heads, error, last

    def mix(self, x, axis, source=None):
        raise AssertionError

    def visible(self, n: int) -> tuple[Visible, ...]:
        if self.error:
            raise self.error
        matrix = np.eye(n, dtype=bool)
        matrix[-1, 0] = self.last
        return tuple(Visible(f"{at}", heads, matrix, True) for at, heads in enumerate(self.heads))


class Said(Facts):
    """Facts with these mixers."""

    def mixers(self):
        for one in self.model:
            yield "", None, one


def test_heads_count_however_they_are_grouped():
    def of(*mixers: Mixer) -> str:
        return sight_at(Said(mixers), 5)

    assert of(Says(1, 2)) == of(Says(3)) != of(Says(2))
    assert of(Says(1), Says(2)) != of(Says(3))
    assert of(Says(3, last=1)) != of(Says(3))


def test_a_mixer_that_says_nothing_and_one_that_takes_no_such_length():
    assert sight_at(Said((Says(error=NotImplementedError),)), 5) != sight_at(Said((Says(1),)), 5)
    assert sight_at(Said((Says(error=ValueError),)), 5) == ""
