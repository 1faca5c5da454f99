"""Names of components: namespaces, versions, short forms, and why one is missing."""

from __future__ import annotations

import pytest

from xcompose.schema import ComponentSchema
from xcompose.spec.catalogue import Absence, Catalogue, Found, Missing

SCHEMAS = [
    ComponentSchema("mixer", "attention"), ComponentSchema("ffn", "mlp"),
    ComponentSchema("ffn", "gated", also=("swiglu",)),
    ComponentSchema("score", "linear"), ComponentSchema("mixer", "nystrom", namespace="acme"),
    ComponentSchema("mixer", "mean", namespace="acme"), ComponentSchema("mixer", "mean", namespace="other"),
    ComponentSchema("norm", "rms"), ComponentSchema("norm", "rms", version=2),
]  # fmt: skip
ABSENT = [
    Absence("plugin 'broken' is not loaded: no triton", namespace="broken"),
    Absence("it comes with xcompose-extra", names=frozenset([("ffn", "moe")]), fix="pip install xcompose-extra"),
]
CATALOGUE = Catalogue(SCHEMAS, ABSENT)


@pytest.mark.parametrize(
    ("kind", "name", "canonical", "short"),
    [
        ("mixer", "attention", "attention", False),
        ("mixer", "attention@1", "attention", False),
        ("mixer", "acme/nystrom", "acme/nystrom", False),
        ("mixer", "nystrom", "acme/nystrom", True),
        ("norm", "rms", "rms", False),
        ("norm", "rms@2", "rms@2", False),
    ],
)
def test_a_name_is_found(kind, name, canonical, short):
    found = CATALOGUE.find(kind, name)

    assert isinstance(found, Found)
    assert (found.name, found.short) == (canonical, short)


@pytest.mark.parametrize(
    ("kind", "name", "message", "label", "fixes"),
    [
        ("mixer", "atention", "no mixer is called 'atention'", "", ("did you mean 'attention'?",)),
        ("mixer", "linear", "no mixer is called 'linear'", "'linear' is a score, not a mixer", ()),
        ("mixer", "mean", "mixer 'mean' could be any of 2 components", "say whose",
         ("write 'acme/mean'", "write 'other/mean'")),
        ("ffn", "swiglu", "no ffn is called 'swiglu'", "xcompose calls it 'gated'", ("write 'gated'",)),
        ("norm", "rms@3", "norm 'rms' has no version 3", "there is rms, rms@2", ()),
        ("mixer", "broken/x", "no mixer is called 'broken/x'", "plugin 'broken' is not loaded: no triton", ()),
        ("ffn", "moe", "no ffn is called 'moe'", "it comes with xcompose-extra", ("pip install xcompose-extra",)),
        ("mixer", "far/away", "no mixer is called 'far/away'", "no plugin with the namespace 'far' is installed", ()),
        (
            "norm", "quux", "no norm is called 'quux'",
            "none of the plugins in use has it, and there are others: xcompose plugin list", (),
        ),
    ],
)  # fmt: skip
def test_what_is_said_about_a_missing_name(kind, name, message, label, fixes):
    assert CATALOGUE.find(kind, name) == Missing(message, label, fixes)


def test_two_components_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two components are the mixer 'attention'"):
        Catalogue([*SCHEMAS, ComponentSchema("mixer", "attention")])


def test_a_catalogue_lists_what_it_holds():
    assert len(CATALOGUE) == len(list(CATALOGUE)) == 9
    assert CATALOGUE.names("mixer") == ("acme/mean", "acme/nystrom", "attention", "other/mean")
    assert CATALOGUE.get("mixer", "nope") is None


def test_a_short_name_in_a_spec_earns_a_warning():
    from .helpers import findings_of

    text = "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 'nystrom(8), acme/nystrom(8)'}\n"

    assert findings_of(text) == (
        "warning[XC019]: 'nystrom' is short for 'acme/nystrom'\n"
        " --> s:2:43   model.layers.0.mixer\n"
        "  |\n"
        "2 | model: {type: decoder, dim: 256, layers: 'nystrom(8), acme/nystrom(8)'}\n"
        "  |                                           ^^^^^^^ it stops working when a second plugin has that name\n"
        "  = fix: write 'acme/nystrom'"
    )
