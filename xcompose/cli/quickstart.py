"""xcompose quickstart: check, train, generate, compare and draw, once, with the specs that ship."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from xcompose.cli.common import console, print_findings, read_budget, usage_error
from xcompose.cli.workers import Job, cores

if TYPE_CHECKING:
    from xcompose.compare.candidates import Candidate, Recipe
    from xcompose.spec.bounds import Budget
    from xcompose.train.run import RunResult

EXAMPLE = "Example:  xcompose quickstart  ·  xcompose quickstart --budget 30s"

TRAINED = "beyond/window-then-linear.xc.yaml@tiny"
COMPARED = (
    "beyond/dense-12m.xc.yaml@tiny",
    "beyond/window-12m.xc.yaml@tiny",
    "beyond/linear-12m.xc.yaml@tiny",
    TRAINED,
)
RECIPE = "recipes/bytes-2min.xc.yaml"
SHARE = 4
"""A run of the comparison gets one part in so many of the training's budget."""
PROMPT, TOKENS = "def __init__(self", 240
MARK = "quickstart.json"


def run(
    budget: Annotated[str, typer.Option(help="of the training: 2min, 200 steps; compared runs get a quarter")] = "2min",
    out: Annotated[Path, typer.Option(help="the folder that everything goes to")] = Path("runs/quickstart"),
    specs: Annotated[Path, typer.Option(help="the folder of the specs that ship")] = Path("specs"),
) -> None:
    """Show what xcompose does: check some specs, train one for two minutes, let it write, compare four, draw them.

    About five minutes on two cores. Asks nothing; a second run replaces what the first one wrote.
    """
    how_long = read_budget(budget)
    missing = [name for name in (*COMPARED, RECIPE) if not (specs / name.partition("@")[0]).is_file()]
    if missing:
        raise usage_error(f"there is no {specs / missing[0].partition('@')[0]}", "run it in the folder of the project")
    from xcompose.allocator import keep_memory
    from xcompose.train.run import require_extra

    require_extra()
    keep_memory()
    _make_room(out)
    began = time.perf_counter()
    environment()
    sound = check_specs(specs)
    trained = train_one(specs, how_long, out / "trained")
    generate_from(trained.folder)
    compare_some(specs, how_long, out / "compare")
    pictures = draw_some(specs, out / "pictures")
    name_files(out, trained, pictures, time.perf_counter() - began)
    if not sound:
        raise typer.Exit(1)


def _make_room(out: Path) -> None:
    """An empty folder, where there was none or one of an earlier quickstart."""
    if out.exists() and not (out.is_dir() and ((out / MARK).exists() or not any(out.iterdir()))):
        raise usage_error(f"'{out}' holds other files", "choose another folder with --out")
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARK).write_text('{"made by": "xcompose quickstart, which replaces this folder"}\n')


def _step(number: int, title: str, said: str = "") -> None:
    console.print(f"\n[bold]{number}/5  {title:<12}[/bold] ", end="")
    console.print(said, markup=False)


def environment() -> None:
    """Step 1: what this runs on."""
    import torch

    graphics = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    _step(
        1, "environment", f"Python {platform.python_version()}, torch {torch.__version__}, {cores()} cores, {graphics}"
    )


def check_specs(specs: Path) -> bool:
    """Step 2: some of the shipped specs with their variants, through every stage; whether all is well."""
    from xcompose.cli.check import check
    from xcompose.spec import find_specs
    from xcompose.verify.results import STAGES

    some = specs / "beyond"
    files = [str(path) for path in find_specs([str(some)])]
    _step(2, "check", f"every spec in {some}/: what it promises is measured")
    report = check(files, Job((), STAGES, 0))
    if report.findings:
        print_findings(report.findings)
    if not report.ok:
        console.print(report.table(), markup=False)
    console.print(f"     {report.summary()}   {report.seconds:.0f} s", markup=False)
    return report.ok


def train_one(specs: Path, budget: Budget, folder: Path) -> RunResult:
    """Step 3: a small model that mixes windows, global tokens and a linear layer."""
    from xcompose import registry
    from xcompose.spec import load
    from xcompose.train.run import train

    known = registry.load()
    spec = load(str(specs / TRAINED), catalogue=known.catalogue)
    _step(3, "train", f"{spec.name} on the source text of Python's standard library, {budget}")
    result = train(attrs.evolve(spec, train={**spec.train, "budget": budget}), folder, registry=known, console=console)
    metric = result.metric.replace("_", " ")
    numbers = f"train {result.train[result.metric]:.2f}, held out {result.valid[result.metric]:.2f} {metric}"
    console.print(f"     {result.parameters:,} parameters, {result.steps} steps: {numbers}", markup=False)
    return result


def generate_from(folder: Path) -> None:
    """Step 4: what the model writes, token by token, with a state that does not grow."""
    import torch

    from xcompose.decode.generate import stream
    from xcompose.spec.formats import format_bytes
    from xcompose.train.run import load_run

    model, _ = load_run(folder)
    _step(4, "generate", f"what it writes behind {PROMPT!r}, with a state of {format_bytes(model.state_bytes(2**20))}")
    start = torch.tensor([list(PROMPT.encode())])
    began = time.perf_counter()
    written = bytes(int(token) for token in stream(model, start, TOKENS, temperature=0.7, seed=0))
    for line in (PROMPT + written.decode(errors="replace")).splitlines():
        console.print(f"     │ {_visible(line)}", markup=False)
    console.print(f"     {TOKENS / (time.perf_counter() - began):,.0f} bytes/s", markup=False)


def _visible(line: str) -> str:
    return "".join(c if c.isprintable() else "·" for c in line.expandtabs(4))


def compare_some(specs: Path, budget: Budget, folder: Path) -> None:
    """Step 5: four models of one size, by one recipe."""
    from xcompose import registry
    from xcompose.compare.compare import compare
    from xcompose.compare.table import text

    known = registry.load()
    found, recipe = _contest(specs, budget)
    _step(5, "compare", f"{len(found)} models of one size, {recipe.train['budget']} each, and pictures of them")
    result = compare(found, recipe, folder, registry=known, console=console)
    console.print()
    console.print(text(result), markup=False)


def _contest(specs: Path, budget: Budget) -> tuple[tuple[Candidate, ...], Recipe]:
    from xcompose import registry
    from xcompose.compare.candidates import candidates, recipe_of
    from xcompose.spec import load

    catalogue = registry.load().catalogue
    found = candidates([str(specs / name) for name in COMPARED], (), catalogue)
    recipe = recipe_of(load(str(specs / RECIPE), catalogue=catalogue), found, catalogue)
    return found, attrs.evolve(recipe, train={**recipe.train, "budget": shorter(budget)})


def shorter(budget: Budget) -> Budget:
    """A quarter of a budget; one step at least."""
    amount: Any = budget.amount / SHARE
    if budget.unit != "seconds":
        amount = max(1, round(amount))
    return attrs.evolve(budget, amount=amount, text="")


def draw_some(specs: Path, folder: Path) -> Sequence[Path]:
    """Pictures of who reads whom, one for each of the compared models."""
    from xcompose import registry
    from xcompose.compare.draw import draw
    from xcompose.compose.build import plan_model
    from xcompose.spec import load

    folder.mkdir()
    catalogue = registry.load().catalogue
    read = [load(str(specs / name), catalogue=catalogue) for name in COMPARED]
    return [draw(plan_model(spec), folder / f"{spec.name}.png") for spec in read]


def name_files(out: Path, trained: RunResult, pictures: Sequence[Path], seconds: float) -> None:
    """Say what was written, and what to do next."""
    from xcompose.spec.formats import format_bytes

    weights, checkpoint = trained.folder / "model.safetensors", trained.folder / "checkpoints" / "last.ckpt"
    lines = [
        (out / "compare" / "report.html", "losses, speeds, costs and pictures: open it in a browser"),
        (weights, f"the trained weights, {format_bytes(weights.stat().st_size)}"),
        (checkpoint, "to go on from"),
        (trained.folder / "spec.xc.yaml", "what was built, with every default"),
        (trained.folder / "loss.png", "how training went"),
        (out / "pictures", f"who reads whom: {', '.join(p.name for p in pictures)}"),
    ]
    width = max(len(str(path)) for path, _ in lines)
    console.print(f"\nWritten in {seconds / 60:.1f} minutes:")
    for path, what in lines:
        console.print(f"  {str(path):<{width}}   {what}", markup=False)
    console.print("Next:  xcompose new mine  ·  xcompose train mine.xc.yaml --budget 2min", markup=False)
