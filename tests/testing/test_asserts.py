from __future__ import annotations

import pytest

from xcompose.testing import assert_diagnostics, assert_valid, diagnostics_of, registry_with

pytest_plugins = ["pytester"]
GOOD = "xcompose: 1\nmodel:\n  type: decoder\n  dim: 64\n  layers: 2\n"
BAD = "xcompose: 1\nmodel:\n  type: decoder\n  dim: 64\n  layers: 2*attention(pattern=windw(4))\n"


def said(call) -> str:
    with pytest.raises(pytest.fail.Exception) as caught:
        call()
    return str(caught.value.msg)


def test_a_valid_spec_is_valid():
    assert_valid(GOOD)
    assert diagnostics_of(GOOD) == ()


def test_findings_are_named_by_code_line_and_column(tmp_path):
    (tmp_path / "bad.xc.yaml").write_text(BAD)

    for one in ("XC013@5:31", "XC013@5", "XC013"):
        assert_diagnostics(BAD, [one])
        assert_diagnostics(tmp_path / "bad.xc.yaml", [one])


def test_parts_are_put_together_unless_that_is_not_wanted():
    odd = BAD.replace("windw(4)", "none")

    assert_valid(odd, compose=False)
    assert_diagnostics(odd, ["XC031@5:31"])


def test_a_failure_says_what_is_missing_and_shows_what_is_there():
    assert said(lambda: assert_diagnostics(BAD, ["XC099@9:19"])).startswith(
        "missing:    XC099@9:19\n"
        "unexpected: XC013@5:31\n"
        "\n"
        "error[XC013]: no pattern is called 'windw'\n"
        " --> spec:5:31   model.layers.0.mixer.pattern\n"
    )
    assert said(lambda: assert_diagnostics(GOOD, ["XC099"])) == "missing:    XC099\n\nnothing is wrong with this spec"
    assert said(lambda: assert_valid(BAD)).startswith("unexpected: XC013@5:31\n\nerror[XC013]")


def test_only_what_is_under_test_and_what_ships_is_known():
    assert {c.distribution for c in registry_with().components()} == {"xcompose"}
    with pytest.raises(LookupError, match="plugin 'no_such_module' cannot be tested: .*No module named"):
        registry_with("no_such_module")


def test_a_class_says_what_is_under_test(pytester):
    pytester.makepyfile(
        acme_same="""
        '''Half.

        Maths    y = x / 2
        Shapes   x, y (b n c)
        Cost     O(n c)
        Limits   none
        Paper    none
        '''
        from xcompose.api import FFN, Component, hookimpl, options

        @options
        class HalfOptions:
            "None."

        class Half(FFN):
            def __init__(self, options, context):
                super().__init__()

            def forward(self, x):
                return x / 2

        @hookimpl
        def components():
            return [Component(kind="ffn", name="half", options=HalfOptions, build=Half)]
        """,
        test_half="""
        from xcompose.testing import FfnContract

        class TestHalf(FfnContract):
            plugin = "acme_same"
            expressions = ("acme/half",)

        class TestNobody(FfnContract):
            expressions = ("other/half",)

        def test_nothing_else_is_known(xc_registry, no_plugins):
            from xcompose.registry import load

            assert {c.distribution for c in (*xc_registry.components(), *load().components())} == {"xcompose"}
        """,
    )
    ran = pytester.runpytest("-k", "composes or itself or card or known", "--xc-seed", "7", "-p", "no:cacheprovider")

    ran.assert_outcomes(passed=5, failed=2, skipped=2)
    ran.stdout.fnmatch_lines(["no ffn is called 'other/half'*", "*install the package (pip install -e .)*"])
