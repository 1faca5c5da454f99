"""Which files a spec was read from."""

from __future__ import annotations

import os

from xcompose import registry
from xcompose.spec import check
from xcompose.spec.reading import CHANGED, look, note, recorded

BASE = "xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 2}\n"


def test_every_file_is_named_that_a_spec_depends_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.xc.yaml").write_text(BASE)
    (tmp_path / "teacher.xc.yaml").write_text(BASE)
    (tmp_path / "mine.xc.yaml").write_text(
        'xcompose: 1\nextends: base.xc.yaml\naddons: [distill("teacher.xc.yaml")]\ntask: lm(data=stdlib)\n'
    )
    with recorded() as seen:
        spec, findings = check("mine.xc.yaml", (), registry.load().catalogue)

    assert spec is not None, findings
    assert {os.path.basename(name) for name in seen} == {"mine.xc.yaml", "base.xc.yaml", "teacher.xc.yaml"}
    assert all(os.path.isabs(name) for name in seen)


def test_a_digest_changes_with_the_text_and_with_the_place_a_link_leads_to(tmp_path):
    digests = []
    for folder, text in (("a", "one"), ("a", "two"), ("b", "two")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "f").write_text(text)
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(tmp_path / folder / "f")
        with recorded() as seen:
            look(tmp_path / "link")
        digests += seen.values()

    assert len(set(digests)) == 3


def test_a_file_that_changes_meanwhile_has_no_digest(tmp_path):
    with recorded() as seen:
        note(tmp_path / "f", b"one")
        note(tmp_path / "f", b"one")
        assert CHANGED not in seen.values()
        note(tmp_path / "f", b"two")
        look(tmp_path / "gone")

    assert list(seen.values()) == [CHANGED, CHANGED]
