"""Environments with installed plugins, for tests in this process."""

from __future__ import annotations

import pytest

from tests.registry.installing import forget, install


@pytest.fixture
def installed(tmp_path_factory, monkeypatch):
    """Installs distributions, in this process only, for one test."""
    folder = tmp_path_factory.mktemp("site")
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.syspath_prepend(folder)
    yield install(folder)
    forget(folder)
