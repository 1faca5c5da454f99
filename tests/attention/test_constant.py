"""The mark is the one that torch sets, and loading every plugin imports no compiler."""

from __future__ import annotations

import subprocess
import sys

from xcompose.attention.constant import constant


def test_the_mark_is_torchs_own():
    from torch.compiler import assume_constant_result

    assert vars(constant(lambda: 1)) == vars(assume_constant_result(lambda: 1))


def test_loading_every_plugin_imports_no_compiler():
    program = "import sys, xcompose.registry as r; r.load(); assert 'torch._dynamo' not in sys.modules"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
