"""Specs from and to the data of other programs."""

from __future__ import annotations

import pytest

from xcompose.spec import load_text, to_omegaconf

from .catalogue import CATALOGUE

omegaconf = pytest.importorskip("omegaconf")
MAPPING = {
    "xcompose": 1,
    "about": "costs ${nothing}",
    "let": {"w": 8},
    "model": {
        "type": "decoder",
        "dim": 256,
        "bias": False,
        "dropout": 1e-05,
        "mixer": "attention(pattern=window(${w}))",
        "layers": [2, {"heads": None}],
    },
}


def test_a_mapping_is_a_spec():
    model = load_text(MAPPING, catalogue=CATALOGUE).model
    assert model is not None

    assert (model.options["bias"], model.options["dropout"], len(model.options["layers"])) == (False, 1e-05, 3)
    assert model.options["mixer"].options["pattern"].options["size"] == 8


def test_an_omegaconf_tree_keeps_its_references_unread():
    spec = load_text(MAPPING, catalogue=CATALOGUE)

    assert load_text(omegaconf.OmegaConf.create(MAPPING), catalogue=CATALOGUE) == spec


def test_text_that_looks_like_an_interpolation_is_escaped():
    config = to_omegaconf(load_text(MAPPING, catalogue=CATALOGUE))

    assert config.about == "costs ${nothing}"
    assert omegaconf.OmegaConf.to_container(config, resolve=True)["about"] == "costs ${nothing}"
    assert config.model.mixer.pattern.size == 8
    assert load_text(config, catalogue=CATALOGUE).about == "costs ${nothing}"
