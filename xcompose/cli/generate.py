"""xcompose generate: text from a trained run."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import Annotated

import typer

from xcompose.cli.common import Format, FormatOption, print_json, usage_error

EXAMPLE = 'Example:  xcompose generate runs/window-then-linear@tiny --prompt "def main("'


def run(
    run_: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")],
    prompt: Annotated[str, typer.Option(help="what the text begins with")] = "\n",
    tokens: Annotated[int, typer.Option(min=1, help="how many to generate")] = 200,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest each time")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="draw among the likeliest only")] = None,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
    format: FormatOption = Format.text,
) -> None:
    """Generate from a run's model, token by token, with the state that its mixers keep."""
    import torch

    from xcompose.decode.generate import stream
    from xcompose.train.run import load_run

    if not prompt:
        raise usage_error("an empty prompt gives nothing to go on", '--prompt "\\n"')
    model, _ = load_run(run_)
    start = torch.tensor([list(prompt.encode())])
    if model.vocab != 256:
        raise usage_error(
            f"the model reads {model.vocab} tokens, not bytes", "generate from Python: xcompose.decode.generate"
        )
    out = bytearray()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    if format is Format.text:
        sys.stdout.write(prompt)
    for token in stream(model, start, tokens, temperature=temperature, top_k=top_k, seed=seed):
        out.append(int(token))
        if format is Format.text:
            sys.stdout.write(decoder.decode(bytes(out[-1:])))
            sys.stdout.flush()
    if format is Format.json:
        print_json({"prompt": prompt, "text": out.decode(errors="replace"), "tokens": list(out)})
    else:
        sys.stdout.write("\n")
