"""Hooks of mkdocs: pages made from plugins, codes, specs and commands, and links that leave the folder of the docs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import site_codes
import site_commands
import site_components
import site_specs
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
NAVIGATION: dict[str, Callable[[bool], Any]] = {
    "components": site_components.navigation, "specs": site_specs.navigation,
    "diagnostics": site_codes.navigation, "commands": site_commands.navigation,
}  # fmt: skip
PAGES: tuple[Callable[[bool], dict[str, str]], ...] = (
    site_components.pages, site_specs.pages, site_codes.pages, site_commands.pages,
)  # fmt: skip
FOLDERS = {"plugins": "components/index.md", "specs": "specs/index.md", "xcompose/cli": "commands/index.md"}
"""Pages that stand for folders."""
CODE = re.compile(
    r"(?:^```.*?^```|^#.*?$|`XC\d{3}`(?=\])|\[[^\]]*\]\([^)]*\)|(?=`XC|XC)(`?(XC\d{3})`?)(?!\w)|`[^`\n]*`)",
    re.DOTALL | re.MULTILINE,
)
"""Codes, and before them whatever hides one: blocks, headings, links, other pieces of code."""
LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\])\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> None:
    """Fill in what the navigation leaves to the generators."""
    config["nav"] = [_filled(entry, config.extra["sample"]) for entry in config["nav"] or []]


def _filled(entry: Any, sample: bool) -> Any:
    if isinstance(entry, list):
        return [_filled(one, sample) for one in entry]
    if isinstance(entry, dict):
        return {title: _filled(to, sample) for title, to in entry.items()}
    return NAVIGATION[entry](sample) if entry in NAVIGATION else entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for make in PAGES:
        for place, content in make(config.extra["sample"]).items():
            files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to specs and plugins to their pages, and codes to theirs; links to other files become text."""
    here = page.file.src_uri

    def led(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        place, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or not place:
            return match[0]
        wanted = os.path.normpath(os.path.join("docs", os.path.dirname(here), place))
        other = wanted.removeprefix("docs" + os.sep) if wanted.startswith("docs" + os.sep) else _page_for(wanted)
        left_out = config.extra["sample"] and other is not None and other.startswith(tuple(NAVIGATION))
        if other is None or (left_out and files.get_file_from_path(other) is None):
            return text.removeprefix("!")[1:-1]
        return f"{text}({os.path.relpath(other, os.path.dirname(here))}{'#' + anchor if anchor else ''})"

    def coded(match: re.Match[str]) -> str:
        place = site_codes.page_of(match[2]) if match[2] else ""
        if not place or place == here or files.get_file_from_path(place) is None:
            return match[0]
        return f"[{match[1]}]({os.path.relpath(place, os.path.dirname(here))})"

    return CODE.sub(coded, LINK.sub(led, markdown))


def _page_for(place: str) -> str | None:
    """The page that stands for a file or folder of the project."""
    if place in FOLDERS:
        return FOLDERS[place]
    if place.startswith("specs/") and place.endswith(".xc.yaml"):
        return f"{place.removesuffix('.xc.yaml')}.md"
    for component in site_components.components():
        if place == os.path.relpath(site_components.source_of(component), ROOT):
            return site_components.page_of(component)
    return None
