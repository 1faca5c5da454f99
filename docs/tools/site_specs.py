"""A page for each spec that ships: its text, and the components it is made of."""

from __future__ import annotations

import re
from typing import Any

import site_components
from site_cards import ARXIV
from site_components import spec_files, spec_name

FOLDERS = {
    "survey": "Models of the survey, as their papers describe them.",
    "beyond": "Combinations that no paper has.",
    "addons": "Sharing, adapters, fewer bits, distillation, search.",
    "recipes": "How to train, without a model.",
}


def pages(sample: bool = False) -> dict[str, str]:
    """Every page about specs, by its place."""
    found = {"specs/index.md": _index(sample)}
    for path in spec_files(sample):
        name = spec_name(path)
        found[f"specs/{name}.md"] = _page(name, path.read_text(), sample)
    return found


def navigation(sample: bool = False) -> list[Any]:
    """The pages about specs, by folder."""
    tree: list[Any] = ["specs/index.md"]
    for folder in FOLDERS:
        names = [spec_name(path) for path in spec_files(sample) if path.parent.name == folder]
        tree.append({folder.capitalize(): [{name.partition("/")[2]: f"specs/{name}.md"} for name in names]})
    return tree


def _index(sample: bool) -> str:
    parts = ["# Specs that ship", "`xcompose check` proves every one of them, with its variants."]
    for folder, said in FOLDERS.items():
        rows = [
            f"| [{path.name.removesuffix('.xc.yaml')}]({spec_name(path)}.md) | {_about(path.read_text())} |"
            for path in spec_files(sample)
            if path.parent.name == folder
        ]
        parts.append(
            f"## {folder.capitalize()}\n\n{said}\n\n" + "\n".join(["| spec | what it is |", "|---|---|", *rows])
        )
    return "\n\n".join(parts) + "\n"


def _about(text: str) -> str:
    """The first sentence of `about`."""
    import yaml

    said = " ".join(str(yaml.safe_load(text).get("about", "")).split())
    sentence = re.split(r"(?<=[.!]) (?=[A-Z])", said)[0]
    return sentence.replace("|", "\\|")


def _page(name: str, text: str, sample: bool) -> str:
    by_name = {(c.kind, c.name): c for c in site_components.components(sample)}
    used = sorted(key for key, names in site_components.uses(sample).items() if name in names and key in by_name)
    made = " · ".join(f"[{c} {n}](../../{site_components.page_of(by_name[c, n])})" for c, n in used)
    papers = [f"[arXiv:{n}](https://arxiv.org/abs/{n})" for n in dict.fromkeys(ARXIV.findall(text))]
    file = f"specs/{name}.xc.yaml"
    parts = [f"# {name.partition('/')[2]}", f'```yaml title="{file}"\n{text}```']
    parts += ["## Made of", made] if made else []
    parts += ["## Papers", " · ".join(papers)] if papers else []
    parts += ["## Look closer", f"```console\n$ xcompose build {file} --explain\n$ xcompose check {file}\n```"]
    return "\n\n".join(parts) + "\n"
