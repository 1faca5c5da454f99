"""Hostile specs that need more than one text: other files, links, overrides, variants, checkpoints."""

# ruff: noqa: E501 (one line holds one spec)

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from tests.hostile.texts import HEAD, LIMIT, MODEL, ONE, mixer

SPEC = "s.xc.yaml"


@attrs.frozen
class Case:
    """A folder with a spec in it, and how the spec is asked for."""

    name: str
    text: str | bytes = ONE
    """Of the spec itself."""
    files: Mapping[str, str | bytes] = attrs.field(factory=dict)
    sets: tuple[str, ...] = ()
    reference: str = SPEC
    make: Callable[[Path], None] = lambda folder: None
    """Makes what is no plain file."""


def extends(name: str) -> str:
    return f"{HEAD}extends: {json.dumps(name)}\n"


def link(name: str, target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(target)


def loop(folder: Path) -> None:
    (folder / "a.xc.yaml").symlink_to("b.xc.yaml")
    (folder / "b.xc.yaml").symlink_to("a.xc.yaml")


def outside(folder: Path) -> None:
    (folder.parent / "outside.xc.yaml").write_text(ONE)


def linked_outside(folder: Path) -> None:
    outside(folder)
    (folder / "a.xc.yaml").symlink_to(folder.parent / "outside.xc.yaml")


def linked_folder(folder: Path) -> None:
    outside(folder)
    (folder / "inner").symlink_to(folder.parent)


def closed(folder: Path) -> None:
    os.mkfifo(folder / "a.xc.yaml")


def of_names(*names: str) -> dict[str, str]:
    """Specs that extend one another in this order, round and round."""
    return {f"{a}.xc.yaml": extends(f"{b}.xc.yaml") for a, b in zip(names, (*names[1:], names[0]), strict=True)}


ESCAPES = [
    Case(f"extends {name if len(name) < 40 else f'{name[:30]}... ({len(name)})'}", extends(name))
    for name in (
        "../outside.xc.yaml", "../../../../../../../../etc/passwd", "/etc/passwd", "//etc/passwd", "/etc/../etc/passwd.xc.yaml",
        "~/s.xc.yaml", "~root/s.xc.yaml", "$HOME/s.xc.yaml", "${HOME}/s.xc.yaml", "%HOME%\\s.xc.yaml", "C:\\s.xc.yaml",
        "..\\..\\s.xc.yaml", "file:///etc/passwd", "http://example.com/s.xc.yaml", "https://user:secret@example.com/a.xc.yaml", "data:text/yaml,xcompose",
        "/dev/zero", "/dev/stdin", "/proc/self/environ", "/proc/self/fd/0", "-", "--help", ".", "..", "./", "", " ", "\n", "*",
        "*.xc.yaml", "[a-z].xc.yaml", "a" * 300 + ".xc.yaml", "a/" * 3_000 + "b.xc.yaml", "../" * 10_000 + "etc/passwd", "s.xc.yaml@", "s.xc.yaml@x+y+z",
        "s.xc.yaml@../x", "nothing.xc.yaml", "nothing", "s.xc.yaml/", "s.xc.yaml/../s.xc.yaml", "s.xc.yaml\\0.txt", "a;ls.xc.yaml", "`ls`.xc.yaml",
        "os:system", "os:s", "builtins:eval", "__main__:s", "sys:s", "this:s", "antigravity:s", "xcompose:../../etc/passwd", "xcompose:/etc/passwd",
        "xcompose:nothing", "xcompose:", "nothing_installed:s", "tests:hostile", "xcompose.api:s", "a" * 5_000 + ":s", "json:tool", "_:_",
    )
]  # fmt: skip

FILES = [
    *ESCAPES,
    Case("extends a list", f"{HEAD}extends: [a.xc.yaml]\n"),
    Case("extends a number", f"{HEAD}extends: 1\n"),
    Case("extends an unknown section", f"{HEAD}extends: {{secrets: a.xc.yaml}}\n"),
    Case("extends a reference", HEAD + "let: {f: a.xc.yaml}\nextends: ${f}\n", {"a.xc.yaml": ONE}),
    Case("extends itself", extends(SPEC)),
    Case("extends itself through a folder", extends("../" + "x/" + SPEC)),
    Case("two that extend each other", extends("a.xc.yaml"), of_names("a", "b")),
    Case("five in a circle", extends("a.xc.yaml"), of_names(*"abcde")),
    Case("a chain of 40", extends("a0.xc.yaml"), {f"a{i}.xc.yaml": extends(f"a{i + 1}.xc.yaml") for i in range(40)}),
    Case("each extends the next twice", HEAD + "extends: {model: a0.xc.yaml, train: a0.xc.yaml}\n", {f"a{i}.xc.yaml": HEAD + f"extends: {{model: a{i + 1}.xc.yaml, let: a{i + 1}.xc.yaml, train: a{i + 1}.xc.yaml, task: a{i + 1}.xc.yaml, expect: a{i + 1}.xc.yaml, addons: a{i + 1}.xc.yaml, search: a{i + 1}.xc.yaml}}\n" for i in range(30)}),
    Case("a base of NULs", extends("a.xc.yaml"), {"a.xc.yaml": b"\0" * 100}),
    Case("a base of another encoding", extends("a.xc.yaml"), {"a.xc.yaml": "xcompose: 1\nname: \xe4".encode("latin-1")}),
    Case("a base above the limit", extends("a.xc.yaml"), {"a.xc.yaml": b"#" * (LIMIT + 1)}),
    Case("a base that is nested too deep", extends("a.xc.yaml"), {"a.xc.yaml": HEAD + "let: " + "[" * 500}),
    Case("a base with a tag", extends("a.xc.yaml"), {"a.xc.yaml": HEAD + "let: !!python/name:os.system x\n"}),
    Case("a base with another suffix", extends("a.yaml"), {"a.yaml": ONE}),
    Case("a folder called like a spec", extends("a.xc.yaml"), make=lambda folder: (folder / "a.xc.yaml").mkdir()),
    Case("a pipe called like a spec", extends("a.xc.yaml"), make=closed),
    Case("a link to the world outside", extends("a.xc.yaml"), make=linked_outside),
    Case("a folder that is a link to the world outside", extends("inner/outside.xc.yaml"), make=linked_folder),
    Case("a link to /dev/zero", extends("a.xc.yaml"), make=link("a.xc.yaml", "/dev/zero")),
    Case("a link to a file of the system", extends("a.xc.yaml"), make=link("a.xc.yaml", "/etc/passwd")),
    Case("a link to nothing", extends("a.xc.yaml"), make=link("a.xc.yaml", "nowhere.xc.yaml")),
    Case("links in a circle", extends("a.xc.yaml"), make=loop),
    Case("the spec is a pipe", reference="a.xc.yaml", make=closed),
    Case("the spec is a folder", reference="a.xc.yaml", make=lambda folder: (folder / "a.xc.yaml").mkdir()),
    Case("the spec is a link to /dev/zero", reference="a.xc.yaml", make=link("a.xc.yaml", "/dev/zero")),
    Case("the spec is a link in a circle", reference="a.xc.yaml", make=loop),
    Case("the spec is not there", reference="nothing.xc.yaml"),
    Case("the spec has another suffix", reference="s.yaml", files={"s.yaml": ONE}),
    Case("the spec is called like an option", "xcompose: 1\nmodel: 1\n", reference="--help.xc.yaml", files={"--help.xc.yaml": "xcompose: 1\nmodel: 1\n"}),
    Case("the spec has an escape sequence in its name", reference="\x1b[31m.xc.yaml", files={"\x1b[31m.xc.yaml": "xcompose: 1\nmodel: 1\n"}),
    Case("the spec has a name of 300 characters", reference="a" * 300 + ".xc.yaml"),
    Case("the spec has a NUL in its name", reference="a\0.xc.yaml"),
    Case("a variant that is not there", reference=f"{SPEC}@tiny"),
    Case("a variant of nothing", reference=f"{SPEC}@"),
    Case("a thousand variants", reference=f"{SPEC}@" + "+".join(["x"] * 1_000)),
    Case("a variant called like a path", reference=f"{SPEC}@../../etc/passwd"),
    Case("variants in variants", ONE + "variants: {tiny: {variants: {x: {model: {dim: 8}}}}}\n", reference=f"{SPEC}@tiny"),
    Case("a variant that extends", ONE + "variants: {tiny: {extends: /etc/passwd}}\n", reference=f"{SPEC}@tiny"),
    Case("a variant with a bomb", ONE + "variants: {tiny: {model: {layers: [{repeat: 1000000000, layers: [4096]}]}}}\n", reference=f"{SPEC}@tiny"),
    Case("a position that is not there", ONE + "variants: {tiny: {model.layers.999999999: attention}}\n", reference=f"{SPEC}@tiny"),
    Case("a position of other digits", ONE + "variants: {tiny: {model.layers.²: attention}}\n", reference=f"{SPEC}@tiny"),
    Case("a position of 5,000 digits", ONE + f"variants: {{tiny: {{? model.layers.{'9' * 5_000} : attention}}}}\n", reference=f"{SPEC}@tiny"),
    Case("a path of 10,000 names", ONE + f"variants: {{tiny: {{? model{'.a' * 10_000} : 1}}}}\n", reference=f"{SPEC}@tiny"),
    Case("a teacher that is no spec", ONE + 'train: {addons: ["distill(\\"/etc/passwd\\")"]}\n'.replace("\\\\", "\\")),
]  # fmt: skip

OVERRIDES = [
    Case(f"--set {text if len(text) < 40 else f'{text[:30]}... ({len(text)})'}", sets=(text,))
    for text in (
        "", "=", "model.dim", "=16", "model.dim=", "a=b=c", "__class__=x", "model.__class__.__name__=x", "extends=/etc/passwd", "variants={}", "xcompose=2",
        "model.dim=" + "9" * 10_000, "model.dim=[" + "[" * 5_000, "model.dim=" + "{a: " * 5_000, "model.mixer=" + "sum(" * 5_000, "model.dim='",
        'model.dim="\\e[2J"', "model.dim=\x1b[2J", "model.dim=16\0", "model.dim=\ud800", "model.layers.99999999999999999999.mixer=attention",
        "model.layers.²=attention", "model" + ".a" * 50_000 + "=1", "." * 1_000 + "=1", "model..dim=1", "model.dim=!!python/name:os.system x", "model.dim=&a 1",
        "model.dim=*a", "model.dim=${oc.env:HOME}", "model.dim=${model.dim}", "model.mixer=os.system", "x" * 100_000, "model.dim={<<: 1}",
        "model.dim=null", "model.dim=\u202e61", "name=../../etc/passwd",
    )
]  # fmt: skip

GIGANTIC = [
    Case(f"gigantic: {name}", text)
    for name, text in (
        ("a width of 10^9", ONE.replace("dim: 16", "dim: 1000000000")),
        ("a width of 10^18", ONE.replace("dim: 16", "dim: 1000000000000000000")),
        ("a width of 2^62", ONE.replace("dim: 16", "dim: 4611686018427387904")),
        ("a vocabulary of 10^18", ONE + "  vocab: 1000000000000000000\n"),
        ("a feed-forward network of 10^18", ONE + "  ffn: mlp(1000000000000000000)\n"),
        ("a feed-forward network of 10^18 widths", ONE + "  ffn: mlp(1000000000000000000x)\n"),
        ("10^15 heads", ONE.replace("heads: 2", "heads: 1000000000000000")),
        ("a window of 10^18 with a width of 10^12", mixer("attention(pattern=window(1000000000000000000))").replace("dim: 16", "dim: 1000000000000")),
        ("a stride of 10^18 in a memory", mixer("attention(memory=conv(1000000000000000000), pattern=none)")),
        ("Linformer of 10^18 rows", mixer("attention(memory=linformer(1000000000000000000), pattern=none)")),
        ("10^18 features", mixer("attention(score=favor(features=1000000000000000000))")),
        ("10^18 buckets", mixer("attention(pattern=lsh(buckets=1000000000000000000))")),
        ("10^18 clusters", mixer("attention(pattern=routing(1000000000000000000))")),
        ("10^18 random keys", mixer("attention(pattern=random(1000000000000000000))")),
        ("10^18 random blocks", mixer("attention(pattern=random-blocks(1000000000000000000))")),
        ("a length of 10^18 with learnt positions", ONE + "  length: 1000000000000000000\n  position: learned\n"),
        ("a grid of 10^18 by 10^18", ONE + "  grid: [1000000000000000000, 1000000000000000000]\n  position: axial\n"),
        ("a grid of 2,000 axes", ONE + f"  grid: [{', '.join(['2'] * 2_000)}]\n  position: axial\n"),
        ("4,096 layers of 10^9", (MODEL + "  layers: 4096\n").replace("dim: 16", "dim: 1000000000")),
        ("a synthesiser of 10^18", mixer("attention(score=synthesizer(random), position=none)") + "  length: 1000000000000000000\n"),
        ("segments of 10^18", mixer("attention(recurrence=segments(1000000000000000000, memory=1000000000000000000))").replace("dim: 16", "dim: 1000000000000")),
        ("relative positions of 10^18", mixer("attention(position=relative(1000000000000000000))")),
        ("an expectation at 10^18", ONE.replace("dim: 16", "dim: 4611686018427387904") + "expect: {memory: ..1GiB at 1000000000000000000}\n"),
        ("low rank of 10^18", ONE + 'addons: ["lora(1000000000000000000)"]\n'),
        ("adapters of 10^18", ONE + "addons: [adapter(1000000000000000000)]\n"),
    )
]  # fmt: skip
