"""The page on distillation: its example runs, and its table of mechanisms is what layers say of themselves."""

from __future__ import annotations

import pytest

from tests.docs.pages import prints_what_it_shows
from tests.test_docs import ROOT
from xcompose import registry
from xcompose.compose.build import plan_model
from xcompose.spec import load_text

PAGE = ROOT / "docs" / "addons" / "distill.md"
NEAR, FAR = "attention(pattern=window(2))", "attention(score=linear)"
MIXERS = {
    "softmax attention": (NEAR, "attention(position=alibi)", "attention(pattern=adaptive-span(8), silence=zero)"),
    "kernel scores": (FAR, "attention(score=favor)"),
    "memories": ("attention(pattern=window(2), memory=conv(2))", "attention(recurrence=segments(2, memory=2))"),
    "`lsh`": (
        "attention(pattern=lsh(buckets=4, chunk=4, form=strict))",
        "attention(pattern=routing(4, window=4, form=strict))",
    ),
    "`synthesizer`": ("attention(score=synthesizer(dense), position=none)",),
    "`heads(...)`": (f"heads({NEAR}, attention)",),
    "`gate`": (f"gate({NEAR}, {FAR})", f"sum({NEAR}, {FAR})", f"chain({NEAR}, {FAR})"),
}
ROWS = PAGE.read_text().split("| mechanism |")[1].split("\n\n")[0].splitlines()[2:]


def test_the_example_prints_what_it_shows(tmp_path, monkeypatch):
    prints_what_it_shows(PAGE, tmp_path, monkeypatch)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_the_table_says_what_layers_show(row):
    name, of_map, of_qkv = (cell.strip() for cell in row.strip("|").split("|"))
    (mixers,) = [mixers for start, mixers in MIXERS.items() if name.startswith(start)]
    for mixer in mixers:
        text = f'xcompose: 1\nmodel: {{type: decoder, dim: 16, heads: 4, length: 16, layers: ["{mixer}"]}}\n'
        block = plan_model(load_text(text, catalogue=registry.load().catalogue)).layers[0]
        shown = {what for what in ("q", "k", "v", "map") if not block.hides(what)}

        assert ("map" in shown) == (not of_map.startswith("no")), mixer
        wanted = {"v"} if of_qkv.startswith("v alone") else set() if of_qkv.startswith("no") else {"q", "k", "v"}
        assert shown - {"map"} == wanted, mixer
