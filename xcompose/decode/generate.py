"""Generation: read the prompt at once, then one token after the other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xcompose.compose.model import Model


@torch.no_grad()
def stream(
    model: Model,
    prompt: Tensor,
    steps: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    mask: Tensor | None = None,
    source: Tensor | None = None,
    source_mask: Tensor | None = None,
) -> Iterator[Tensor]:
    """Tokens (b) that follow the prompt, one after the other.

    The model is put in evaluation mode while it runs and left as it was.

    Args:
        model: a decoder or encoder-decoder with an output over its vocabulary.
        prompt: (b n) int64; at least one token in each row.
        steps: how many tokens.
        temperature: 0 takes the likeliest token; above, logits are divided by it.
        top_k: only the k likeliest tokens are drawn; all if None.
        seed: of the draws.
        mask: (b n) bool, true where a prompt's token is; prompts of different lengths are padded anywhere.
        source: (b m) int64, for a model that reads one.
        source_mask: (b m) bool.

    Raises:
        ValueError: the model does not decode or predict tokens, a prompt is empty, or a number is out of range.
    """
    _check(model, prompt, mask, temperature, top_k)
    draws = torch.Generator(device=prompt.device).manual_seed(seed)
    before = model.training
    model.eval()
    try:
        state = model.start(len(prompt), source=source, source_mask=source_mask)
        out = model(prompt, mask=mask, state=state)
        logits = _last(out.logits, mask)
        for step in range(steps):
            token = _draw(logits, temperature, top_k, draws)
            yield token
            if step + 1 < steps:
                out = model(token[:, None], state=out.state)
                logits = out.logits[:, -1]
    finally:
        model.train(before)


def generate(model: Model, prompt: Tensor, steps: int, **how: object) -> Tensor:
    """The tokens (b steps) that follow the prompt; arguments as for `stream`."""
    tokens = list(stream(model, prompt, steps, **how))  # type: ignore[arg-type]
    return torch.stack(tokens, dim=1) if tokens else prompt.new_zeros(len(prompt), 0)


def refusal(model: Model) -> str:
    """Why no tokens can be drawn from a model, one after the other; empty where they can."""
    if not model.decodes:
        return "this model sees whole sequences and does not generate"
    if model.inputs.width is not None:
        return f"this model reads rows of {model.inputs.width} numbers, and drawn tokens are none"
    return "" if model.output.predicts_tokens else "this model does not predict tokens; write `output: lm`"


def _check(model: Model, prompt: Tensor, mask: Tensor | None, temperature: float, top_k: int | None) -> None:
    if reason := refusal(model):
        raise ValueError(reason)
    counts = prompt.shape[1] if mask is None else int(mask.sum(1).min())
    if counts < 1:
        raise ValueError("every prompt needs at least one token")
    if temperature < 0:
        raise ValueError(f"temperature is 0 or more, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is 1 or more, not {top_k}")


def _last(logits: Tensor, mask: Tensor | None) -> Tensor:
    """The logits (b v) behind the last token of each row (b n v)."""
    if mask is None:
        return logits[:, -1]
    places = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, places, -1).amax(1)
    return logits[torch.arange(len(logits), device=logits.device), last]


def _draw(logits: Tensor, temperature: float, top_k: int | None, draws: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=draws)[:, 0]
