from __future__ import annotations

from xcompose.testing import PatternContract


class TestPatterns(PatternContract):
    expressions = (
        "window(5)",
        "window(3, dilation=2)",
        "dense",
        "blocks(4, back=1)",
        "strided(4)",
        "global(2)",
        "random(2, block=4)",
        "random-blocks(2, block=4)",
        "summary(4)",
        "local([8], memory=[4])",
        "first(2)",
        "union(window(4), strided(5))",
        "intersection(window(8), strided(3))",
        "difference(dense, window(5))",
        "heads(window(3), strided(4))",
        "lsh(4)",
        "routing(4, window=6)",
        "adaptive-span(16)",
        "prefix",
    )
