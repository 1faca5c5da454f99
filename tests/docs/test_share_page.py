"""The page on sharing: its example runs, and its figures are those of the specs."""

from __future__ import annotations

import re

import pytest

import xcompose as xc
from tests.docs.pages import prints_what_it_shows
from tests.test_docs import ROOT
from xcompose.compose.build import plan_model
from xcompose.cost.count import parameters

PAGE = ROOT / "docs" / "addons" / "share.md"
SMALL = {"type": "decoder", "dim": 16, "heads": 2, "layers": 6}


def test_the_example_prints_what_it_shows(tmp_path, monkeypatch):
    prints_what_it_shows(PAGE, tmp_path, monkeypatch)


@pytest.mark.parametrize("line", [line for line in PAGE.read_text().splitlines() if re.match(r"\| \w+ \| \d+, ", line)])
def test_counts_of_albert(line):
    size, shape, here, whole, _ = (cell.strip() for cell in line.strip("|").split("|"))
    variant = "" if size == "base" else f"@{size}"
    model = plan_model(xc.read(f"{ROOT}/specs/addons/albert.xc.yaml{variant}"))
    total = parameters(model).total

    assert shape == f"{len(model.layers)}, {model.dim}"
    assert here == f"{total:,}"
    assert whole == f"{total + model.dim**2 + model.dim + 2 * model.dim + 2:,}"


@pytest.mark.parametrize(("order", "shown"), re.findall(r"\| `([\w-]+)` \| .* \| ([\d ]+) \|", PAGE.read_text()))
def test_orders(order, shown):
    spec = {"xcompose": 1, "model": SMALL, "addons": [f"share(groups=3, order={order})"]}
    blocks = plan_model(xc.read(spec)).layers
    ids = [id(block.mixer) for block in blocks]
    first = list(dict.fromkeys(ids))

    assert " ".join(str(first.index(one)) for one in ids) == shown


@pytest.mark.parametrize("addon", re.findall(r"`(?:addons: \[)?((?:share|universal)[^`]*?)\]?`", PAGE.read_text()))
def test_every_add_on_that_is_named_is_one(addon):
    """Words alone name the add-on; those with options do what they say on a model that has what they name."""
    both = {"type": "encoder-decoder", "dim": 16, "heads": 2, "position": "none"}
    sides = {"encoder": {"layers": 6}, "decoder": {"layers": 6}}
    spec = {"xcompose": 1, "model": {**both, **sides}, "addons": [addon + "]" * (addon.count("[") - addon.count("]"))]}

    assert plan_model(xc.read(spec)).addons[0].node.name == addon.partition("(")[0]
