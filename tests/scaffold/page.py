"""Types a page into a shell: files that it shows are written, commands are run, in the order of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.scaffold.fresh import Fresh
from tests.test_docs import fits

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@attrs.frozen
class Step:
    """A file to write, or a command with what it should say."""

    file: str = ""
    command: str = ""
    text: str = ""


def steps(page: Path) -> Iterator[Step]:
    """What the reader of a page does, in order."""
    for language, title, text in BLOCK.findall(page.read_text()):
        if title:
            yield Step(file=title, text=text)
        elif language == "console":
            for piece in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, said = piece.partition("\n")
                yield Step(command=command, text=said.strip("\n"))


def follow(page: Path, folder: Path, environment: Fresh) -> list[str]:
    """Do all of it; returns what was said otherwise than the page shows, by command."""
    wrong = []
    for step in steps(page):
        if step.file:
            (folder / step.file).write_text(step.text)
        elif step.command.startswith("cd "):
            folder = folder / step.command.removeprefix("cd ")
        else:
            ran = environment.run(f"{step.command} 2>&1", folder)
            said = [line.rstrip() for line in ran.stdout.strip("\n").splitlines()]
            expects_failure = re.search(r"^(error|FAILED|.*not loaded)|refused", step.text, re.MULTILINE)
            if not fits(step.text.splitlines(), said) or (ran.returncode and not expects_failure):
                wrong.append(f"$ {step.command}\n{ran.stdout}\nexit code {ran.returncode}")
    return wrong
