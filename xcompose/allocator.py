"""Keep freed memory, where the C library can be told to."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt, from malloc.h."""
PAD = 256 * 2**20


def keep_memory() -> bool:
    """Let glibc keep what is freed, for the next tensor of that size; says whether it does now.

    By default every tensor above 32 MiB comes fresh from the kernel, page by page, and goes back when it is freed. In
    training the same sizes come again each step, and the page faults cost more than the work: measured at 32Ki tokens,
    a linear layer's step took 3.8 s, and 2.5 s with this. The process keeps its peak of memory until it ends, so this
    is for commands that train or measure, never for a library that is imported.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, PAD))
    return all(mallopt(name, value) == 1 for name, value in settings)
