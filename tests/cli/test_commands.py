"""Every command does what it says."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calling import ROOT, Called, call
from xcompose.cli import main

COMMANDS = (
    "new", "list", "show", "explain", "why", "freeze", "migrate", "schema", "check", "diff", "build", "cost", "draw",
    "bench", "train", "addon", "generate", "compare", "search", "quickstart",
)  # fmt: skip


def data(command: str, code: int = 0):
    called = call(command)
    assert called.code == code, called.said
    return json.loads(called.out)


def test_these_are_all_commands():
    main.add_commands()

    assert {c.name for c in main.app.registered_commands} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_holds_an_example(name):
    called = call(f"xcompose {name} --help")

    assert called.code == 0
    assert "Example:" in called.out
    assert f"xcompose {name}" in called.out.partition("Example:")[2]


def test_the_versions_in_one_line(monkeypatch):
    torch, python = importlib.metadata.version("torch"), platform.python_version()
    assert call("xcompose --version") == Called(0, f"xcompose 0.1.0, torch {torch}, Python {python}\n", "")

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    said = f"xcompose not installed, torch not installed, Python {python}\n"
    assert call("xcompose --version").out == said


def test_a_first_spec_builds_and_trains_as_it_is():
    said = call("xcompose new first").out
    assert said.splitlines()[0] == (
        "wrote first.xc.yaml (7 lines) and .xcompose/schema.json (your editor completes specs now)"
    )

    assert call("xcompose build first.xc.yaml").code == 0
    assert data("xcompose check first.xc.yaml --stage build --format json")["ok"] is True


def test_components_as_data():
    found = data("xcompose list pattern --format json")
    shown = data("xcompose show window --format json")

    assert {"kind", "name", "summary", "distribution"} == set(found[0])
    assert shown["name"] == "window"
    assert [option["name"] for option in shown["options"]] == ["size", "dilation"]


def test_a_name_used_elsewhere_leads_to_ours():
    called = call("xcompose show sliding-window")

    assert called.said == "error: no component is called 'sliding-window'\n  = fix: xcompose calls it 'window'"


def test_a_code_as_data():
    found = data("xcompose explain xc031 --format json")

    assert found["code"] == "XC031"
    assert found["bad"]


def test_where_a_value_comes_from_as_data():
    chain = data("xcompose why mine.xc.yaml let.w --set let.w=3 --format json")

    assert [origin["text"] for origin in chain] == ["3", "4"]


def test_a_frozen_spec_means_the_same():
    assert call("xcompose freeze mine.xc.yaml -o frozen.xc.yaml").out == "wrote frozen.xc.yaml\n"

    again = call("xcompose freeze frozen.xc.yaml").out

    assert again == Path("frozen.xc.yaml").read_text()
    sizes = {data(f"xcompose build {name}.xc.yaml --format json")["parameters"] for name in ("mine", "frozen")}
    assert len(sizes) == 1


def test_a_model_as_data():
    found = data("xcompose build mine.xc.yaml --explain --format json")

    assert found["name"] == "mine"
    executors = [choice["executor"] for row in found["rows"] for part in row.get("rows", ())
                 for choice in part.get("executors", ())]  # fmt: skip
    assert executors == ["fused", "sums"]


def test_costs_as_data():
    found = data("xcompose cost mine.xc.yaml --length 16,1Ki --format json --set length=null")

    assert [cost["n"] for cost in found["lengths"]] == [16, 1024]
    assert found["growth"]["time"] == "O(n)"


def test_costs_are_counted_up_to_the_length_of_the_model():
    for length, counted in (("64", [64]), ("4Ki", [1024, 4096])):
        found = data(f"xcompose cost mine.xc.yaml --format json --no-training --set length={length}")
        assert [cost["n"] for cost in found["lengths"]] == counted


@pytest.mark.parametrize("end", ["png", "svg"])
def test_a_picture(end):
    found = data(f"xcompose draw mine.xc.yaml -o picture.{end} --length 16 --format json")

    assert Path(f"picture.{end}").stat().st_size > 1000
    assert [len(layer["groups"]) for layer in found["layers"]] == [1, 1]
    assert found["layers"][0]["groups"][0]["pairs"] == 16 * 5 - 10


def test_a_picture_has_a_name_of_its_own():
    assert call("xcompose draw mine.xc.yaml@dense --length 8").out == "wrote mine@dense.png: 2 layers, 8 tokens\n"


class TestCheck:
    def test_a_spec_with_its_variants(self):
        called = call("xcompose check mine.xc.yaml")

        assert called.code == 0
        assert called.out.splitlines()[0] == "2 specs   ✓"
        assert called.out.splitlines()[1].startswith("1 spec, 2 with variants: 0 findings   ")

    def test_findings_are_exit_code_1(self):
        found = data("xcompose check mine.xc.yaml --set expect.params=1M --stage build --format json", code=1)

        assert found["ok"] is False
        assert {f["code"] for spec in found["specs"] for f in spec["findings"]} == {"XC061"}

    def test_one_line_for_each_finding(self):
        called = call("xcompose check mine.xc.yaml@dense --set model.norm=lyer --format concise")

        assert called.code == 1
        assert called.out == "--set #1:1:12: XC013 no norm is called 'lyer'\n"

    def test_annotations_of_a_forge(self):
        Path("bad.xc.yaml").write_text("xcompose: 1\nmodle: {}\n")

        called = call("xcompose check bad.xc.yaml --format github")

        assert called.code == 1
        assert called.out == (
            "::error file=bad.xc.yaml,line=2,col=1,endColumn=6,title=XC011::a spec has no section 'modle'. "
            "Fix: did you mean 'model'?\n"
        )

    @pytest.mark.slow
    def test_several_processes_find_what_one_finds(self):
        for name in ("a", "b"):
            Path(f"{name}.xc.yaml").write_text("xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 1}\nmodle: {}\n")

        one = call("xcompose check b.xc.yaml a.xc.yaml mine.xc.yaml --stage compose -j 1 --no-cache")
        two = call("xcompose check b.xc.yaml a.xc.yaml mine.xc.yaml --stage compose -j 2 --no-cache")

        assert (one.code, two.code) == (1, 1)
        assert one.err == two.err
        assert [line.split()[0] for line in one.out.splitlines()] == [line.split()[0] for line in two.out.splitlines()]

    def test_a_suggestion_can_be_pasted(self):
        said = call("xcompose check mine.xc.yaml --suggest").out
        contract = said[said.index("expect:") :]
        plain = Path("mine.xc.yaml").read_text().partition("variants:")[0]
        Path("mine.xc.yaml").write_text(plain + contract)

        assert call("xcompose check mine.xc.yaml").code == 0


class TestBench:
    def test_mixers_beside_the_dense_layer(self):
        found = data(
            "xcompose bench 'attention(pattern=window(4))' 'attention(score=linear)' --dim 16 --heads 2 "
            "--lengths 16,32 --repeats 1 --backward --plot bench.png --format json"
        )

        cases = list(dict.fromkeys(m["case"] for m in found["measured"]))
        assert cases == ["attention (dense)", "attention(pattern=window(4))", "attention(score=linear)"]
        pairs = {(m["case"], m["length"]): m["pairs"] for m in found["measured"]}
        assert pairs["attention (dense)", 16] == 2 * 16 * 17 / 2
        assert pairs["attention(pattern=window(4))", 32] == 2 * (32 * 5 - 10)
        assert pairs["attention(score=linear)", 16] is None
        assert Path("bench.png").stat().st_size > 1000

    def test_both_sides_in_an_encoder(self):
        found = data(
            "xcompose bench 'attention(pattern=window(4))' attention --type encoder --dim 16 --heads 2 --batch 3 "
            "--lengths 16 --repeats 1 --format json"
        )

        pairs = {m["case"]: m["pairs"] for m in found["measured"]}
        assert pairs == {"attention(pattern=window(4))": 3 * 2 * (16 * 9 - 20), "attention (dense)": 3 * 2 * 16 * 16}

    def test_whole_models(self):
        called = call("xcompose bench mine.xc.yaml mine.xc.yaml@dense --lengths 16 --repeats 1")

        assert called.code == 0
        assert "ratio" not in called.out
        assert [line for line in called.out.splitlines() if line.startswith("mine")] == ["mine", "mine@dense"]

    def test_the_reading_alone(self):
        called = call("xcompose bench --reading 'window(4)' --type encoder --dim 16 --heads 2 --lengths 16 --repeats 1")
        apart = call("xcompose bench --reading 'heads(window(4), strided(2))' --dim 16 --heads 2 --lengths 16")

        assert called.code == 0
        assert "all pairs (dense)" in called.out
        assert "how many times faster than the dense layer at that length" in called.out
        assert (apart.code, apart.err) == (
            2,
            "error: heads of 'heads(window(4), strided(2))' read by patterns of their own\n"
            "  = fix: bench them apart\n",
        )  # fmt: skip

    def test_beside_a_model_by_hand(self):
        called = call("xcompose bench --by-hand --lengths 16 --repeats 1")
        wrong = call("xcompose bench --by-hand attention")

        assert called.code == 0
        assert "how many times faster than the model written by hand at that length" in called.out
        assert (wrong.code, wrong.err) == (
            2, "error: --by-hand brings its own two models\n  = fix: leave the cases out\n",
        )  # fmt: skip


class TestRuns:
    def test_from_training_to_text(self):
        trained = data("xcompose train mine.xc.yaml --format json")
        written = data("xcompose generate runs/mine --prompt 'def ' --tokens 5 --format json")

        assert trained["steps"] == 2
        assert trained["folder"] == "runs/mine"
        assert len(written["tokens"]) == 5
        assert call("xcompose generate runs/mine --prompt 'def ' --tokens 3").out.startswith("def ")

    def test_a_text_longer_than_the_model_reads_says_so(self):
        """Not a fault of xcompose, and not one of its plugins: no traceback, no internal error."""
        assert call("xcompose train mine.xc.yaml --set model.position=learned").code == 0

        called = call("xcompose generate runs/mine --prompt 'def ' --tokens 62")

        assert (called.code, called.err) == (
            2, "error: a sequence of 65 tokens is longer than the 64 places of position 'learned'\n"
            "  = fix: 64 tokens at most\n",
        )  # fmt: skip

    def test_a_budget_and_a_recipe(self):
        Path("recipe.xc.yaml").write_text(
            "xcompose: 1\ntask: lm(data=stdlib)\ntrain: {batch: 3, length: 16, eval: {batches: 1}}\n"
        )

        trained = data(
            "xcompose train mine.xc.yaml --recipe recipe.xc.yaml --budget '3 steps' --format json --run here"
        )

        assert trained["tokens"] == 3 * 3 * 16
        assert trained["folder"] == "here"

    def test_own_text(self):
        Path("text.txt").write_text("abc " * 500)

        assert call("xcompose train mine.xc.yaml --data text.txt").code == 0

    def test_a_comparison(self):
        found = data(
            "xcompose compare mine.xc.yaml --vary let.w 2 8 --budget '1 steps' --set train.batch=1 --format json"
        )

        assert {row["name"] for row in found["specs"]} == {"let.w=2", "let.w=8"}
        assert found["folder"] == "runs/compare-1"
        assert Path("runs/compare-1/report.html").exists()


def test_the_quickstart_in_small(here):
    layers = {
        "dense-12m": "2", "window-12m": "2*attention(pattern=window(4))", "linear-12m": "2*attention(score=linear)",
        "window-then-linear": "attention(pattern=window(4)), attention(score=linear)",
    }  # fmt: skip
    train = "task: lm(data=stdlib)\ntrain: {batch: 2, length: 32, lr: 1e-3, eval: {batches: 1}}\n"
    for folder in ("beyond", "recipes"):
        Path("specs", folder).mkdir(parents=True)
    Path("specs/recipes/bytes-2min.xc.yaml").write_text(f"xcompose: 1\n{train}")
    for name, text in layers.items():
        Path("specs/beyond", f"{name}.xc.yaml").write_text(
            f"xcompose: 1\nmodel: {{type: decoder, dim: 16, heads: 2, layers: '{text}'}}\n{train}"
            "variants:\n  tiny: {model: {dim: 8}}\n"
        )

    Path("runs/quickstart").mkdir(parents=True)
    Path("runs/quickstart/quickstart.json").write_text("{}")
    Path("runs/quickstart/old.txt").write_text("of an earlier quickstart")

    first = call("xcompose quickstart --budget '4 steps'")

    assert first.code == 0, first.said
    assert not Path("runs/quickstart/old.txt").exists()
    for step in ("1/5  environment", "2/5  check", "3/5  train", "4/5  generate", "5/5  compare"):
        assert step in first.out
    assert "4 specs, 8 with variants: 0 findings" in first.out
    assert "parameters agree" in first.out or "parameters, dense-12m@tiny" in first.out
    for file in (
        "compare/report.html", "trained/model.safetensors", "trained/checkpoints/last.ckpt", "trained/loss.png",
        "trained/spec.xc.yaml", "pictures/dense-12m@tiny.png", "pictures/window-then-linear@tiny.png",
    ):  # fmt: skip
        assert Path("runs/quickstart", file).stat().st_size > 0


def test_the_quickstart_replaces_nobodys_files():
    Path("runs").mkdir()
    Path("runs/thesis.txt").write_text("three years")
    for folder in ("beyond", "recipes"):
        (Path("specs") / folder).mkdir(parents=True)
        for file in (ROOT / "specs" / folder).glob("*.xc.yaml"):
            (Path("specs") / folder / file.name).write_text(file.read_text())

    called = call("xcompose quickstart --out runs")

    assert called.said == "error: 'runs' holds other files\n  = fix: choose another folder with --out"
    assert Path("runs/thesis.txt").read_text() == "three years"


def program(*words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "xcompose.cli.main", *words], capture_output=True, text=True, timeout=120, **more
    )


def test_a_fault_of_our_own_is_no_traceback(monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr("xcompose.spec.check", broken)
    called = call("xcompose freeze mine.xc.yaml")

    assert called.code == 2
    assert called.said == (
        "internal error: RuntimeError: a wheel came off\n"
        "This is a fault of xcompose or of a plugin. XCOMPOSE_DEBUG=1 shows where."
    )


@pytest.mark.parametrize("words", [["--help"], ["explain", "XC031"], ["new", "other"]])
def test_light_commands_import_no_torch(words):
    if words[0] == "new":
        program("schema")  # after which nothing has to be imported to know every component
    code = (
        "import sys; from xcompose.cli.main import main; sys.argv = ['xcompose', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'lightning', 'matplotlib'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines()[-1] == "heavy: []"


def test_help_answers_at_once():
    program("--help")  # which compiles what is not yet compiled
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = program("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert ran.returncode == 0
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5  # seconds of work, not of waiting


def test_a_closed_pipe_is_no_traceback():
    ran = subprocess.run(
        f"{sys.executable} -m xcompose.cli.main list | head -1", shell=True, capture_output=True, text=True, timeout=120
    )

    assert "Traceback" not in ran.stderr
