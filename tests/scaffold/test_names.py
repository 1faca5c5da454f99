"""From one name to all names of a package."""

from __future__ import annotations

import pytest

from xcompose.scaffold import NameProblem, names_of
from xcompose.scaffold.names import refuse_taken


def test_one_name_gives_all_names():
    names = names_of("acme-token-shift")

    assert names.distribution == "acme-token-shift"
    assert names.package == "acme_token_shift"
    assert names.full == "acme/token-shift"
    assert names.module == "token_shift"
    assert names.cls == "TokenShift"
    assert names.test == "TestTokenShift"


@pytest.mark.parametrize(
    ("name", "full"), [("xcompose-acme-mean", "acme/mean"), ("xcompose-nystrom", "nystrom/nystrom")]
)
def test_a_leading_xcompose_is_no_namespace(name, full):
    assert names_of(name).full == full


@pytest.mark.parametrize(("name", "module"), [("acme-lambda", "lambda_"), ("acme-specs", "specs_")])
def test_a_file_is_called_so_that_python_can_import_it(name, module):
    assert names_of(name).module == module


SHAPE = "is no name of a package: lower-case words of letters and digits, joined by dashes"


@pytest.mark.parametrize(
    ("name", "message", "fix"),
    [
        ("Acme_Mean", f"'Acme_Mean' {SHAPE}", "write acme-mean"),
        ("acme--mean", f"'acme--mean' {SHAPE}", "write acme-mean"),
        ("acme/mean", f"'acme/mean' {SHAPE}", "write acme-mean"),
        ("../acme-mean", f"'../acme-mean' {SHAPE}", "write acme-mean"),
        ("", f"'' {SHAPE}", "write acme-mean"),
        ("2nd-mean", f"'2nd-mean' {SHAPE}", "write nd-mean"),
        ("acme-", f"'acme-' {SHAPE}", "write acme-mean"),
        ("acme-é", f"'acme-é' {SHAPE}", "write acme-e"),
        ("1acme-x", f"'1acme-x' {SHAPE}", "write acme-x"),
        (
            "acme-2-to-3",
            "the component of 'acme-2-to-3' would be called '2-to-3', and a name begins with a letter",
            "acme-to-3-2",
        ),
        ("acme-" + "m" * 40, f"'acme-{'m' * 40}' has 45 letters, 40 are the most", "a shorter name: acme-mean"),
        (
            "acme-2nd",
            "the component of 'acme-2nd' would be called '2nd', and a name begins with a letter",
            "acme-m2nd",
        ),
        (
            "mean",
            "'mean' is a namespace without a component: `mean-mean` would be `mean/mean` in a spec",
            "two words or more, joined by a dash: acme-mean",
        ),
        (
            "statistics",
            "'statistics' would be imported as `statistics`, and Python has a module of that name",
            "another name: acme-statistics",
        ),
        (
            "torch",
            "'torch' would be imported as `torch`, and what is installed here has a module of that name",
            "another name: acme-torch",
        ),
        (
            "xcompose",
            "'xcompose' would be imported as `xcompose`, and what is installed here has a module of that name",
            "another name: acme-xcompose",
        ),
    ],
)
def test_what_is_no_name_is_refused_with_the_mend(name, message, fix):
    with pytest.raises(NameProblem) as caught:
        names_of(name)

    assert (caught.value.message, caught.value.fix) == (message, fix)


@pytest.mark.parametrize(
    "name", ["acme-1x", "acme-" + "1" * 35, "xcompose-2nd", "é", "-", "os", "7", "1-2-3", "ﬃ" * 20]
)
def test_the_mend_is_a_name(name):
    with pytest.raises(NameProblem) as caught:
        names_of(name)

    assert names_of(caught.value.fix.split()[-1])


def test_a_module_that_is_there_is_not_shadowed():
    with pytest.raises(NameProblem) as caught:
        refuse_taken(names_of("xcompose-plugins"))

    message = "'xcompose-plugins' would be imported as `xcompose_plugins`, and what is installed here has a module of"
    assert caught.value.message == f"{message} that name"


def test_a_distribution_that_is_there_is_not_made_again():
    with pytest.raises(NameProblem) as caught:
        refuse_taken(names_of("typing-extensions"))

    assert caught.value.message.startswith("a distribution 'typing-extensions' is installed already, version ")
    assert caught.value.fix == "another name, or first: pip uninstall typing-extensions"
