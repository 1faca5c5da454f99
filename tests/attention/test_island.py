"""Islands of single precision, whoever casts around them, also where there are no data."""

from __future__ import annotations

import pytest
import torch

from xcompose.attention.island import cast_to, casting, exact, island

LOW, SINGLE, DOUBLE = torch.bfloat16, torch.float32, torch.float64
DEVICES = pytest.mark.parametrize("device", ["cpu", "meta"])


def made(device, dtype=SINGLE):
    generator = None if device == "meta" else torch.Generator().manual_seed(3)
    return tuple(torch.randn(*shape, generator=generator, dtype=dtype, device=device) for shape in ((3, 5), (5, 7)))


def around(a, b):
    before = a @ b
    with island(a, b) as (c, d):
        inside = torch.einsum("i j, j k -> i k", c, d)
    return before, inside, torch.nn.functional.linear(a, b.T)


def test_exact_gives_single_precision_at_least():
    given = (LOW, torch.float16, SINGLE, DOUBLE)
    assert [exact(torch.zeros(1, dtype=dtype)).dtype for dtype in given] == [SINGLE, SINGLE, SINGLE, DOUBLE]


@DEVICES
def test_products_are_cast_outside_of_islands_only(device):
    a, b = made(device)
    with casting(a.device, LOW):
        assert cast_to(a.device) == LOW
        assert [t.dtype for t in around(a, b)] == [LOW, SINGLE, LOW]
        assert [t.dtype for t in around(a.to(LOW), b.to(LOW))] == [LOW, SINGLE, LOW]
        with casting(a.device, None):
            assert cast_to(a.device) is None
            assert (a @ b).dtype == SINGLE
        assert (a @ b).dtype == LOW
    assert cast_to(a.device) is None
    assert [t.dtype for t in around(a, b)] == [SINGLE] * 3


@DEVICES
def test_double_precision_is_left_alone(device):
    a, b = made(device, DOUBLE)
    with casting(a.device, LOW):
        assert [t.dtype for t in around(a, b)] == [DOUBLE] * 3


def test_an_island_is_exact_to_the_bit():
    a, b = made("cpu")
    with casting(a.device, LOW):
        inside = around(a, b)[1]
    assert (inside == a @ b).all()


def test_an_island_ends_when_it_is_left_by_an_error():
    a, b = made("cpu")
    with casting(a.device, LOW):
        with pytest.raises(RuntimeError), island(a):
            torch.mm(torch.zeros(2, 3), torch.zeros(2, 3))
        assert (a @ b).dtype == LOW


def test_gradients_have_the_type_of_what_was_given():
    a, b = (t.to(LOW).requires_grad_() for t in made("cpu"))
    with casting(a.device, LOW):
        around(a, b)[1].sum().backward()
    assert a.grad is not None
    assert a.grad.dtype == LOW


def test_the_compiler_follows_islands():
    def run(a, b):
        with casting(a.device, LOW):
            return around(a, b)

    found = torch.compile(run, fullgraph=True, backend="eager")(*made("cpu"))
    assert [t.dtype for t in found] == [LOW, SINGLE, LOW]
    assert all((one == other).all() for one, other in zip(found, run(*made("cpu")), strict=True))
