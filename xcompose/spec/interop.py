"""Specs as plain data: for OmegaConf, and from mappings that other programs made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml as pyyaml


def as_text(mapping: Mapping[str, Any]) -> str:
    """A mapping, or an OmegaConf `DictConfig`, as the text of a spec."""
    return pyyaml.safe_dump(_plain(mapping), sort_keys=False, allow_unicode=True, width=10_000)


def _plain(value: Any) -> Any:
    module = type(value).__module__
    if module.startswith("omegaconf."):
        from omegaconf import OmegaConf

        return _unescaped(OmegaConf.to_container(value, resolve=False))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _unescaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _unescaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unescaped(item) for item in value]
    return value.replace("\\${", "${") if isinstance(value, str) else value
