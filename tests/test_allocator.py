"""What is freed is kept: in the end the same tensor costs no page faults again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from xcompose.allocator import keep_memory
assert keep_memory()
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(64 * 2**20 // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
counts = [faults() for _ in range(12)]
assert counts[0] > 1000 > min(counts[4:]), counts  # the heap takes a few rounds to find its shape
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_in_the_end_a_tensor_costs_no_page_faults():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
