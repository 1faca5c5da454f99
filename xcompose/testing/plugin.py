"""The pytest plugin: imported by every run of pytest where xcompose is installed, so it imports nothing heavy.

Specs become tests where `xcompose_specs` names them, or where they are named on the command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xcompose.testing.fixtures import no_plugins as no_plugins
from xcompose.testing.fixtures import xc_registry as xc_registry

if TYPE_CHECKING:
    from xcompose.testing.collect import SpecFile

SUFFIX = ".xc.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """What may be set in the configuration and on the command line."""
    group = parser.getgroup("xcompose", "specs as tests")
    group.addoption("--xc-stage", metavar="STAGE", help="last stage of specs: parse, schema, ... numerics")
    group.addoption("--xc-seed", metavar="N", type=int, help="seed of the random sequences that specs are measured by")
    parser.addini("xcompose_specs", "specs that are tests: files, folders or patterns", type="linelist", default=[])
    parser.addini("xcompose_stage", "last stage of specs: parse, schema, ... numerics", default="")
    parser.addini("xcompose_seed", "seed of the random sequences that specs are measured by", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a stage that does not exist before anything runs."""
    if config.getoption("xc_stage") or config.getini("xcompose_stage") or config.getini("xcompose_seed"):
        from xcompose.testing import collect

        collect.last_stage(config)
        collect.seed_of(config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SpecFile | None:
    """A spec's stages, where it is wanted."""
    if not file_path.name.endswith(SUFFIX):
        return None
    from xcompose.testing.collect import SpecFile, wanted

    if not wanted(file_path, parent.session):
        return None
    return SpecFile.from_parent(parent, path=file_path)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session) -> None:
    """Refuse a setting that comes to nothing."""
    if session.config.getini("xcompose_specs"):
        from xcompose.testing.collect import refuse_idle_patterns

        refuse_idle_patterns(session)
