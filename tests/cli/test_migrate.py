"""`xcompose migrate`: what it writes, and what it says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from xcompose import registry
from xcompose.verify.results import Report

from ..spec.test_migrate import NEW, OLD
from ..spec.test_renames import TODAY
from .calling import call

SHORT = """\
xcompose: 1
model:
  type: decoder
  dim: 256
  layers: 1
  mixer: {memory: "mean", pattern: window(extent=3)}
"""


@pytest.fixture(autouse=True)
def _old(monkeypatch):
    monkeypatch.setattr(registry, "load", lambda: SimpleNamespace(catalogue=TODAY))
    Path("old.xc.yaml").write_text(OLD)


SAID = """\
old.xc.yaml
  6:3    n_heads → heads
  7:39   extent → size
  8:12   inner → width
  11:23  feed-forward → mlp
  11:38  inner → width
  12:42  near-by → window
  12:50  extent → size
"""


def test_a_file_is_rewritten():
    called = call("xcompose migrate old.xc.yaml")

    assert (called.code, called.err) == (0, "")
    assert called.out == SAID + "1 spec: 1 changed\n"
    assert Path("old.xc.yaml").read_text() == NEW
    assert call("xcompose migrate old.xc.yaml --check").out == "1 spec: nothing to change\n"


def test_a_check_writes_nothing():
    called = call("xcompose migrate --check old.xc.yaml")

    assert (called.code, called.out) == (1, SAID + "1 spec: 1 would change\n")
    assert Path("old.xc.yaml").read_text() == OLD


def test_a_difference_is_a_patch():
    Path("old.xc.yaml").write_text("xcompose: 1\n\nmodel: {type: decoder, dim: 256, n_heads: 8, layers: 1}\n# end\n")
    called = call("xcompose migrate --diff old.xc.yaml")

    assert (called.code, called.err) == (0, "")
    assert (
        called.out
        == """\
--- a/old.xc.yaml
+++ b/old.xc.yaml
@@ -2,3 +2,3 @@
 
-model: {type: decoder, dim: 256, n_heads: 8, layers: 1}
+model: {type: decoder, dim: 256, heads: 8, layers: 1}
 # end
1 spec: 1 would change
"""
    )


def test_a_broken_file_is_left_alone_and_the_others_are_not():
    broken = "xcompose: 1\nmodel: {type: decoder, n_heads: 8, layers: 1}\n"
    Path("broken.xc.yaml").write_text(broken)
    called = call("xcompose migrate broken.xc.yaml old.xc.yaml")

    assert called.code == 1
    assert called.out == SAID + "2 specs: 1 changed, 1 with errors, left alone\n"
    assert called.err.startswith("error[XC012]: 'decoder' needs 'dim'\n --> broken.xc.yaml:2:15   model.dim\n")
    assert Path("broken.xc.yaml").read_text() == broken


def test_old_names_of_a_base_are_mentioned():
    Path("new.xc.yaml").write_text("xcompose: 1\nextends: old.xc.yaml\n")
    called = call("xcompose migrate new.xc.yaml")

    assert called.said == (
        "note: new.xc.yaml extends old.xc.yaml, which has old names, too\n"
        "  = fix: xcompose migrate old.xc.yaml\n1 spec: nothing to change"
    )


def test_nothing_to_migrate():
    Path("empty").mkdir()
    called = call("xcompose migrate empty")

    assert called.code == 2
    assert called.said == (
        "error: no spec was found: nothing ends in .xc.yaml there\n  = fix: xcompose migrate FILE.xc.yaml"
    )


def test_a_check_fixes_what_it_knows_exactly(monkeypatch):
    monkeypatch.setattr("xcompose.cli.check.check", lambda *_: Report((), 0.0))
    Path("short.xc.yaml").write_text(SHORT)
    Path("broken.xc.yaml").write_text("xcompose: 1\nmodel: {type: decoder, n_heads: 8, layers: 1}\n")
    called = call("xcompose check short.xc.yaml broken.xc.yaml old.xc.yaml@wide --fix --stage schema --no-cache")

    assert called.err.startswith(
        "fixed short.xc.yaml:6:20   mean → acme/mean\nfixed short.xc.yaml:6:43   extent → size\n"
        "fixed old.xc.yaml:6:3   n_heads → heads\n"
    )
    assert Path("short.xc.yaml").read_text() == SHORT.replace("mean", "acme/mean").replace("extent", "size")
    assert Path("old.xc.yaml").read_text() == NEW
    assert "n_heads" in Path("broken.xc.yaml").read_text()


def test_a_check_says_what_could_be_fixed():
    Path("short.xc.yaml").write_text(SHORT)
    called = call("xcompose check short.xc.yaml --stage schema --no-cache")

    assert called.code == 0
    assert called.out.splitlines()[-1] == "2 of the findings can be mended by machine: xcompose check --fix"


def test_a_link_stays_a_link(monkeypatch):
    monkeypatch.setattr("xcompose.cli.check.check", lambda *_: Report((), 0.0))
    Path("real").mkdir()
    for number, command in enumerate(("migrate {}", "check {} --fix --stage schema --no-cache")):
        real, link = Path("real", f"s{number}.xc.yaml"), Path(f"s{number}.xc.yaml")
        real.write_text(OLD)
        real.chmod(0o640)
        link.symlink_to(real)
        assert call(f"xcompose {command.format(link)}").code == 0

        assert link.is_symlink()
        assert real.read_text() == NEW
        assert real.stat().st_mode & 0o7777 == 0o640
