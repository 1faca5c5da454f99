"""A contract that would test nothing is an error."""

from __future__ import annotations

import pytest

pytest_plugins = ("pytester",)


@pytest.mark.parametrize(("line", "said"), [
    ("expressions = ()", "TestIt tests nothing: it has no `expressions`; write, say, ('acme/mean(4)',)"),
    ("expresions = ('window(3)',)", "TestIt tests nothing: it has no `expressions`"),
    ("expressions = 'window(3)'", "TestIt.expressions is one text; write a tuple: ('window(3)',)"),
])  # fmt: skip
def test_it_is_refused(pytester, line, said):
    pytester.makepyfile(f"from xcompose.testing import PatternContract\nclass TestIt(PatternContract):\n    {line}\n")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")

    assert result.ret != 0
    assert said in result.stdout.str() + result.stderr.str()
