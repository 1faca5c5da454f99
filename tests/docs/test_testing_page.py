"""The code on the page about testing runs, and says what it shows."""

from __future__ import annotations

import re

from tests.test_docs import ROOT, blocks
from xcompose import testing
from xcompose.testing import fixtures

pytest_plugins = ["pytester"]
PAGE = ROOT / "docs" / "testing.md"
SLIP = ("return self.linear(x * self.share)", "return self.linear(x - x.mean(1, keepdim=True))")


def test_its_code_runs_and_a_slip_is_found_as_it_shows(pytester, monkeypatch):
    for name, text in blocks(PAGE, "python"):
        (pytester.path / name).write_text(text)
    monkeypatch.syspath_prepend(pytester.path)
    options = ("-q", "-p", "no:cacheprovider")

    whole = pytester.runpytest(*options, "-k", "formula or itself or said or card")
    (pytester.path / "acme_half.py").write_text((pytester.path / "acme_half.py").read_text().replace(*SLIP))
    fixtures._loaded.cache_clear()  # the module is imported anew
    slip = pytester.runpytest(*options, "-k", "itself and not Rms")

    whole.assert_outcomes(passed=8)
    slip.assert_outcomes(failed=2)
    ((_, shown),) = blocks(PAGE, "text")
    assert shown in "\n".join(slip.stdout.lines)


def test_it_names_every_contract_and_every_knob():
    text = PAGE.read_text()
    names = [name for name in testing._HOME if name.endswith("Contract")]
    bases = {base for name in names for base in getattr(testing, name).__mro__[:-1]}
    knobs = {knob for base in bases for knob in vars(base).get("__annotations__", {})} - {"kind"}

    assert [name for name in names if f"`{name}`" not in text] == []
    assert [knob for knob in sorted(knobs) if not re.search(rf"`{knob}[`(]", text)] == []
