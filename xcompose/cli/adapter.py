"""xcompose adapter: adapters of a trained model, in files of their own, on their base, or merged into it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcompose.cli.common import Format, FormatOption, console, print_json, usage_error

if TYPE_CHECKING:
    from xcompose.compose.model import Model

EXAMPLE = "Example:  xcompose adapter merge runs/tuned -o plain.safetensors"

app = typer.Typer(
    name="adapter",
    help="Adapters of a trained model: list them, save one alone, load some onto their base, merge them into it.",
    epilog=EXAMPLE,
    no_args_is_help=True,
    rich_markup_mode="rich",
)
Place = Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run, or a file of weights")]
Output = Annotated[Path, typer.Option("--output", "-o", help="the file to write")]


@app.command("list", epilog="Example:  xcompose adapter list runs/tuned")
def list_(place: Place, format: FormatOption = Format.text) -> None:
    """Show which adapters a model has, which of them act, and the hash of their base."""
    import xcompose as xc
    from xcompose.compose.adapter_files import base_hash
    from xcompose.compose.adapters import active, adapter_weights, adapters_of

    model = xc.load(place)
    sizes = {name: sum(p.numel() for p in adapter_weights(model, name).values()) for name in adapters_of(model)}
    acting, base = active(model), base_hash(model)
    if format is Format.json:
        found = [{"name": name, "active": name in acting, "parameters": size} for name, size in sizes.items()]
        print_json({"base": base, "adapters": found})
        return
    for name, size in sizes.items():
        state = "acts" if name in acting else "switched off"
        console.print(f"{name}: {size:,} parameters, {state}", markup=False, highlight=False)
    console.print(f"base: {base}", markup=False, highlight=False)


@app.command(epilog="Example:  xcompose adapter save runs/tuned --name lora -o lora.safetensors")
def save(
    place: Place,
    output: Output,
    name: Annotated[str | None, typer.Option(help="which one; need not be given where there is one only")] = None,
) -> None:
    """Write one adapter to a file of its own, with its part of the spec and the hash of its base."""
    import xcompose as xc
    from xcompose.compose.adapter_files import save_adapter
    from xcompose.compose.adapters import adapters_of

    _refuse_to_write_over(output, place)
    model = xc.load(place)
    there = adapters_of(model)
    if name is None and len(there) != 1:
        fix = f"--name {there[0]}" if there else "a run that trained adapters"
        raise usage_error(f"this model has {len(there) or 'no'} adapters", fix)
    path = save_adapter(model, name or there[0], output)
    console.print(f"wrote {path}: {name or there[0]}", markup=False, highlight=False)


@app.command(epilog="Example:  xcompose adapter load runs/base de.safetensors en.safetensors -o both.safetensors")
def load(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="the folder of a run, or a file of weights")],
    files: Annotated[list[Path], typer.Argument(metavar="ADAPTER", help="files of adapters")],
    output: Output,
    use: Annotated[list[str] | None, typer.Option(help="a new one that acts; all of them if not given")] = None,
) -> None:
    """Put adapters onto their base, and write the whole model; another base is refused."""
    import xcompose as xc
    from xcompose.compose.adapter_files import about_adapter, attach_adapter
    from xcompose.compose.weights import save_weights

    _refuse_to_write_over(output, base, *files)
    given = {str(file): about_adapter(file)["adapter"] for file in files}
    for file, name in given.items():
        first = next(other for other, there in given.items() if there == name)
        if first != file:
            said = f"two files hold an adapter called '{name}': {first} and {file}"
            raise usage_error(said, "train one of them under another name: name=...")
    for name in use or ():
        if name not in given.values():
            raise usage_error(f"none of these files holds '{name}'", f"they hold {', '.join(given.values())}")
    model = xc.load(base)
    for file, name in given.items():
        attach_adapter(model, file, acts=use is None or name in use)
    path = save_weights(model, output)
    console.print(f"wrote {path}: {_acting(model)} on {base}", markup=False, highlight=False)


@app.command(epilog=EXAMPLE)
def merge(
    place: Place,
    output: Output,
    use: Annotated[list[str] | None, typer.Option(help="one to merge; all that act if not given")] = None,
) -> None:
    """Make adapters part of the weights they change, and write the plain model; its spec has no adapters any more."""
    import xcompose as xc
    from xcompose.compose import adapters, tuned
    from xcompose.compose.weights import save_weights
    from xcompose.diagnostics import PartError

    _refuse_to_write_over(output, place)
    model = xc.load(place)
    if not adapters.adapters_of(model):
        raise usage_error("this model has no adapters", "a run that trained adapters")
    try:
        if use:
            adapters.use(model, *use)
        names = _acting(model)
        tuned.merge(model)
    except PartError as error:
        said = f"{error.message}: {error.label}" if error.label else error.message
        raise usage_error(said, "; ".join(error.fixes)) from error
    path = save_weights(model, output)
    console.print(f"wrote {path}: {names} merged", markup=False, highlight=False)


def _refuse_to_write_over(output: Path, *read: Path) -> None:
    """Refuse an output that is a file of a run, or one that is read to make it."""
    from xcompose.train.folder import RunFolder

    runs = (RunFolder(output.parent), RunFolder(output.parent.parent))
    files = [RunFolder(place).weights if place.is_dir() else place for place in read]
    own = next((run for run in runs if run.owns(output)), None)
    if own or output.resolve() in {file.resolve() for file in files}:
        why = f"belongs to the run '{own.path}'" if own else "is read here"
        raise usage_error(f"'{output}' {why}, and would be written over", "another file: --output FILE")


def _acting(model: Model) -> str:
    from xcompose.compose.adapters import active

    return " and ".join(active(model)) or "nothing"
