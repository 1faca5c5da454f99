"""A fresh environment, as someone has it who has just installed xcompose: it sees the heavy packages of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import attrs


@attrs.frozen
class Fresh:
    """A virtual environment of its own."""

    folder: Path

    @property
    def programs(self) -> Path:
        return self.folder / "bin"

    def run(self, command: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """A line as it is typed into a shell where the environment is active."""
        known = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "XCOMPOSE", "VIRTUAL_ENV"))}
        known |= {"PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160", "LC_ALL": "C.UTF-8"}
        known |= {"XCOMPOSE_CACHE": str(self.folder / "cache"), **OFFLINE, **more}
        return subprocess.run(
            ["/bin/sh", "-c", command], cwd=cwd, env=known, capture_output=True, text=True, timeout=1800, check=False
        )


OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the option `--no-build-isolation`, so 0 switches isolation off
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
"""What makes pip do with what is installed."""


def fresh(folder: Path) -> Fresh:
    """Make one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "beneath.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name, start in PROGRAMS.items():
        program = folder / "bin" / name
        # Processes that `xcompose check` starts import the program again, and must not begin anew.
        program.write_text(f"#!{folder / 'bin' / 'python'}\nimport sys\nif __name__ == '__main__':\n    {start}\n")
        program.chmod(0o755)
    return Fresh(folder)


PROGRAMS = {
    "pip": "from pip._internal.cli.main import main; sys.exit(main())",
    "pytest": "import pytest; sys.exit(pytest.main())",
    "xcompose": "from xcompose.cli.main import main; sys.exit(main())",
    "ruff": "import os, ruff; os.execv(ruff.find_ruff_bin(), sys.argv)",
}
"""Programs of packages beneath, which stand in an environment only where they were installed."""
