"""Certificates of a model whose rows are divided: sound ones pass, planted faults are found in the member at fault."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from xcompose_plugins.patterns.window import Window

import xcompose as xc
from xcompose.compose.build import build_model, plan_model
from xcompose.compose.model import Model
from xcompose.cost.count import parameters
from xcompose.registry import load
from xcompose.spec import load_text
from xcompose.spec.model import Spec
from xcompose.verify import alive, causal, decode, gradients, padding, saving
from xcompose.verify.subject import Subject

ROOT = Path(__file__).parents[3]
TEXT = """\
xcompose: 1
model:
  type: {kind}
  dim: 24
  heads: 4
  vocab: 17
  ffn: none
  layers: 1
  mixer:
    type: rows
    share: [out]
    of:
      - rows: first(2)
        use: attention(pattern=dense)
      - use: attention(pattern=heads(window(3) | global(2), window(5) | global(2)))
"""


def spec(kind: str) -> Spec:
    return load_text(TEXT.format(kind=kind), "made", catalogue=load().catalogue)


def subject(kind: str, plant=None) -> Subject:
    made = spec(kind)

    def build(seed: int) -> Model:
        model = build_model(made, seed=seed)
        if plant is not None:
            plant(model.layers[0].mixer)
        return model

    return Subject(
        build=build, n=19, vocab=17, causal="strict" if kind == "decoder" else "none", dim=24, node=made.model
    )


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize(
    "certificate", [alive, causal, padding, decode, gradients, saving], ids=lambda c: c.__name__.rpartition(".")[2]
)
def test_a_sound_model_has_no_finding(certificate, kind):
    assert certificate.certify(subject(kind), seed=3) == []


def narrower(mixer) -> None:
    """The first group of heads of the second member reads windows of 2 where it says 3; the second group hides it."""
    inner = mixer.members[1].inner
    window, everywhere = inner.groups[0].pattern.members
    assert window == Window(size=3)
    pattern = attrs.evolve(inner.groups[0].pattern, members=(Window(size=2), everywhere))
    inner.groups[0] = inner.groups[0]._replace(pattern=pattern)


def swapped(mixer) -> None:
    """Each member is asked for the rows of the other."""
    mixer.of = torch.nn.ModuleList(reversed(mixer.of))


def forgetful(mixer) -> None:
    """The second member drops the keys of its global tokens."""
    inner = mixer.members[1].inner
    inner.limits = [group.pattern.members[0] for group in inner.groups]


@pytest.mark.parametrize(
    ("kind", "plant", "certificate", "code", "message", "path"),
    [
        (
            "encoder", narrower, alive, "XC072",
            "layer 0: mixer 'attention' hides what it declares visible in heads 0-1", "model.layers.0.mixer.of.1.use",
        ),
        (
            "encoder", swapped, gradients, "XC075",
            "layer 0: mixer 'attention' has parameters that nothing depends on", "model.layers.0.mixer.of.0.use",
        ),
        (
            "decoder", forgetful, decode, "XC074",
            "layer 0: mixer 'attention' decodes something else than it computes in parallel",
            "model.layers.0.mixer.of.1.use",
        ),
    ],
    ids=["narrower", "swapped", "forgetful"],
)  # fmt: skip
def test_a_planted_fault_is_found_in_the_member_that_has_it(kind, plant, certificate, code, message, path):
    found = certificate.certify(subject(kind, plant), seed=3)

    assert (found[0].code, found[0].message) == (code, message)
    assert found[0].path == path


def test_weights_of_shared_projections_are_saved_once():
    model = build_model(spec("encoder"), seed=0)

    names = [name for name, _ in model.named_parameters() if "out" in name and "of" in name]
    assert names == [f"stack.layers.0.mixer.of.0.out.{name}" for name in ("weight", "bias")]
    assert torch.equal(*[model.state_dict()[f"stack.layers.0.mixer.of.{i}.out.bias"] for i in (0, 1)])


@pytest.mark.parametrize(("name", "layers"), [("longformer-base", 12), ("led-base", 6)])
def test_global_rows_cost_three_projections_a_layer(name, layers):
    """3 (c^2 + c) parameters beside those of one attention: queries, keys and values, but no second output."""
    file = ROOT / "specs" / "survey" / f"{name}.xc.yaml"
    stack = "model.encoder.mixer" if name == "led-base" else "model.mixer"

    whole, plain = (plan_model(xc.read(file, *sets)) for sets in ((), (f"{stack}=attention",)))

    assert parameters(whole).total - parameters(plain).total == layers * 3 * (768**2 + 768)
