"""Every component that ships has a page, and the example on it is a spec that composes."""

from __future__ import annotations

import importlib
import re
import shutil
from types import ModuleType

import pytest

from tests.test_docs import ROOT
from xcompose import registry
from xcompose.registry import Component
from xcompose.schema import KINDS

pytest.importorskip("latex2mathml", reason="pip install -e '.[docs]'")
EVERY = [c for c in registry.load().components() if not c.namespace]

FIRST = [next(c for c in EVERY if c.kind == kind) for kind in KINDS]
"""One of each kind, for every run of the tests."""


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "tools"))
    return importlib.import_module("site_components")


def component(kind: str, name: str):
    return registry.load().component(kind, name)


def test_every_kind_and_component_has_a_place(tools):
    places = re.findall(r"components/[\w/-]+\.md", str(tools.navigation()))

    assert set(tools.WORDS) == set(KINDS)
    assert len(places) == len(set(places)) == 1 + len(KINDS) + len(EVERY)
    assert {tools.page_of(c) for c in EVERY} <= set(places)


@pytest.mark.parametrize("one", FIRST, ids=lambda c: f"{c.kind} {c.name}")
def test_the_example_composes_and_uses_it(tools, one):
    composes_and_uses(tools, one)


@pytest.mark.slow
@pytest.mark.parametrize("one", [c for c in EVERY if c not in FIRST], ids=lambda c: f"{c.kind} {c.name}")
def test_every_example_composes_and_uses_its_component(tools, one):
    composes_and_uses(tools, one)


def composes_and_uses(tools: ModuleType, one: Component) -> None:
    model = tools.example_model(one)

    spec = model.spec
    held = tools.nodes([spec.model, spec.addons, spec.task, dict(spec.train), dict(spec.search)])
    assert (one.kind, one.name) in {(node.kind, node.name) for node in held}


@pytest.mark.slow
def test_every_example_passes_the_check(tools, tmp_path, monkeypatch):
    from xcompose.verify.runner import check_files

    for name in tools.site_examples.BESIDE:
        shutil.copy(ROOT / "specs" / f"{name}.xc.yaml", tmp_path)
    files = []
    for one in EVERY:
        files.append(tmp_path / f"{one.kind}-{one.name}.xc.yaml")
        files[-1].write_text(tools.site_examples.example(one.schema))
    monkeypatch.chdir(tmp_path)

    report = check_files([file.name for file in files], stages=["compose"])

    assert {spec.name: spec.findings for spec in report.specs if spec.findings} == {}


def test_options_are_told_in_words(tools):
    table = tools._options(component("pattern", "window"))

    assert table.splitlines() == [
        "| option | type | default | what it is |",
        "|---|---|---|---|",
        "| `size` ▸ | whole number | required | Keys on each side of the query, itself not counted. |",
        "| `dilation` | whole number | `1` | Distance between neighbouring keys. *(at least 1)* |",
        "",
        "▸ `size` needs no name: `window(4)`.",
        "{ .xc-note }",
    ]


def test_a_slot_leads_to_its_kind_and_what_a_layer_says_is_marked(tools):
    table = tools._options(component("mixer", "attention"))

    assert "[pattern](../pattern/index.md)" in table
    assert re.search(r"\| `heads` \| whole number \| the layer's \|", table)


def test_a_memory_is_drawn_where_its_picture_tells_something(tools):
    """The slots of conv(4) let a query reach all tokens before it; those of reread(first(2)) only these."""
    conv, reread = component("memory", "conv"), component("memory", "reread")

    assert tools._picture(conv, tools.example_model(conv)) == ""
    assert "<svg" in tools._picture(reread, tools.example_model(reread))


@pytest.mark.parametrize(("name", "growth"), [("window", 4), ("dense", 16)])
def test_costs_are_counted_at_two_lengths(tools, name, growth):
    """Four times as long: windows cost four times as much, everything with everything sixteen times."""
    one = component("pattern", name)

    table = tools._counted(one, tools.example_model(one))

    said = re.search(r"\| work of its mixers .* \| ([\d.]+) MFLOP \| ([\d.]+) MFLOP \|", table)
    assert said is not None
    assert float(said[2]) / float(said[1]) == pytest.approx(growth, rel=0.03)
    assert "116,480 parameters | n = 256 | n = 1,024 |" in table


def test_what_a_spec_writes_is_told_from_its_defaults(tools):
    """window-then-linear writes windows and global tokens, and has rotary positions by default."""
    path = ROOT / "specs" / "beyond" / "window-then-linear.xc.yaml"

    written = set(tools.named(path))

    assert {("pattern", "union"), ("pattern", "window"), ("pattern", "global"), ("score", "linear")} <= written
    assert not {("position", "rotary"), ("norm", "layer"), ("output", "lm")} & written


def test_groups_of_heads_have_pictures_of_their_own(tools):
    one = component("pattern", "heads")

    picture = tools._picture(one, tools.example_model(one))

    assert re.findall(r"<figcaption>([^<]+)<", picture) == [
        "decoder, heads 0-2", "decoder, head 3", "encoder, heads 0-2", "encoder, head 3",
    ]  # fmt: skip
    assert picture.count("xc-group-1") == 2


def test_a_picture_has_a_square_for_each_pair(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "tools"))
    pictures = importlib.import_module("site_pictures")

    drawn = pictures._figure(pictures._cells(["■■·", "·■■"]), "two & three")

    assert 'd="M0.06 0.5h2M1.06 1.5h2"' in drawn
    assert 'd="M2.06 0.5h1M0.06 1.5h1"' in drawn
    assert "<figcaption>two &amp; three</figcaption>" in drawn
