"""Installed distributions, written by hand: a folder with modules and `.dist-info`, as an installer leaves it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from xcompose.schema import TYPES

CARD = """\
A pattern for tests: a query reads what is near.

Maths    S(i) = { j : |i - j| <= size }
Shapes   a set of positions; no tensors
Cost     2 size + 1 keys for each query
Limits   none
Paper    none
"""

GOOD = f'''\
"""{CARD}"""
from xcompose.api import Component, Count, Pattern, hookimpl, option, options


@options
class NearOptions(Pattern):
    size: Count = option(main=True)
    """Keys on each side."""

    def allows(self, q, k):
        return abs(q.at - k.at) <= self.size


@hookimpl
def components():
    return [Component(kind="pattern", name="near", options=NearOptions)]
'''


@attrs.frozen
class Distribution:
    """A distribution with one plugin, its module."""

    name: str
    source: str
    version: str = "0.1"
    group: str = "xcompose.v1"
    requires: Sequence[str] = ("xcompose<1",)
    extras: Sequence[str] = ()

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    def install(self, folder: Path) -> None:
        (folder / f"{self.module}.py").write_text(textwrap.dedent(self.source))
        info = folder / f"{self.module}-{self.version}.dist-info"
        info.mkdir(exist_ok=True)
        lines = ["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {self.version}"]
        lines += [f"Provides-Extra: {extra}" for extra in self.extras]
        lines += [f"Requires-Dist: {requirement}" for requirement in self.requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(f"[{self.group}]\n{self.module} = {self.module}\n")


def near(name: str) -> str:
    """The source of a good plugin whose pattern has this name."""
    return GOOD.replace('name="near"', f'name="{name}"')


BROKEN = (
    Distribution("raising-it", "raise RuntimeError('no luck')"),
    Distribution("exiting-it", "import sys\nsys.exit(3)"),
    Distribution("misspelt-it", "from xcompose.api import hookimpl\n@hookimpl\ndef component():\n    return []"),
    Distribution("signed-it", "from xcompose.api import hookimpl\n@hookimpl\ndef components(registry):\n    return []"),
    Distribution("clash-one", near("same")),
    Distribution("clash-two", near("same")),
    Distribution("future-it", "raise AssertionError('imported')", group="xcompose.v2"),
    Distribution("plain-it", "raise AssertionError('imported')", group="xcompose"),
    Distribution("slow-it", near("slowly").replace("@options", "import time\n\ntime.sleep(0.3)\n\n\n@options", 1)),
    Distribution("printing-it", near("loudly").replace("@options", "print('{\"json\": broken')\n\n\n@options", 1)),
    Distribution("optioned-it", near("wrongly").replace("size: Count", "size: complex")),
    Distribution(
        "lacking-it",
        "import not_here_at_all",
        requires=("xcompose<1", "not-here-at-all; extra == 'gpu'"),
        extras=["gpu"],
    ),
    Distribution("recursing-it", "def deeper(): deeper()\ndeeper()"),
)
"""Everything that can be wrong with a plugin, each by itself."""

REASONS: Mapping[str, str] = {
    "raising-it": "plugin 'raising_it' of raising-it 0.1 is not loaded: RuntimeError: no luck",
    "exiting-it": "plugin 'exiting_it' of exiting-it 0.1 is not loaded: SystemExit: 3",
    "misspelt-it": "plugin 'misspelt_it' of misspelt-it 0.1 is not loaded: there is no hook 'component'; "
    "did you mean 'components'?",
    "signed-it": "plugin 'signed_it' of signed-it 0.1 is not loaded: the hook components() is not given 'registry'",
    "clash": "two plugins offer the pattern 'clash/same': clash-one and clash-two",
    "future-it": "plugin 'future_it' of future-it 0.1 is written for API 2; this xcompose has API 1",
    "plain-it": "plugin 'plain_it' of plain-it 0.1 is announced in the entry-point group 'xcompose', which says no "
    "API version; this xcompose has API 1",
    "optioned-it": "plugin 'optioned_it' of optioned-it 0.1 is not loaded: the options of pattern 'wrongly' are wrong: "
    f"an option cannot have the type <class 'complex'>; {TYPES}",
    "lacking-it": "plugin 'lacking_it' of lacking-it 0.1 is not loaded: ModuleNotFoundError: No module named "
    "'not_here_at_all'",
    "recursing-it": "plugin 'recursing_it' of recursing-it 0.1 is not loaded: RecursionError: maximum recursion depth "
    "exceeded",
}
"""What every command says of those that are not in use."""
NUISANCES = (
    "plugin 'slow_it' of slow-it 0.1 takes 0.3 s to import",
    "plugin 'printing_it' of printing-it 0.1 prints while it is imported: '{\"json\": broken'",
)
"""What a command says of the others when it has to import them."""
