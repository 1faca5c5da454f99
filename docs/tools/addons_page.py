"""Writes docs/addons/matrix.md: every add-on behind every other one, on three kinds of mechanism.

    python docs/tools/addons_page.py              all pairs: some minutes
    python docs/tools/addons_page.py --quick      only what is refused is looked at again

A pair that composes is certified (all stages of `xcompose check`), trained for two steps, finished, saved and loaded.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

import xcompose as xc
from xcompose import registry
from xcompose.compose.build import build_model, finish_model, plan_model
from xcompose.compose.weights import load_weights, save_weights
from xcompose.diagnostics import SpecError
from xcompose.spec.model import Spec
from xcompose.train.learner import groups
from xcompose.verify.runner import check_spec

ROOT = Path(__file__).resolve().parents[2]
PAGE, FIGURES = ROOT / "docs" / "addons" / "matrix.md", ROOT / "docs" / "addons" / "matrix.json"
ADDONS = {
    "share": ("share(all)",),
    "share ffn": ("share(ffn)",),
    "universal": ("universal(2, positions=false)",),
    "bf16": ("precision(bf16)",),
    "bf16 stored": ("precision(bf16, weights=true)",),
    "int8": ("quantize(int8)",),
    "dynamic": ("quantize(int8-dynamic)",),
    "int4": ("quantize(int4, group=8)",),
    "aware": ("quantize(int8, aware=true)",),
    "adapter": ("adapter(3)",),
    "parallel": ("adapter(3, style=parallel, name=parallel)",),
    "lora": ("lora(3)",),
    "dora": ("lora(3, dora=true, name=dora)",),
    "merged": ("lora(3, merge=true, name=merged)",),
    "ia3": ("ia3",),
    "fusion": ("adapter(3, name=one)", "adapter(3, name=two)", "fusion(one, two)"),
}
"""What the page calls an add-on, and how a spec writes it."""
ALONE = "nothing"
"""What stands before an add-on that is alone."""
MECHANISMS = {
    "pattern": "attention(pattern=window(3) | global(1))",
    "kernel": "attention(score=linear)",
    "recurrence": "attention(recurrence=segments(6, memory=4), position=transformer-xl)",
}
"""One of each kind."""
VOCAB = 19


class Outcome(NamedTuple):
    """What became of a pair on one mechanism."""

    works: bool
    reason: str = ""
    """Why it is refused: message and label."""


def spec_of(mechanism: str, addons: Sequence[str]) -> dict:
    """A small decoder of one mechanism with these add-ons, as a user would write it."""
    model = {
        "type": "decoder", "dim": 16, "heads": 2, "vocab": VOCAB, "layers": 2, "ffn": "mlp(2x)",
        "mixer": MECHANISMS[mechanism],
    }  # fmt: skip
    return {"xcompose": 1, "model": model, "addons": list(addons)}


def pairs() -> Iterator[tuple[str, str]]:
    """Every add-on behind every add-on, itself too, and alone."""
    return itertools.product((ALONE, *ADDONS), ADDONS)


def refused(mechanism: str, first: str, then: str) -> Outcome | None:
    """The refusal of a pair, found without a tensor; None where it composes."""
    try:
        plan_model(read(mechanism, first, then))
    except SpecError as error:
        said = {f"{found.message}: {found.label}" if found.label else found.message for found in error.diagnostics}
        return Outcome(False, "; ".join(sorted(said)))
    return None


def read(mechanism: str, *names: str) -> Spec:
    """The resolved spec of these add-ons on a mechanism."""
    return xc.read(spec_of(mechanism, written_as(names)))


def written_as(names: Sequence[str]) -> list[str]:
    """Add-ons as a spec lists them."""
    return [one for name in names if name != ALONE for one in ADDONS[name]]


def outcome(mechanism: str, first: str, then: str) -> Outcome:
    """What becomes of a pair: refused, or certified, trained, finished, saved and loaded.

    Raises:
        AssertionError: it composes and does not keep what it promises.
    """
    torch.set_num_threads(1)
    known = refused(mechanism, first, then)
    if known is not None:
        return known
    certified(mechanism, first, then)
    trained(read(mechanism, first, then))
    return Outcome(True)


def certified(mechanism: str, *names: str) -> None:
    """Every stage of `check`, without a finding."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pair.xc.yaml"
        file.write_text(json.dumps(spec_of(mechanism, written_as(names))))
        report = check_spec(str(file))
    assert not report.findings, "; ".join(f"{f.message}: {f.label}" for f in report.findings)
    assert all(stage.status == "passed" for stage in report.stages), f"{names} on {mechanism}"


def trained(spec: Spec) -> None:
    """Two steps move what is to be trained and nothing else; the finished model is saved and loaded exactly."""
    model = build_model(spec, training=True).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    free = {name for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(groups(model), lr=1e-2)
    tokens = torch.randint(VOCAB, (3, 13), generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        loss = cross_entropy(model(tokens).logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = dict(model.named_parameters())
    moved = {name for name, p in after.items() if not same(p, before[name])}
    assert moved <= free, f"{sorted(moved - free)} is frozen, and moved"
    assert moved, "nothing was trained"
    finish_model(model)
    saved(model.eval(), spec, tokens)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are equal, also those that are made of others."""
    if is_traceable_wrapper_subclass(a):
        return all(same(getattr(a, part), getattr(b, part)) for part in a.__tensor_flatten__()[0])
    return torch.equal(a.detach(), b.detach())


def saved(model: torch.nn.Module, spec: Spec, tokens: torch.Tensor) -> None:
    """A model from another seed that loads the file answers the same, bit for bit."""
    other = build_model(spec, seed=7).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = save_weights(model, Path(folder) / "model.safetensors")
        load_weights(other, path)
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, other(tokens).logits), "a loaded model answers differently"


def outcomes(every: Sequence[tuple[str, str, str]], jobs: int = 2) -> dict[str, Outcome]:
    """What becomes of pairs, `share > adapter @ kernel`, several at a time."""
    with ProcessPoolExecutor(jobs) as pool:
        running = {key(*one): pool.submit(outcome, *one) for one in every}
        faults = {name: error for name, future in running.items() if (error := future.exception())}
    for name, error in faults.items():
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    if faults:
        raise SystemExit(f"{len(faults)} of {len(every)} cases compose and do not work")
    return {name: future.result() for name, future in running.items()}


def key(mechanism: str, first: str, then: str) -> str:
    return f"{first} > {then} @ {mechanism}"


def page(found: dict[str, Outcome]) -> str:
    """The page, from what became of every pair."""
    names = list(ADDONS)
    lines = [
        "# Which add-ons go together", "",
        "Written by `python docs/tools/addons_page.py`. Each cell is an add-on (row) with another one listed behind it",
        "(column), on a small decoder of each of three mechanisms:", "",
        *[f"- {kind}: `{written}`" for kind, written in MECHANISMS.items()], "",
        "✓ passes every stage of `xcompose check`, trains two steps in which nothing frozen moves, and is saved and",
        "loaded bit for bit, on all three. A number is the reason for which the pair is refused, below.", "",
        "| first, then | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1),
    ]  # fmt: skip
    reasons: dict[str, int] = {}
    for first in (ALONE, *names):
        cells = [cell([found[key(m, first, then)] for m in MECHANISMS], reasons) for then in names]
        title = f"{first}: `{', '.join(ADDONS[first])}`" if first in ADDONS else first
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", "## Reasons", "", *[f"{number}. {reason}" for reason, number in reasons.items()], ""]
    return "\n".join(lines)


def cell(each: Sequence[Outcome], reasons: dict[str, int]) -> str:
    """One cell: what holds on all mechanisms, or on each."""
    texts = ["✓" if one.works else str(reasons.setdefault(one.reason, len(reasons) + 1)) for one in each]
    if len(set(texts)) == 1:
        return texts[0]
    return ", ".join(f"{kind} {text}" for kind, text in zip(MECHANISMS, texts, strict=True))


def written() -> dict[str, Outcome]:
    """What the page was written from."""
    return {name: Outcome(*value) for name, value in json.loads(FIGURES.read_text()).items()}


def main(words: Sequence[str]) -> None:
    registry.load()
    every = [(m, first, then) for first, then in pairs() for m in MECHANISMS]
    if "--quick" in words:
        known = written()
        found = {key(*one): refused(*one) or known[key(*one)] for one in every}
    else:
        found = outcomes(every)
    FIGURES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(found))
    works = sum(one.works for one in found.values())
    print(f"{len(found)} cases: {works} work, {len(found) - works} are refused")


if __name__ == "__main__":
    main(sys.argv[1:])
