"""With everything installed that can be wrong with a plugin, every command does what it does without, and says so."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.cli.calling import call
from tests.registry.distributions import BROKEN, NUISANCES, REASONS
from tests.registry.installing import forget, fresh, install
from xcompose.cli import main
from xcompose.registry import loader

TRAIN = "xcompose train mine.xc.yaml --run trained --overwrite"
COMMANDS = {
    "new": "xcompose new other",
    "list": "xcompose list norm --format json",
    "show": "xcompose show window --format json",
    "explain": "xcompose explain XC031",
    "why": "xcompose why mine.xc.yaml let.w",
    "freeze": "xcompose freeze mine.xc.yaml",
    "migrate": "xcompose migrate mine.xc.yaml",
    "schema": "xcompose schema -o schema.json",
    "check": "xcompose check mine.xc.yaml --stage build --no-cache",
    "diff": "xcompose diff mine.xc.yaml mine.xc.yaml@dense --length 16",
    "build": "xcompose build mine.xc.yaml --format json",
    "cost": "xcompose cost mine.xc.yaml --length 16 --format json",
    "draw": "xcompose draw mine.xc.yaml -o picture.svg --length 16",
    "bench": "xcompose bench mine.xc.yaml --lengths 16 --repeats 1",
    "train": TRAIN,
    "addon": "xcompose addon trained 'quantize(int8)' --run stored --overwrite",
    "generate": "xcompose generate trained --prompt def --tokens 3",
    "compare": "xcompose compare mine.xc.yaml --vary let.w 2 8 --budget '1 steps' --set train.batch=1 --out compared",
    "search": "xcompose search mine.xc.yaml",
    "quickstart": "xcompose quickstart --out mine.xc.yaml",
}
"""Each command in a quick form."""
REFUSED = {"search": 1, "quickstart": 2}
"""Those that have nothing to work on here, with their exit codes."""
SAMPLE = ("new", "list", "build", "check")
TIMES = re.compile(r"\d+(\.\d+)?( ?(ms|s|GiB|MiB)\b|e-?\d+)|/tmp/\S+|\d+\.\d+k?|\d+(,\d{3})+")


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A switch: whether everything that can be broken is installed in this process."""
    folder = tmp_path_factory.mktemp("site")

    def switch(on: bool) -> None:
        if on:
            sys.path.insert(0, str(folder))
            install(folder)(*BROKEN)
        else:
            sys.path.remove(str(folder))
            forget(folder)

    return switch


def same_but_for_times(text: str) -> str:
    """The text without times, and without what `check` says of the plugins that are in use."""
    return " ".join(TIMES.sub("#", re.sub(r"; plugins: .*?   ", "   ", text)).split())


def commands() -> set[str | None]:
    main.add_commands()
    return {command.name for command in main.app.registered_commands}


def test_every_command_is_here():
    assert commands() == set(COMMANDS)


def both(command: str, broken, monkeypatch):
    """The command without and with the broken plugins, each in a fresh state."""
    monkeypatch.setattr(loader, "SLOW", 0.25)
    fresh()
    plain = call(command)
    for made in ("other.xc.yaml", "picture.svg"):
        Path(made).unlink(missing_ok=True)
    shutil.rmtree("compared", ignore_errors=True)
    broken(True)
    try:
        return plain, call(command)
    finally:
        broken(False)


def said_once(text: str) -> None:
    flat = " ".join(text.split())
    assert {name: flat.count(reason) for name, reason in REASONS.items()} == dict.fromkeys(REASONS, 1)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_command_works_and_names_each_broken_plugin_once(name, broken, monkeypatch):
    plain, beside = both(COMMANDS[name], broken, monkeypatch)

    assert plain.code == REFUSED.get(name, 0), plain.said
    assert (beside.code, same_but_for_times(beside.out)) == (plain.code, same_but_for_times(plain.out))
    said_once(beside.err)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SAMPLE])
def test_every_other_command_does(name, broken, monkeypatch):
    if name in ("addon", "generate"):
        assert call(TRAIN).code == 0
    command = COMMANDS[name]

    plain, beside = both(command, broken, monkeypatch)

    assert plain.code == REFUSED.get(name, 0), plain.said
    assert (beside.code, same_but_for_times(beside.out)) == (plain.code, same_but_for_times(plain.out))
    said_once(beside.err)


def test_what_an_import_costs_is_said_where_it_happens(broken, monkeypatch, tmp_path):
    """A plugin that is slow or prints works; the next command knows it without an import."""
    monkeypatch.setattr(loader, "SLOW", 0.25)
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path / "cache"))
    broken(True)
    try:
        first = call("xcompose list pattern")
        fresh()
        second = call("xcompose list pattern")
    finally:
        broken(False)

    assert first.out == second.out
    assert "printing/loudly" in first.out
    said = [[" ".join(called.err.split()).count(nuisance) for nuisance in NUISANCES] for called in (first, second)]
    assert said == [[1, 1], [0, 0]]
