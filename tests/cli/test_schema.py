"""`xcompose schema`, and `xcompose new`, which writes one beside a first spec."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
import yaml

from xcompose import registry
from xcompose.cli.schema import schema_text
from xcompose.spec import Catalogue

from .calling import ROOT, call


@pytest.fixture(scope="module")
def built_in() -> SimpleNamespace:
    return SimpleNamespace(catalogue=Catalogue(s for s in registry.load().catalogue if not s.namespace))


def test_the_shipped_schema_is_that_of_the_built_in_components(built_in, monkeypatch):
    monkeypatch.setattr(registry, "load", lambda: built_in)
    called = call(f"xcompose schema -o {ROOT / 'specs' / 'schema.json'} --check")

    assert called.code == 0, "XCOMPOSE_PLUGINS=none xcompose schema -o specs/schema.json"
    assert called.out.endswith("specs/schema.json: up to date\n")


def test_a_schema_for_the_screen_and_for_a_file():
    printed = call("xcompose schema").out
    called = call("xcompose schema -o there/schema.json")

    assert called.said == "wrote there/schema.json"
    assert Path("there/schema.json").read_text() == printed
    assert json.loads(printed)["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert call("xcompose schema -o there/schema.json --check").said == "there/schema.json: up to date"


def test_an_old_schema_is_told_and_left():
    Path("old.json").write_text("{}\n")
    called = call("xcompose schema -o old.json --check")

    assert (called.code, called.out) == (1, "")
    assert called.said == "error: old.json is not what is installed now\n  = fix: xcompose schema -o old.json"
    assert Path("old.json").read_text() == "{}\n"


def test_a_missing_schema_is_told():
    called = call("xcompose schema -o none.json --check")

    assert called.code == 1
    assert called.said == "error: there is no file none.json\n  = fix: xcompose schema -o none.json"


def test_a_check_needs_a_file():
    called = call("xcompose schema --check")

    assert called.code == 2
    assert called.said == (
        "error: --check compares a file, and none is named\n  = fix: xcompose schema -o FILE --check"
    )


def test_a_first_spec_names_its_schema_and_fits_it():
    Path("deeper").mkdir()
    called = call("xcompose new deeper/first")

    assert called.said.splitlines()[0] == (
        "wrote deeper/first.xc.yaml (7 lines) and deeper/.xcompose/schema.json (your editor completes specs now)"
    )
    text = Path("deeper/first.xc.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=.xcompose/schema.json\nxcompose: 1\n")
    schema = Path("deeper/.xcompose/schema.json").read_text()
    assert schema == schema_text()
    jsonschema.validate(yaml.safe_load(text), json.loads(schema))
