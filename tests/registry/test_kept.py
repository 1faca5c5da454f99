"""What is kept of plugins is exactly what they say, and counts for nothing once their code has changed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.distributions import Distribution, near
from tests.registry.installing import fresh
from xcompose import registry
from xcompose.diagnostics import SpecError
from xcompose.registry import kept
from xcompose.registry.discovery import Found, announced
from xcompose.registry.loader import Loaded, Plugin
from xcompose.registry.stamps import stamp_of
from xcompose.schema import REQUIRED, ComponentSchema, OptionSchema, ValueType

BUILT_IN = sorted(registry.built_in().by_name)

words = st.text("abc-_ é{}$", max_size=5)
defaults = st.recursive(
    st.just(REQUIRED) | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner).map(tuple) | st.lists(inner) | st.dictionaries(words, inner),
    max_leaves=4,
)
bounds = st.none() | st.integers() | st.floats(allow_nan=False)


def exact(value) -> str:
    """Tells 1 from 1.0 and from True, which are equal."""
    return repr(value)


@pytest.mark.parametrize("key", BUILT_IN, ids=lambda key: f"{key[0]} {key[1]}")
def test_what_is_kept_of_a_built_in_component_is_what_it_says(key):
    live = registry.built_in().component(*key).schema
    listed = {(s.kind, s.name): s for s in registry.built_in().catalogue}[live.kind, live.name]

    assert exact(kept.from_data(json.loads(json.dumps(kept.to_data(live))))) == exact(live)
    assert exact(listed) == exact(live)


@given(st.builds(
    OptionSchema, name=words, default=defaults, note=words, main=st.booleans(), at_least=bounds, above=bounds,
    type=st.builds(ValueType, st.sampled_from(["list", "word", "record"]), words=st.lists(words).map(tuple)),
))  # fmt: skip
def test_any_option_comes_back_as_it_was(option):
    schema = ComponentSchema(kind="norm", name="n", options=(option, attrs.evolve(option, type=ValueType("record",
                             fields=(option,), of=option.type))))  # fmt: skip

    assert exact(kept.from_data(json.loads(json.dumps(kept.to_data(schema))))) == exact(schema)


def test_an_object_is_not_kept():
    with pytest.raises(kept.NotPlain, match="a object cannot be kept as plain data"):
        kept.to_data(OptionSchema(name="a", type=ValueType("any"), default=object()))


@pytest.mark.parametrize(
    "data", [None, [], 3, {}, {"stamp": 1}, {"stamp": "s"}, {"stamp": "s", "plugins": 3, "at": 0},
             {"stamp": "s", "plugins": {"tuple": []}, "at": 0},
             {"stamp": "s", "plugins": {"tuple": [{"Plugin": {"found": None, "more": 1}}]}, "at": 0},
             {"stamp": "s", "plugins": {"eval": ["1"]}, "at": 0}],
)  # fmt: skip
def test_what_is_not_of_our_making_counts_for_nothing(monkeypatch, tmp_path, data):
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path))
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "x.json").write_text(json.dumps(data))

    assert kept._read("plugins/x", "s") is None


def test_a_failure_is_tried_again_after_ten_minutes(monkeypatch, tmp_path):
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path))
    found = Found("m", "d", "1", "d", "m")
    for plugin, after in ((Plugin(found, error="no luck"), None), (Plugin(found), Plugin(found))):
        kept.keep(Loaded(plugin, stamp=stamp_of(found)))
        assert kept.peek(found) == plugin
        now = time.time()
        with monkeypatch.context() as later:
            later.setattr(time, "time", lambda now=now: now + 601)
            assert kept.peek(found) == after


def test_a_catalogue_that_is_kept_costs_no_import():
    """A process that finds nothing kept loads and keeps it; the next imports neither torch nor a plugin."""
    code = (
        "import sys, time; begin = time.process_time()\nimport xcompose.registry as r\n"
        "count = len(r.load().catalogue)\n"
        "heavy = [m for m in sys.modules if m in ('torch', 'numpy') or m.startswith('xcompose_plugins')]\n"
        "print(count, len(heavy), time.process_time() - begin)"
    )
    for _ in range(2):
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        count, heavy, seconds = ran.stdout.split()
        if heavy == "0":
            break

    assert (int(count), heavy) == (len(BUILT_IN), "0")
    assert float(seconds) < 0.5  # of work; 0.15 where nothing else runs


class TestThirdParty:
    def test_a_plugin_is_imported_when_its_component_is_taken(self, installed):
        installed(Distribution("acme-a", near("far")))
        assert "acme_a" not in sys.modules
        _ = registry.third_party().catalogue  # which imports it, as nothing is kept yet
        assert sys.modules.pop("acme_a")
        installed()

        again = registry.third_party()
        assert again.catalogue.names("pattern") == ("acme/far",)
        assert "acme_a" not in sys.modules

        assert again.component("pattern", "acme/far").options.__name__ == "NearOptions"
        assert "acme_a" in sys.modules

    def test_a_part_leads_to_its_component(self, installed):
        installed(Distribution("acme-a", near("far")))
        registry.third_party()
        installed()
        known = registry.third_party()
        part = sys.modules["acme_a"].NearOptions(size=3)

        assert known.component_of(part).full_name == "acme/far"
        with pytest.raises(KeyError):
            known.component_of(object())

    def test_changed_code_is_read_again(self, installed):
        installed(Distribution("acme-a", near("far")))
        assert registry.third_party().catalogue.names("pattern") == ("acme/far",)
        del sys.modules["acme_a"]

        installed(Distribution("acme-a", near("farther")))

        assert kept.is_stale(announced()[0])
        assert registry.third_party().catalogue.names("pattern") == ("acme/farther",)
        assert not kept.is_stale(announced()[0])

    def test_an_edit_during_the_import_is_read_by_the_next_run(self, installed):
        """As an editor saves, or an installer writes, while the old code is being imported."""
        changed = near("farther")
        edit = f"import pathlib\n\npathlib.Path(__file__).write_text({changed!r})\n"
        installed(Distribution("acme-a", edit + near("far")))

        assert registry.third_party().catalogue.names("pattern") == ("acme/far",)

        assert kept.peek(announced()[0]) is None
        registry.third_party.cache_clear()
        assert registry.third_party().catalogue.names("pattern") == ("acme/far",)  # what this process has imported
        assert kept.peek(announced()[0]) is None
        del sys.modules["acme_a"]
        fresh()
        assert registry.third_party().catalogue.names("pattern") == ("acme/farther",)
        assert kept.peek(announced()[0]) is not None

    def test_what_others_had_imported_is_not_kept(self, installed):
        installed(Distribution("acme-a", near("far")))
        importlib.import_module("acme_a")

        assert registry.third_party().catalogue.names("pattern") == ("acme/far",)

        assert kept.peek(announced()[0]) is None

    def test_what_is_installed_beside_it_counts(self, installed):
        installed(Distribution("acme-a", near("far")))
        registry.third_party()

        installed(Distribution("acme-needed", "", group="others"))

        assert kept.peek(announced()[0]) is None

    def test_components_that_depend_on_the_environment_are_refused_and_said(self, installed, monkeypatch):
        source = "import os\n" + near("far").replace('name="far"', 'name=os.environ["ACME_NAME"]')
        monkeypatch.setenv("ACME_NAME", "far")
        installed(Distribution("acme-a", source))
        registry.third_party()
        del sys.modules["acme_a"]
        monkeypatch.setenv("ACME_NAME", "near")
        installed()

        known, said = registry.third_party(), []
        for _ in range(2):
            with pytest.raises(SpecError) as error:
                known.component("pattern", "acme/far")
            said.append(str(error.value))

        assert said == 2 * [
            "error[XC057]: plugin 'acme_a' of acme-a 0.1 does not offer what it offered before: "
            "pattern 'acme/far', pattern 'acme/near'\n"
            "  = fix: run it again: what is offered now has been kept"
        ]
        installed()
        assert registry.third_party().catalogue.names("pattern") == ("acme/near",)

    def test_a_plugin_that_fails_only_when_it_is_taken_is_said(self, installed, tmp_path):
        source = f"import pathlib\n\nassert not pathlib.Path({str(tmp_path / 'flag')!r}).exists(), 'the flag is up'\n"
        installed(Distribution("acme-a", source + near("far")))
        registry.third_party()
        del sys.modules["acme_a"]
        (tmp_path / "flag").touch()
        installed()
        known = registry.third_party()

        with pytest.raises(SpecError) as error:
            known.component("pattern", "acme/far")

        [finding] = error.value.diagnostics
        with pytest.raises(SpecError) as again:
            known.component("pattern", "acme/far")
        assert again.value.diagnostics == (finding,)
        assert finding.message == "plugin 'acme_a' of acme-a 0.1 is not loaded: AssertionError: the flag is up"
        assert finding.label.endswith("acme_a.py:3")

    def test_threads_that_take_one_at_the_same_time_get_the_same(self, installed):
        installed(
            Distribution("acme-a", near("far").replace("@options", "import time\n\ntime.sleep(0.1)\n\n\n@options", 1))
        )
        registry.third_party()
        del sys.modules["acme_a"]
        installed()
        known = registry.third_party()

        with ThreadPoolExecutor(4) as pool:
            taken = list(pool.map(lambda _: known.component("pattern", "acme/far"), range(4)))

        assert all(one is taken[0] for one in taken)
