"""Attention of fixed patterns as the compiler and the exporter see it: no graph break, and the same numbers."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.attention.reading import PATTERNS
from xcompose.api import BEFORE_TIME, Axis, Read, Slots, Term
from xcompose.attention.attend import attend

N, C, H = 67, 24, 4


class Offsets(nn.Module, Term):
    """A trained number for each head and distance."""

    trainable = True

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(H, 9))

    def label(self, q, k):
        return (q.at - k.at).clamp(-4, 4) + 4

    def bias(self, q, labels):
        return self.table[:, labels]


class Toy(nn.Module):
    """Attention of one pattern, with a memory of learned slots beside the tokens."""

    def __init__(self, pattern, causal=True, *, term=False, memory=False):
        super().__init__()
        torch.manual_seed(0)
        self.pattern, self.causal = pattern, causal
        self.project, self.out = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.terms = nn.ModuleList([Offsets()] if term else [])
        self.slots = nn.Parameter(torch.randn(7, H, C // H)) if memory else None

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (H, -1)) for t in self.project(x).chunk(3, -1))
        axis = Axis(range(x.shape[1]))
        reads = [Read(q, axis, Slots(k, v, axis.at), self.pattern, self.causal, 0.4, terms=tuple(self.terms))]
        if self.slots is not None:
            slots = self.slots.expand(x.shape[0], -1, -1, -1)
            always = Slots(slots, slots, range(7), end=BEFORE_TIME)
            reads.append(Read(q, axis, always, PATTERNS["dense"], self.causal, 0.4))
        return self.out(attend(reads).flatten(2))


def rows(n=N):
    return torch.randn(2, n, C, generator=torch.Generator().manual_seed(1))


def with_gradients(run, module, x):
    module.zero_grad()
    out = run(x)
    out.square().sum().backward()
    return [out, *(p.grad.clone() for p in module.parameters())]


def agree(module, x, **options):
    compiled = torch.compile(module, fullgraph=True, **options)
    for a, b in zip(with_gradients(compiled, module, x), with_gradients(module, module, x), strict=True):
        assert (a - b).abs().max() <= 1e-5 * (1 + b.abs().max())


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["longformer", "dense", "random"])
def test_compiles_without_a_graph_break(name):
    agree(Toy(PATTERNS[name]), rows(), backend="aot_eager")


def test_compiles_with_several_reads():
    agree(Toy(PATTERNS["longformer"], False, memory=True), rows(), backend="aot_eager")


def test_compiles_with_trained_terms():
    agree(Toy(PATTERNS["longformer"], term=True), rows(), backend="aot_eager")


@pytest.mark.slow
def test_compiles_to_machine_code():
    agree(Toy(PATTERNS["longformer"]), rows())


def test_another_length_is_compiled_anew():
    module = Toy(PATTERNS["longformer"])
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for n in (N, 43, 89):
        assert (compiled(rows(n)) - module(rows(n))).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["longformer", "dense"])
def test_exports(name):
    module = Toy(PATTERNS[name], memory=True)
    exported = torch.export.export(module, (rows(),))
    assert (exported.module()(rows()) - module(rows())).abs().max() < 1e-6


@pytest.mark.slow
def test_an_exported_program_runs_where_the_pattern_is_unknown(tmp_path):
    """The plan is part of the program."""
    module = Toy(PATTERNS["longformer"])
    torch.export.save(torch.export.export(module, (rows(),)), tmp_path / "toy.pt2")
    torch.save((rows(), module(rows()).detach()), tmp_path / "rows.pt")
    code = f"""
import torch
import xcompose.attention.fused
x, wanted = torch.load({str(tmp_path / "rows.pt")!r})
found = torch.export.load({str(tmp_path / "toy.pt2")!r}).module()(x)
assert (found - wanted).abs().max() < 1e-6
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("term", [False, True])
def test_runs_on_the_meta_device(term):
    module = Toy(PATTERNS["longformer"], term=term, memory=True).to("meta")
    out = module(torch.empty(2, 1021, C, device="meta"))
    out.sum().backward()
    assert out.shape == (2, 1021, C)
