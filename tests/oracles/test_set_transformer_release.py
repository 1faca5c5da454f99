"""The Set Transformer against the authors' release, juho-lee/set_transformer at 73432c6: the preset `authors`.

The numbers below are what its `SetTransformer(3, 2, 5, num_inds=3, dim_hidden=8, num_heads=2, ln=...)` gave in float64
for the rows `wave((2, 5, 3), 0.5)`, parameter number i of `named_parameters()` being `wave(shape, i)`, with the
gradients of its rows for `wave((2, 2, 5), 3)` upstream.

Mapping: fc_q, fc_k, fc_v are q, k, v; fc_o is the single layer behind them; ln0 and ln1 are the norms around it; I and
S are points and seeds; mab0 is the layer inside the memory, mab1 the layer itself.
Its quirks: products are divided by the root of the whole width; heads add their query and there is no projection behind
them; rows go to the seeds as they are. Its first layer reads rows of 3 numbers, ours are filled up to the width by the
embedding; its last layer answers for each seed, ours for all together, so its matrix stands on the diagonal.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import xcompose as xc

pytestmark = pytest.mark.oracle
ROWS, WIDTH, SEEDS, CLASSES, POINTS = 3, 8, 2, 5, 3

ANSWERS = [
    0.1393964210244, -1.9541634568104, -1.4435125441206, 0.0632684995723, 0.9190499521784, 0.0610841740463,
    -2.1108629810356, -1.5255678414656, 0.1359919772908, 1.0755310373107, 0.1391196347355, -1.954023921035,
    -1.4430929558051, 0.0635583738295, 0.9189270234923, 0.0607859536845, -2.1107595940662, -1.5251638140538,
    0.1363020752008, 1.075444366576,
]  # fmt: skip
GRADIENTS = [
    0.0067989365653, 0.0185764224207, -0.0115858760705, -0.0232873171027, 0.0380761141985, 0.0134755217454,
    0.0016414965709, 0.0360152670116, -0.010922234301, 0.0067908243048, 0.0066521203677, -0.0085050024743,
    0.0190315218439, 0.0023915938506, -0.0196478092444, -0.0079008245008, 0.0012013303261, 0.0075912549041,
    0.0045333680977, -0.0018906681729, -0.0040461637284, 0.0007206257727, -0.0161226159403, 0.0034339948224,
    -0.0026566245613, -0.0185554483132, 0.00743815927, -0.0051304415453, -0.0109336769495, 0.0079479297,
]  # fmt: skip
NORMED_ANSWERS = [
    -1.7670356226615, -0.9561389897006, 0.0302475437686, 1.2097010256346, 1.9086747143221, -1.7413408475868,
    -0.9669563295423, -0.0065177832755, 1.1828924362116, 1.9180039168867, -1.7670427817317, -0.9561341781073,
    0.0302596270617, 1.20970858018, 1.9086703624111, -1.7413050160052, -0.9669688995192, -0.0065664790719,
    1.1828551705218, 1.9180144746785,
]  # fmt: skip
NORMED_GRADIENTS = [
    8.02009668e-05, -0.0001735780582, -3.54718125e-05, 0.0001650634801, -6.02510062e-05, -0.0001495374592,
    0.0002347611547, -1.79897624e-05, -0.000230125391, 0.0003010232952, -0.0002807663938, -0.0002286728872,
    9.86810345e-05, -0.0002678999146, -2.96461764e-05, 9.35818698e-05, -0.0003339311766, -7.5314827e-06,
    9.35133825e-05, -0.0001362586964, -5.84010168e-05, 2.7642776e-05, -0.0001232614514, 4.1203427e-06,
    0.0002663667381, -0.0004430264887, -0.0001522036904, 0.0002974415089, -0.000707748034, -0.0001150626338,
]  # fmt: skip

SEEDED = f"seeds={SEEDS}, layers=2"
THEIRS = "scale=dim, add_query=true, out=false"
NAMES = {
    "fc_q.": "{mixer}.q.", "fc_k.": "{mixer}.k.", "fc_v.": "{mixer}.v.", "ln0.": "{around}residual.norms.0.",
    "ln1.": "{around}residual.norms.1.", "fc_o.": "{around}ffn.linear.",
}  # fmt: skip
"""Parts of a MAB in the order of its parameters, and their places here."""


def wave(shape: tuple[int, ...], phase: float) -> Tensor:
    count = torch.Size(shape).numel()
    return 0.6 * torch.sin(1.7 * torch.arange(count, dtype=torch.float64) + phase).reshape(shape)


def mab(mixer: str, around: str, norm: bool, reads: tuple[int, int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Our names of the parameters of a MAB, and their shapes; `reads` are the widths of queries and of keys."""
    for name, place in NAMES.items():
        if norm or not name.startswith("ln"):
            ours = place.format(mixer=mixer, around=around)
            width = {"fc_q.": reads[0], "fc_k.": reads[1], "fc_v.": reads[1]}.get(name, WIDTH)
            yield ours + "weight", (WIDTH,) if name.startswith("ln") else (WIDTH, width)
            yield ours + "bias", (WIDTH,)


def parameters(norm: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    for layer in range(2):
        block, width = f"stack.layers.{layer}.", WIDTH if layer else ROWS
        memory = f"{block}mixer.inner.memory.0."
        yield f"{memory}points", (POINTS, WIDTH)
        yield from mab(f"{memory}read.cross", f"{memory}read.", norm, (WIDTH, width))
        yield from mab(f"{block}mixer", block, norm, (width, WIDTH))
    yield "output.seeds", (SEEDS, WIDTH)
    yield from mab("output.pool.cross", "output.pool.", norm, (WIDTH, WIDTH))
    for layer in range(2):
        yield from mab(f"output.talk.{layer}.mixer", f"output.talk.{layer}.", norm, (WIDTH, WIDTH))
    yield "output.linear.weight", (CLASSES, WIDTH)
    yield "output.linear.bias", (CLASSES,)


def authors(norm: bool):
    keys = {
        "type": "encoder", "dim": WIDTH, "heads": 2, "layers": 2, "embedding": f"vectors({ROWS})", "position": "none",
        "ffn": "single", "norm": "layer" if norm else "none", "residual": "post-norm(around=ffn)",
        "mixer": f"attention(pattern=none, memory=inducing({POINTS}, mixer=attention({THEIRS})), {THEIRS})",
        "output": f"pooled-classify({SEEDS * CLASSES}, {SEEDED}, before=none, mixer=attention({THEIRS}))",
    }  # fmt: skip
    made = xc.build({"xcompose": 1, "model": keys}, dtype=torch.float64)
    weights = {"embedding.project.weight": torch.eye(WIDTH, ROWS), "embedding.project.bias": torch.zeros(WIDTH)}
    for number, (name, shape) in enumerate(parameters(norm)):
        weights[name] = wave(shape, number)
    last = [weights["output.linear.weight"].double()] * SEEDS
    weights |= {"output.linear.weight": torch.block_diag(*last)}
    weights |= {"output.linear.bias": weights["output.linear.bias"].repeat(SEEDS)}
    assert {name for name, _ in made.named_parameters()} == set(weights)
    with torch.no_grad():
        for name, p in made.named_parameters():
            given = weights[name]
            p.zero_()
            p[tuple(slice(0, size) for size in given.shape)] = given.to(p)
    return made


@pytest.mark.parametrize(
    ("norm", "answers", "gradients"),
    [(False, ANSWERS, GRADIENTS), (True, NORMED_ANSWERS, NORMED_GRADIENTS)],
    ids=["bare", "norm"],
)
def test_answers_and_gradients_are_those_of_the_release(norm, answers, gradients):
    x = wave((2, 5, ROWS), 0.5).requires_grad_()
    found = authors(norm)(x).logits
    (gradient,) = torch.autograd.grad(found, x, wave((2, SEEDS, CLASSES), 3).flatten(1))

    torch.testing.assert_close(found.flatten(), torch.tensor(answers, dtype=torch.float64), rtol=0, atol=1e-11)
    torch.testing.assert_close(gradient.flatten(), torch.tensor(gradients, dtype=torch.float64), rtol=0, atol=1e-11)
