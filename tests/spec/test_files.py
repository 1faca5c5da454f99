"""`extends`, variants of files, boundaries, discovery."""

from __future__ import annotations

from pathlib import Path

import pytest

from xcompose.diagnostics import Span, SpecError
from xcompose.spec import check, find_specs, load, variants_of

from .catalogue import CATALOGUE

BASE = """\
xcompose: 1
name: the base
about: A base.
let: {w: 8}
model: {type: decoder, dim: 256, mixer: "attention(pattern=window(${w}))", layers: 2}
train: {lr: 0.5, batch: 4}
expect: {layers: 2, causal: strict, state: [O(1), ..4MiB at 64Ki]}
variants:
  tiny: {model: {dim: 64, heads: 2}, expect: {params: ..1M}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a base; returns a function that writes further files."""
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    write("base.xc.yaml", BASE)
    return write


def said(reference: str, *sets: str) -> list[str]:
    _, diagnostics = check(reference, sets, CATALOGUE)
    return [
        f"{d.span.file}:{d.span.line}:{d.span.column} {d.code} {d.message}" if d.span else f"{d.code} {d.message}"
        for d in diagnostics
    ]


def test_a_file_takes_the_sections_of_its_base(project):
    project("a/mine.xc.yaml", "xcompose: 1\nextends: ../base.xc.yaml\nlet: {w: 16}\nmodel.ffn.width: 2x\n")

    spec = load("a/mine.xc.yaml", catalogue=CATALOGUE)

    assert (spec.name, spec.about, spec.file, spec.variants) == ("mine", "", "a/mine.xc.yaml", ())
    assert spec.model is not None
    assert spec.model.options["ffn"].options["width"] == 512
    assert spec.model.options["mixer"].options["pattern"].options["size"] == 16
    assert (spec.train["lr"], spec.train["batch"]) == (0.5, 4)
    assert [(e.key, e.text) for e in spec.expect] == [("causal", "strict"), ("state", "O(1)")]


def test_a_base_may_be_a_variant(project):
    project("mine.xc.yaml", "xcompose: 1\nextends: base.xc.yaml@tiny\n")

    spec = load("mine.xc.yaml", catalogue=CATALOGUE)

    assert spec.model is not None
    assert (spec.model.options["dim"], spec.model.options["heads"]) == (64, 2)
    assert [e.key for e in spec.expect] == ["causal", "state"]


def test_sections_may_come_from_different_files(project):
    project("recipe.xc.yaml", "xcompose: 1\nlet: {w: 99}\ntrain: {lr: 0.25}\ntask: lm\n")
    project("mine.xc.yaml", "xcompose: 1\nextends: {model: base.xc.yaml, train: recipe.xc.yaml}\ntrain: {batch: 2}\n")

    spec = load("mine.xc.yaml", catalogue=CATALOGUE)

    assert spec.model is not None
    assert spec.model.options["mixer"].options["pattern"].options["size"] == 8
    assert (spec.train["lr"], spec.train["batch"], spec.task, spec.expect) == (0.25, 2, None, ())


def test_a_finding_in_a_base_points_there(project):
    project("bad.xc.yaml", "xcompose: 1\nmodel: {type: decoder, dim: wide, layers: 2}\n")
    project("a/mine.xc.yaml", "xcompose: 1\nextends: ../bad.xc.yaml\n")

    assert said("a/mine.xc.yaml") == ["bad.xc.yaml:2:29 XC014 expected a whole number, found 'wide'"]


@pytest.mark.parametrize(
    ("extends", "found"),
    [
        ("bse.xc.yaml", "mine.xc.yaml:2:10 XC025 there is no file 'bse.xc.yaml'"),
        ("../base.xc.yaml", "mine.xc.yaml:2:10 XC025 '../base.xc.yaml' is outside the project"),
        ("/etc/base.xc.yaml",
         "mine.xc.yaml:2:10 XC025 the name of a spec is relative to this file, found '/etc/base.xc.yaml'"),
        ("mine.xc.yaml", "mine.xc.yaml:2:10 XC025 specs extend each other: mine.xc.yaml -> mine.xc.yaml"),
        ("loop.xc.yaml",
         "loop.xc.yaml:2:10 XC025 specs extend each other: mine.xc.yaml -> loop.xc.yaml -> mine.xc.yaml"),
        ("base.xc.yaml@tiyn", "mine.xc.yaml:2:10 XC026 base.xc.yaml has no variant 'tiyn'"),
        ("nothing_like_it:a/b", "mine.xc.yaml:2:10 XC025 no package 'nothing_like_it' is installed"),
        ("{modle: base.xc.yaml}", "mine.xc.yaml:2:11 XC011 'extends' brings no section 'modle'"),
        ("[base.xc.yaml]", "mine.xc.yaml:2:10 XC014 'extends' wants a file, or a mapping of sections to files"),
        ("link.xc.yaml", "mine.xc.yaml:2:10 XC025 'link.xc.yaml' is outside the project"),
        ("c0.xc.yaml", "c8.xc.yaml:2:10 XC025 more than 10 files in a chain of `extends`"),
    ],
)  # fmt: skip
def test_what_is_said_about_a_base_that_cannot_be(project, tmp_path_factory, extends, found):
    outside = tmp_path_factory.mktemp("outside") / "far.xc.yaml"
    outside.write_text(BASE)
    Path("link.xc.yaml").symlink_to(outside)
    project("loop.xc.yaml", "xcompose: 1\nextends: mine.xc.yaml\n")
    for number in range(12):
        project(f"c{number}.xc.yaml", f"xcompose: 1\nextends: c{number + 1}.xc.yaml\n")
    project("c12.xc.yaml", BASE)
    project("mine.xc.yaml", f"xcompose: 1\nextends: {extends}\n")

    assert said("mine.xc.yaml") == [found]


def test_a_spec_of_an_installed_package(project, monkeypatch):
    project("there/specs/small.xc.yaml", BASE)
    project("there/__init__.py", "raise RuntimeError('never imported')")
    project("mine.xc.yaml", "xcompose: 1\nextends: there:specs/small\n")
    monkeypatch.syspath_prepend(".")

    assert load("mine.xc.yaml", catalogue=CATALOGUE).model is not None

    project("mine.xc.yaml", "xcompose: 1\nextends: there:../base\n")
    assert said("mine.xc.yaml") == ["mine.xc.yaml:2:10 XC025 '../base' is outside the package 'there'"]


def test_variants_on_the_command_line(project):
    assert variants_of("base.xc.yaml") == ("tiny",)
    assert load("base.xc.yaml@tiny", catalogue=CATALOGUE).name == "the base@tiny"
    assert said("base.xc.yaml@tyni") == ["XC026 base.xc.yaml has no variant 'tyni'"]
    assert said("bsae.xc.yaml") == ["XC001 there is no file bsae.xc.yaml"]
    assert said("base.yaml") == ["XC002 a spec's file name ends in .xc.yaml, found base.yaml"]


def test_the_version_must_be_said(project):
    project("mine.xc.yaml", "model: {type: decoder, dim: 64, heads: 1, layers: 2}\n")
    assert said("mine.xc.yaml") == ["mine.xc.yaml:1:1 XC012 a spec says which version of the language it is written in"]
    project("mine.xc.yaml", "xcompose: 2\n")
    assert said("mine.xc.yaml") == ["mine.xc.yaml:1:11 XC014 expected version 1 of the language, found 2"]


def test_what_is_said_about_variants(project):
    project("mine.xc.yaml", "xcompose: 1\nvariants: {Tiny: {}, two: 3, ok: {modle: {}, extends: base.xc.yaml}}\n")

    assert said("mine.xc.yaml@ok") == [
        "mine.xc.yaml:2:12 XC026 a variant's name is snake_case, found 'Tiny'",
        "mine.xc.yaml:2:27 XC014 variant 'two' wants a mapping of sections",
        "mine.xc.yaml:2:35 XC011 variant ok has no section 'modle'",
        "mine.xc.yaml:2:46 XC011 variant ok has no section 'extends'",
    ]


def test_a_text_of_no_file_names_no_file():
    from xcompose.spec import check_text

    _, diagnostics = check_text("xcompose: 1\nextends: base.xc.yaml\n", "text", (), CATALOGUE)

    assert [d.message for d in diagnostics] == ["a spec that is in no file cannot name another file"]


def test_specs_are_found_in_folders(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "far.xc.yaml"
    outside.write_text(BASE)
    for name in ("specs/b.xc.yaml", "specs/a/c.xc.yaml", "specs/.hidden/d.xc.yaml", "specs/e.yaml"):
        project(name, BASE)
    Path("specs/link.xc.yaml").symlink_to(outside)

    assert find_specs(["specs"]) == [Path("specs/b.xc.yaml"), Path("specs/a/c.xc.yaml")]
    assert find_specs([], root=Path()) == find_specs(["specs"])
    assert find_specs(["base.xc.yaml", "specs/a"]) == [Path("base.xc.yaml"), Path("specs/a/c.xc.yaml")]
    Path("pyproject.toml").write_text('[tool.xcompose]\nspecs = ["specs/a"]\n')
    assert find_specs(root=Path()) == [Path("specs/a/c.xc.yaml")]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("specs", "a spec's file name ends in .xc.yaml, found specs/old.xc.yml"),
        ("base.yaml", "a spec's file name ends in .xc.yaml, found base.yaml"),
        ("gone.xc.yaml", "there is no file gone.xc.yaml"),
    ],
)
def test_what_is_no_spec_is_not_passed_over(project, path, message):
    project("specs/old.xc.yml", BASE)

    with pytest.raises(SpecError) as caught:
        find_specs([path])
    assert [d.message for d in caught.value.diagnostics] == [message]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("[tool.xcompose", "XC001", "pyproject.toml is no TOML: expected ']' at the end of a table declaration"),
        ("a = 1\nb = = 2\n", "XC001", "pyproject.toml is no TOML: invalid value"),
        ("[tool.xcompose]\nspecs = 5\n", "XC014", "pyproject.toml: 'specs' wants paths of files and folders, found 5"),
        ("tool.xcompose.specs = [5]", "XC014", "pyproject.toml: 'specs' wants paths of files and folders, found [5]"),
        ("tool.xcompose = 5", "XC014", "pyproject.toml: 'xcompose' is a table of settings, found 5"),
        ("tool = 5", "XC014", "pyproject.toml: 'tool' is a table of settings, found 5"),
        ("\N{SNOWMAN}", "XC003", "pyproject.toml is not UTF-8 text"),
    ],
)
def test_settings_that_are_wrong(project, text, code, message):
    Path("pyproject.toml").write_text(text, encoding="utf-8" if text.isascii() else "utf-16")

    with pytest.raises(SpecError) as caught:
        find_specs()
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == (code, message)
    assert found.span is not None or code == "XC003"


def test_where_settings_are_wrong(project):
    Path("pyproject.toml").write_text("[tool.xcompose]\nspecs = 5\n")
    with pytest.raises(SpecError) as caught:
        find_specs()
    assert caught.value.diagnostics[0].span == Span("pyproject.toml", 2, 1, 2, 6)

    Path("pyproject.toml").write_text("a = 1\nb = = 2\n")
    with pytest.raises(SpecError) as caught:
        find_specs()
    assert caught.value.diagnostics[0].span == Span("pyproject.toml", 2, 5, 2, 6)


def test_settings_may_name_one_path(project):
    Path("pyproject.toml").write_text('[tool.xcompose]\nspecs = "base.xc.yaml"\n')

    assert find_specs(root=Path()) == [Path("base.xc.yaml")]
