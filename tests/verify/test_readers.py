"""Keys that a cache would drop too early are found without decoding that far."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xcompose.api import Component, Count, Pattern, Point, option, options
from xcompose.attention.algebra import Difference, Intersection, Union
from xcompose.attention.checks import early_last_reader
from xcompose.attention.segmented import OwnSegment
from xcompose.testing import registry_with
from xcompose.verify.runner import check_spec

SPEC = """\
xcompose: 1
model:
  type: decoder
  dim: 16
  heads: 2
  vocab: 13
  ffn: mlp(1x)
  layers:
    - {{mixer: "attention(pattern=window(4))"}}
    - {{mixer: "{mixer}"}}
expect: {{decode: exact, state: O(1)}}
"""


@options
class LogSparse(Pattern):
    """Keys at distances that are powers of two, kept for `keep` positions."""

    keep: Count = option(128, main=True)

    def allows(self, q: Point, k: Point) -> Any:
        apart = q.at - k.at
        return (apart & (apart - 1)) == 0

    def last_reader(self, at: Any) -> Any:
        return at + self.keep


@options
class Every(Pattern):
    """Every hundredth query reads everything."""

    def allows(self, q: Point, k: Point) -> Any:
        return (q.at % 100 == 0) | (q.at - k.at <= 2)

    def last_reader(self, at: Any) -> Any:
        return at + 2


@options
class ByHead(Pattern):
    """Head h reads the last 10 (h + 1) positions."""

    per_head = True

    def allows(self, q: Point, k: Point) -> Any:
        return q.at - k.at < 10 * (q.head + 1)

    def last_reader(self, at: Any) -> Any:
        return at + 19


@pytest.fixture(scope="module")
def registry():
    made = [Component(kind="pattern", name=name, options=cls) for name, cls in (("log-sparse", LogSparse),)]
    return registry_with(components=made)


def checked(mixer, registry, tmp_path, stage="contracts"):
    file = tmp_path / "far.xc.yaml"
    file.write_text(SPEC.format(mixer=mixer))
    return check_spec(str(file), stages=(stage,), registry=registry)


@pytest.mark.parametrize(("pattern", "found"), [
    (LogSparse(keep=128), (0, 128, 256)),
    (LogSparse(keep=2**19), (0, 2**19, 2**20)),
    (Every(), (0, 2, 100)),
    (Union((OwnSegment(8), LogSparse(keep=64))), (0, 64, 128)),
    (Intersection((LogSparse(keep=128), Every())), (4, 6, 4100)),
    (Intersection((LogSparse(keep=64), OwnSegment(8))), None),
    (Difference((LogSparse(keep=64), OwnSegment(8))), (0, 64, 128)),
    (OwnSegment(8, reach=3), None),
])  # fmt: skip
def test_queries_far_away_are_asked(pattern, found):
    assert early_last_reader(pattern) == found


def test_a_model_of_limited_length_has_no_queries_behind_its_end():
    assert early_last_reader(LogSparse(keep=128), longest=256) is None
    assert early_last_reader(LogSparse(keep=128), longest=257) == (0, 128, 256)


def test_the_heads_of_a_group_are_asked():
    assert early_last_reader(ByHead(), heads=range(2)) is None
    assert early_last_reader(ByHead(), heads=range(1, 3)) == (0, 19, 20)


def test_slots_are_asked_where_they_stand():
    class Slots:
        start, end, at = np.array([0, 50]), np.array([9, 59]), np.array([9, 59])

    assert early_last_reader(LogSparse(keep=64), slots=Slots()) == (9, 73, 137)
    assert early_last_reader(OwnSegment(10), slots=Slots()) is None


@pytest.mark.parametrize(("mixer", "pattern"), [
    ("attention(pattern=log-sparse)", "LogSparse"),
    ("attention(pattern=log-sparse | window(3))", "Union"),
])  # fmt: skip
def test_check_finds_it(mixer, pattern, registry, tmp_path):
    found = checked(mixer, registry, tmp_path).findings

    assert [finding.code for finding in found] == ["XC074", "XC061"]
    assert found[0].message == "layer 1: mixer 'attention' would drop a key that is still read"
    assert found[0].label == "key 0: `last_reader` says 128, but query 256 reads it"
    assert found[0].path == "model.layers.1.mixer"
    assert found[0].notes[0].text == f"measured: `allows` of {pattern} was asked, up to 1,048,577 positions later"
    assert found[1].path == "expect.decode"


def test_what_never_drops_too_early_passes(registry, tmp_path):
    assert checked("attention(pattern=log-sparse & window(3))", registry, tmp_path).findings == ()
