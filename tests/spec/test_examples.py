"""Every example spec loads, every bad one is refused with one located finding for each mistake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xcompose import registry
from xcompose.diagnostics.render import text as rendered
from xcompose.spec import check, fingerprint, freeze, load, load_text, to_omegaconf, variants_of
from xcompose.spec.interop import as_text

from .catalogue import CATALOGUE
from .helpers import BAD, EXAMPLES, GOOD

REFERENCES = [f"{name}{v}" for name in GOOD for v in ("", *(f"@{v}" for v in variants_of(EXAMPLES / name)))]
LAYERS = {
    "beyond/three-kinds.xc.yaml": 12, "beyond/three-kinds.xc.yaml@tiny": 3, "survey/bigbird-base.xc.yaml": 12,
    "survey/sparse-enwik8.xc.yaml": 30, "survey/longformer-small-lm.xc.yaml": 12, "minimal.xc.yaml": 4,
    "survey/longformer-small-lm.xc.yaml@tiny": 2, "survey/reformer-enwik8.xc.yaml": 12,
    "survey/reformer-enwik8.xc.yaml@tiny": 3, "beyond/router-over-memory.xc.yaml": 5,
}  # fmt: skip
LATER = {"acme/nystrom"}
"""Components of the examples that come later."""


@pytest.fixture(autouse=True)
def _in_examples(monkeypatch):
    monkeypatch.chdir(EXAMPLES)


def test_there_are_as_many_as_were_written():
    assert len(REFERENCES) == 46
    assert len(BAD) == 11


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_good_one_loads_without_a_word(reference):
    spec, diagnostics = check(reference, (), CATALOGUE)

    assert diagnostics == []
    assert spec is not None
    assert spec.name == Path(reference.replace(".xc.yaml", "")).name


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_frozen_one_loads_to_the_same(reference):
    spec = load(reference, catalogue=CATALOGUE)

    again = load_text(freeze(spec), "frozen", catalogue=CATALOGUE, folder=Path(reference.partition("@")[0]).parent)

    for section in ("name", "about", "paper", "model", "addons", "task", "train", "expect"):
        assert getattr(again, section) == getattr(spec, section), section
    assert fingerprint(again) == fingerprint(spec)
    assert freeze(again, Path(spec.file).parent) == freeze(spec)


@pytest.mark.parametrize("reference", REFERENCES)
def test_omegaconf_holds_the_resolved_tree(reference):
    pytest.importorskip("omegaconf")
    spec = load(reference, catalogue=CATALOGUE)
    config = to_omegaconf(spec)

    again = load_text(config, "config", catalogue=CATALOGUE, folder=Path(reference.partition("@")[0]).parent)

    assert again.model == spec.model
    assert again.train == spec.train
    assert as_text(config).startswith("xcompose: 1\n")


@pytest.mark.parametrize(("reference", "count"), LAYERS.items())
def test_layers_are_counted_after_expansion(reference, count):
    model = load(reference, catalogue=CATALOGUE).model

    assert model is not None
    assert len(model.options["layers"]) == count


@pytest.mark.parametrize("reference", REFERENCES)
def test_installed_components_only_miss_what_comes_later(reference):
    spec, diagnostics = check(reference, (), registry.load().catalogue)

    assert {d.code for d in diagnostics} <= {"XC013"}
    named = {d.message.split("'")[1] for d in diagnostics}
    assert named <= LATER
    assert (spec is None) == bool(named)


GOLDEN = {
    "anchors": """\
error[XC005]: a spec has no YAML anchors, found `&local`
 --> bad/anchors.xc.yaml:6:7   model.layers
  |
6 |     - &local {mixer: attention}
  |       ^^^^^^
 ::: bad/anchors.xc.yaml:7:7
  |
7 |     - *local
  |       ------ used here
  = fix: name a value in `let`, a layer in `blocks`
""",
    "dash": """\
error[XC013]: no pattern is called 'dense-global'
 --> bad/dash.xc.yaml:5:28   model.mixer.pattern
  |
5 |   mixer: attention(pattern=dense-global(4))
  |                            ^^^^^^^^^^^^ `-` between letters belongs to the name
  = fix: write dense - global
""",
    "old-options-leak": """\
error[XC011]: 'mlp' has no option 'widht'
 --> bad/old-options-leak.xc.yaml:4:9   model.ffn
  |
4 |   ffn: {widht: 2x}
  |         ^^^^^
  = note: 'mlp' stands here, the default
  = fix: did you mean 'width'?

error[XC012]: 'window' needs 'size'
 --> bad/old-options-leak.xc.yaml:5:20   model.mixer.pattern.size
  |
5 |   mixer: {pattern: window}
  |                    ^^^^^^
  = fix: write size: followed by a length
""",
    "refs": """\
error[XC022]: reference cycle: a -> b -> a
 --> bad/refs.xc.yaml:2:21   model.mixer.pattern.of.2.size
  |
2 | let: {w: 100, a: "${b}", b: "${a}"}
  |                     ^
 ::: bad/refs.xc.yaml:2:32
  |
2 | let: {w: 100, a: "${b}", b: "${a}"}
  |                                - and this

error[XC023]: 100 is not divisible by 3
 --> bad/refs.xc.yaml:6:37   model.mixer.pattern.of.0.size
  |
6 |   mixer: attention(pattern=window(${w / 3}) | global(${ww}) | blocks(${a}))
  |                                     ^^^^^
  = fix: 99 and 102 are divisible by 3

error[XC021]: there is no 'ww' to refer to
 --> bad/refs.xc.yaml:6:56   model.mixer.pattern.of.1.first
  |
6 |   mixer: attention(pattern=window(${w / 3}) | global(${ww}) | blocks(${a}))
  |                                                        ^^
  = fix: did you mean 'w'?
""",
    "stale-variant@tiny": """\
error[XC029]: 'window' has no option 'of'
 --> bad/stale-variant.xc.yaml:7:25   model.mixer.pattern
  |
7 |     model.mixer.pattern.of.1.last: 4
  |                         ^^
 ::: bad/stale-variant.xc.yaml:4:28
  |
4 |   mixer: attention(pattern=window(128))
  |                            ------ what stands here now
""",
    "many": """\
error[XC011]: a spec has no section 'modle'
 --> bad/many.xc.yaml:2:1
  |
2 | modle: {}
  | ^^^^^
  = fix: did you mean 'model'?

error[XC011]: 'decoder' has no option 'head'
 --> bad/many.xc.yaml:6:3   model
  |
6 |   head: 4
  |   ^^^^
  = fix: did you mean 'heads', 'kv_heads' or 'head_dim'?

error[XC014]: expected strict or value, found 'true'
 --> bad/many.xc.yaml:7:11   model.causal
  |
7 |   causal: true
  |           ^^^^

error[XC013]: no position is called 'rotery'
 --> bad/many.xc.yaml:8:13   model.position
  |
8 |   position: rotery
  |             ^^^^^^
  = fix: did you mean 'rotary'?

error[XC013]: no ffn is called 'swiglu'
 --> bad/many.xc.yaml:9:8   model.ffn
  |
9 |   ffn: swiglu
  |        ^^^^^^ xcompose calls it 'gated'
  = fix: write 'gated'

error[XC016]: 'window' takes one unnamed argument, found 2
  --> bad/many.xc.yaml:12:44   model.blocks.local.mixer.pattern
   |
12 |       mixer: attention(pattern=window(256, 2))
   |                                            ^ the first one is 'size'; every other option is named
   = fix: name it: dilation=2

error[XC017]: expected a mixer, found components joined by '|'
  --> bad/many.xc.yaml:14:14   model.blocks.both.mixer
   |
14 |       mixer: attention(pattern=window(64)) | attention(score=linear)
   |              MARKS '|' joins patterns only, and here stands a mixer

error[XC016]: `torch.nn.Linear` is not a name
  --> bad/many.xc.yaml:16:31   model.blocks.mem.mixer
   |
16 |       mixer: attention(memory=torch.nn.Linear)
   |                               ^^^^^^^^^^^^^^^ a spec names installed components, never Python code

error[XC015]: 4 heads cannot be shared 3 + 2
  --> bad/many.xc.yaml:18:38   model.blocks.per.mixer.pattern.of
   |
18 |       mixer: attention(pattern=heads(3*window(64), 2*window(32)))
   |                                      ^^^^^^^^^^^^ the shares add up to 5, which does not divide 4 into whole groups
   = fix: use shares that add up to a divisor of 4

error[XC016]: `(` is never closed
  --> bad/many.xc.yaml:19:27   model.layers
   |
19 |   layers: 3*locale, both, (mem, per
   |                           ^ opened here
   = fix: 3*locale, both, (mem, per)

error[XC014]: expected a range such as 12.7M ± 1%, 12M..13M, ..13M or 30, found 'about 12M'
  --> bad/many.xc.yaml:21:11   expect.params
   |
21 |   params: about 12M
   |           ^^^^^^^^^
   = fix: did you mean 12M ± 5%?

error[XC014]: expected a budget such as 200 steps, 3 epochs, 2M tokens, 60 trials, 90s, 2min or 3h, found '1 steps.5k'
  --> bad/many.xc.yaml:23:17   train.budget
   |
23 | train: {budget: 1 steps.5k, batch: 2.5, tiem: 2min}
   |                 ^^^^^^^^^^
   = fix: did you mean 1 steps?

error[XC014]: expected a whole number, found '2.5'
  --> bad/many.xc.yaml:23:36   train.batch
   |
23 | train: {budget: 1 steps.5k, batch: 2.5, tiem: 2min}
   |                                    ^^^ it is not whole

error[XC011]: 'train' has no option 'tiem'
  --> bad/many.xc.yaml:23:41   train
   |
23 | train: {budget: 1 steps.5k, batch: 2.5, tiem: 2min}
   |                                         ^^^^
""",
}
MISTAKES = {
    "anchors": 1, "dash": 1, "flow-comma": 1, "flow-list": 1, "flow-ref": 1, "many": 14, "old-options-leak": 2,
    "refs": 3, "stale-variant@tiny": 1, "text": 1,
}  # fmt: skip


def _reference(name: str) -> str:
    file, _, variant = name.partition("@")
    return os.path.join("bad", f"{file}.xc.yaml") + (f"@{variant}" if variant else "")


@pytest.mark.parametrize(("name", "count"), MISTAKES.items())
def test_a_bad_one_gives_one_located_finding_for_each_mistake(name, count):
    spec, diagnostics = check(_reference(name), (), CATALOGUE)

    assert spec is None
    assert len(diagnostics) == count
    assert all(d.span is not None and d.span.file == _reference(name).partition("@")[0] for d in diagnostics)


@pytest.mark.parametrize(("name", "wanted"), GOLDEN.items())
def test_what_is_said_about_a_bad_one(name, wanted):
    _, diagnostics = check(_reference(name), (), CATALOGUE)

    assert rendered(diagnostics).strip("\n") == wanted.replace("MARKS", "^" * 55).strip("\n")
