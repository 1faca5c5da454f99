"""The built-in patterns keep the contract that other people's are held to."""

from __future__ import annotations

import pytest

from xcompose.testing import PatternContract

pytestmark = pytest.mark.filterwarnings("ignore:.* is not tried in models of type")  # each as its card says


class TestFixedPatterns(PatternContract):
    examples = 4
    expressions = (
        "dense", "window(5)", "window(3, dilation=2)", "blocks(4, back=1)", "strided(4)", "global(2)", "first(2)",
        "summary(4)", "random(2, block=4)",
    )  # fmt: skip


class TestPatternsOfEncoders(PatternContract):
    examples = 4
    types = ("encoder",)
    expressions = ("global(1, last=2)", "random-blocks(2, block=4)", "summary(6, last=2, spread=heads)")


class TestJoinedPatterns(PatternContract):
    examples = 4
    expressions = (
        "union(window(4), strided(5))", "intersection(window(8), strided(3))", "difference(dense, window(5))",
        "heads(window(3), strided(4))",
    )  # fmt: skip


class TestPatternsOfGrids(PatternContract):
    examples = 4
    expressions = ("axis(1)", "local([2, 4], memory=[1, 2])")
    model = {"grid": [5, 8]}


class TestLocal(PatternContract):
    examples = 4
    expressions = ("local([8], memory=[4])",)


class TestNoTokens(PatternContract):
    examples = 4
    expressions = ("none",)
    spec = """\
xcompose: 1
model:
  type: encoder
  dim: 16
  heads: 2
  layers: ["attention(pattern=THIS, memory=conv(3))"]
"""


class TestPrefix(PatternContract):
    examples = 4
    expressions = ("prefix",)
    types = ("encoder",)
    model = {"embedding": "tokens(prefix=2)"}
    layer = {"mixer": "attention(pattern=THIS | window(3))"}


class TestPatternsWithWeights(PatternContract):
    examples = 4
    expressions = ("adaptive-span(16, ramp=4)",)


class TestPatternsThatChoose(PatternContract):
    examples = 4
    expressions = ("lsh(buckets=4, chunk=4)", "routing(3, window=6)")
    smooth = False
