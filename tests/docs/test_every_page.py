"""Code in the docs runs: every page that holds some has a test that runs it, and this one knows which."""

from __future__ import annotations

import re

import pytest

import xcompose as xc
from tests.test_docs import ROOT, blocks
from xcompose.compose.build import plan_model

RUN = ("yaml", "console", "python", "toml", "bash", "sh")
"""Languages of blocks that something has to run; `text` is output or a sketch, `ebnf` a grammar."""
SHOWN = ("text", "ebnf")
TESTS = {
    "README.md": "test_docs.py",
    "docs/index.md": "docs/test_every_page.py",
    "docs/quickstart.md": "test_docs.py",
    "docs/survey.md": "test_docs.py",
    "docs/combinations.md": "test_docs.py",
    "docs/images.md": "cli/test_images.py",
    "docs/sets.md": "cli/test_points.py",
    "docs/spec-language.md": "docs/test_spec_language_page.py",
    "docs/write-a-plugin.md": "docs/test_write_a_plugin_page.py",
    "docs/check-in-ci.md": "docs/test_check_in_ci_page.py",
    "docs/testing.md": "docs/test_testing_page.py",
    "docs/slots.md": "docs/test_slots_page.py",
    "docs/plugins.md": "docs/test_plugins_page.py",
    "docs/addons/README.md": "docs/test_every_page.py",
    "docs/addons/adapters.md": "docs/test_adapters_page.py",
    "docs/addons/distill.md": "docs/test_distill_page.py",
    "docs/addons/hat.md": "docs/test_hat_page.py",
    "docs/addons/precision.md": "docs/test_precision_page.py",
    "docs/addons/quantize.md": "docs/test_quantize_page.py",
    "docs/addons/search.md": "docs/test_search_page.py",
    "docs/addons/share.md": "docs/test_share_page.py",
}
"""By page: the test that runs its code, below `tests`."""
NOT_RUN = {
    ("README.md", "console"): "starts make, in an environment of its own",
    ("docs/index.md", "console"): "starts make, in an environment of its own",
}
"""Blocks that no test runs, and why."""
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
)


def languages(page: str) -> set[str]:
    """The languages of the fenced blocks of a page; an empty one for a block that says none."""
    fences = re.findall(r"^ *```(.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert len(fences) % 2 == 0, f"{page}: a block is not closed"
    return {fence.partition(" ")[0] for fence in fences[::2]}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_code_has_a_test(page):
    found = languages(page)

    assert found <= {*RUN, *SHOWN}, "say what a block is: `text` if nothing can run it"
    if not found & set(RUN):
        assert page not in TESTS
        return
    assert page in TESTS, "name the test that runs its code, above"
    test = ROOT / "tests" / TESTS[page]
    text = test.read_text()
    assert page.rpartition("/")[2] in text, f"{test.name} does not name {page}"


def test_every_test_that_is_named_is_of_a_page():
    assert set(TESTS) <= set(PAGES)
    assert {page for page, _ in NOT_RUN} <= set(TESTS)


@pytest.mark.parametrize("page", ["docs/index.md", "docs/addons/README.md"])
def test_specs_of_pages_without_commands_compose(page, tmp_path):
    """A piece of a spec is completed by the least model."""
    found = blocks(ROOT / page, "yaml")

    assert found
    for _, code in found:
        whole = code if code.startswith("xcompose:") else f"xcompose: 1\n{LEAST if 'model:' not in code else ''}{code}"
        (tmp_path / "shown.xc.yaml").write_text(whole)
        assert plan_model(xc.read(str(tmp_path / "shown.xc.yaml"))).layers


LEAST = "model: {type: decoder, dim: 64, layers: 2}\n"


@pytest.mark.slow
def test_the_home_page_keeps_its_promise(tmp_path):
    """What it says of costs and certificates is what `check` finds, in small."""
    from xcompose.verify.runner import check_spec

    ((_, code),) = blocks(ROOT / "docs" / "index.md", "yaml")
    (tmp_path / "shown.xc.yaml").write_text(code)
    sets = ["dim=32", "heads=2", "model.layers=attention(pattern=window(4) | global(4)), attention(score=linear)"]

    report = check_spec(str(tmp_path / "shown.xc.yaml"), sets)

    assert report.findings == ()


@pytest.mark.parametrize(("page", "language"), NOT_RUN)
def test_what_is_not_run_is_there(page, language):
    """The two commands are targets of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    shown = re.findall(r"^\$ make ([\w-]+)", "".join(code for _, code in blocks(ROOT / page, language)), re.MULTILINE)

    assert shown
    assert set(shown) <= targets
