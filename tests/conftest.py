"""Tests run on one thread a worker: two workers on two cores with two threads each would wait for one another."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the processes that tests start
os.environ["XCOMPOSE_CACHE"] = tempfile.mkdtemp(prefix="xcompose-cache-")  # never what a user's own runs have kept

collect_ignore = ["third_party"]
"""A package of its own, whose tests run where it is installed: see test_third_party.py."""
