"""Of the tests that measure whole models of built-in components, a sample that names decide runs by default."""

from __future__ import annotations

import zlib

import pytest

CHEAP = (
    "card", "sentence", "bounds", "imports", "composes", "unknown", "frozen", "heads_add_up", "flags",
    "numbers_arrays", "cover", "last_reader", "steady", "pairs", "joins", "spans_stay", "turns", "terms", "itself",
    "in_order", "each_token", "describes", "rung", "factors", "first_step", "step_alone", "of_zero", "bowl",
)  # fmt: skip
"""Words in the names of tests that cost next to nothing."""
ONE_OF = 12


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most of the others to `-m slow`."""
    for item in items:
        if not item.path.name.startswith("test_builtin_") or any(word in item.name for word in CHEAP):
            continue
        if zlib.crc32(item.nodeid.partition("::")[2].encode()) % ONE_OF:
            item.add_marker(pytest.mark.slow)
