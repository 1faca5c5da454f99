"""How long a model takes."""

from __future__ import annotations

import pytest
import torch

from xcompose.search import latency
from xcompose.search.latency import machine, measure
from xcompose.spec import load_text

from .small import registry

REGISTRY = registry()


def spec(text: str):
    return load_text(f"xcompose: 1\nmodel: {text}\n", catalogue=REGISTRY.catalogue)


def test_it_is_the_median_of_runs_behind_a_warm_up(monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 11.0, 20.0, 29.0, 30.0, 33.0, 40.0, 42.0, 50.0, 54.0, 60.0, 67.0])
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(clock))

    assert measure(spec("{type: decoder, dim: 8, heads: 2, layers: 1, vocab: 11}"), 5, REGISTRY) == 4.0


def test_it_runs_on_one_thread_and_leaves_no_trace(monkeypatch):
    seen, before = [], torch.get_num_threads()
    torch.set_num_threads(2)
    real = latency.time.perf_counter
    monkeypatch.setattr(latency.time, "perf_counter", lambda: seen.append(torch.get_num_threads()) or real())

    assert measure(spec("{type: decoder, dim: 8, heads: 2, layers: 1, vocab: 11}"), 5, REGISTRY) > 0
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_a_model_of_two_sequences_is_given_both():
    model = "{type: encoder-decoder, dim: 8, heads: 2, vocab: 11, encoder: {layers: 1}, decoder: {layers: 1}}"

    assert measure(spec(model), 5, REGISTRY) > 0


def test_a_length_that_the_model_does_not_take_is_refused():
    with pytest.raises(ValueError, match="a sequence of 5 tokens is longer than the 4 places of position 'learned'"):
        measure(spec("{type: decoder, dim: 8, heads: 2, layers: 1, vocab: 11, length: 4, position: learned}"), 5)


def test_the_machine_is_named():
    found = machine()

    assert found["threads"] == 1
    assert found["processor"]
