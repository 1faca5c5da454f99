"""xcompose generate: text from a trained run, or pictures, where its task is about these."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from xcompose.cli.common import Format, FormatOption, console, print_json, usage_error

if TYPE_CHECKING:
    from xcompose.compose.model import Model
    from xcompose.compose.tasks import Shown

EXAMPLE = 'Example:  xcompose generate runs/window-then-linear@tiny --prompt "def main("'
PROMPT, TOKENS, COUNT = "\n", 200, 16


def run(
    run_: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")],
    prompt: Annotated[str | None, typer.Option(help="what the text begins with; a new line if not given")] = None,
    source: Annotated[str | None, typer.Option(help="what a model that reads a source reads: a line")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help=f"how many to generate; {TOKENS} if not given")] = None,
    count: Annotated[int | None, typer.Option(min=1, help=f"how many pictures; {COUNT} if not given")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the file of pictures; default in RUN")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest each time")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="draw among the likeliest only")] = None,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
    format: FormatOption = Format.text,
) -> None:
    """Generate from a run's model, token by token, with the state that its mixers keep."""
    from xcompose.decode.generate import refusal
    from xcompose.train.prepare import task_of
    from xcompose.train.run import load_run

    if prompt == "":
        raise usage_error("an empty prompt gives nothing to go on", '--prompt "\\n"')
    model, spec = load_run(run_)
    if reason := refusal(model):
        raise usage_error(reason, "generate from the run of a decoder")
    if model.reads_source and not source:
        raise usage_error("this model reads a source", '--source "A dog runs."')
    if source is not None and not model.reads_source:
        raise usage_error("this model reads no source", "leave --source out")
    longest = model.source_length
    if source and longest is not None and len(source.encode()) > longest:
        raise usage_error(f"a source of {len(source.encode())} bytes, and the model reads {longest}", "a shorter one")
    task = task_of(spec.task, model) if spec.task else None
    shown = task.shown() if task else None
    how = {"temperature": temperature, "top_k": top_k, "seed": seed}
    if shown is None:
        _refuse("text", {"--count": count, "--output": output})
        opening, ending = (task.opening, task.ending) if task else ((), None)
        begun = ("" if opening else PROMPT) if prompt is None else prompt
        _write(model, begun, Around(opening, ending, source), tokens or TOKENS, how, format)
    else:
        _refuse(shown.what, {"--prompt": prompt, "--tokens": tokens})
        _draw(model, shown, count or COUNT, output or run_ / f"generated{shown.suffix}", how, format)


def _refuse(what: str, given: Mapping[str, Any]) -> None:
    for option, value in given.items():
        if value is not None:
            raise usage_error(f"this run generates {what}, for which {option} means nothing", f"leave {option} out")


class Around(NamedTuple):
    """What stands around a text that is written."""

    opening: tuple[int, ...]
    ending: int | None
    source: str | None


def _write(model: Model, prompt: str, around: Around, tokens: int, how: Mapping[str, Any], format: Format) -> None:
    """Text, shown as it comes."""
    import torch

    from xcompose.decode.generate import stream

    start = torch.tensor([[*around.opening, *prompt.encode()]])
    source = None if around.source is None else torch.tensor([list(around.source.encode())])
    if model.vocab != 256:
        raise usage_error(
            f"the model reads {model.vocab} tokens, not bytes", "generate from Python: xcompose.decode.generate"
        )
    out = bytearray()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    if format is Format.text:
        sys.stdout.write(prompt)
    for token in stream(model, start, tokens, source=source, **how):
        if int(token) == around.ending:
            break
        out.append(int(token))
        if format is Format.text:
            sys.stdout.write(decoder.decode(bytes(out[-1:])))
            sys.stdout.flush()
    if format is Format.json:
        given = {} if around.source is None else {"source": around.source}
        print_json({"prompt": prompt, **given, "text": out.decode(errors="replace"), "tokens": list(out)})
    else:
        sys.stdout.write("\n")


def _draw(model: Model, shown: Shown, count: int, file: Path, how: Mapping[str, Any], format: Format) -> None:
    """Pictures, in one file."""
    from xcompose.decode.generate import generate
    from xcompose.train.folder import write_atomically

    drawn = generate(model, shown.opening.expand(count, -1), shown.steps, **how)
    write_atomically(file, shown.write(drawn))
    if format is Format.json:
        print_json({"output": str(file), "tokens": drawn.tolist()})
    else:
        console.print(f"wrote {file}: {count} {shown.what}", markup=False, highlight=False)
