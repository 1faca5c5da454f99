"""Small models that keep the contract, written naively, and the faults that can be planted in them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from xcompose.attention.reads import Axis, Slots
from xcompose.compose.parts import (
    FFN,
    Embedding,
    Memory,
    Mixed,
    Mixer,
    ModelOut,
    Norm,
    Output,
    Spans,
    State,
    Visible,
)
from xcompose.diagnostics import Span
from xcompose.spec.model import Layer, Node
from xcompose.verify.subject import Subject

VOCAB, DIM, N = 11, 6, 17


class Windowed(Mixer):
    """Softmax attention of one head over the last w + 1 rows (causal), or w on each side; one fault at most."""

    def __init__(self, w: int = 4, causal: bool = True, fault: str = ""):
        super().__init__()
        self.dim, self.w, self.causal, self.fault = DIM, w, causal, fault
        self.q, self.k, self.v, self.out = (nn.Linear(DIM, DIM) for _ in range(4))
        self.unused = nn.Linear(DIM, DIM) if fault == "dead parameter" else None

    def allows(self, i: Tensor, j: Tensor) -> Tensor:
        w = self.w - (self.fault == "hides one")
        near = ((i - j).abs() <= w) if not self.causal else (i - j <= w)
        ahead = 1 if self.fault == "leaks by one" else 0
        allowed = near & ((j <= i + ahead) if self.causal else near)
        return allowed & (i == j) if self.fault == "wrong axis" else allowed

    def mix(self, x: Tensor, axis: Axis, source=None) -> Mixed:
        at = places(axis, x)
        valid = torch.ones_like(at, dtype=torch.bool) if axis.valid is None else axis.valid
        return Mixed(self.attend(x, at, x, at, valid, axis))

    def attend(self, x: Tensor, at: Tensor, rows: Tensor, there: Tensor, valid: Tensor, axis: Axis) -> Tensor:
        if self.fault == "cuts some rows off":
            rows = rows * (rows.sum(-1, keepdim=True) > 0)
        logits = self.q(x) @ self.k(rows).mT / DIM**0.5
        allowed = self.allows(at[:, :, None], there[:, None, :])
        if self.fault != "padding in the denominator":
            allowed = allowed & valid[:, None, :]
        if self.fault == "redrawn" and torch.rand(()) > -1:
            allowed = allowed & (torch.rand(allowed.shape) > 0.3)
        if self.fault == "differs in training" and self.training:
            logits = logits * 2
        if self.fault == "differs in float32" and x.dtype == torch.float32:
            logits = logits + 0.01 * logits.cumsum(-1)
        weights = logits.masked_fill(~allowed, -torch.inf).softmax(-1).nan_to_num(0.0)
        if self.fault == "chooses by the future":
            weights = weights * (1 + (rows.sum((1, 2), keepdim=True) > 0).to(x))
        if self.fault == "statistic over time":
            weights = weights / (1 + rows.abs().amax((1, 2), keepdim=True))
        if self.fault == "works more in truth" and not x.is_meta:
            weights = weights @ torch.eye(rows.shape[1]).to(x)
        out = self.out(weights @ self.v(rows))
        if self.fault == "gradient stopped":
            out = self.out((weights @ self.v(rows)).detach())
        return out if axis.valid is None else out * axis.valid[..., None]

    def start(self, batch: int, like: Tensor) -> dict[str, Tensor]:
        return {"x": like.new_zeros(batch, 0, DIM), "at": torch.zeros(batch, 0, dtype=torch.long)}

    def extend(self, x: Tensor, axis: Axis, state, source=None) -> Mixed:
        at = places(axis, x)
        valid = torch.ones_like(at, dtype=torch.bool) if axis.valid is None else axis.valid
        # Absent rows are put where no later query looks.
        own = torch.where(valid, at, -(10**6))
        rows, there = torch.cat([state["x"], x], 1), torch.cat([state["at"], own], 1)
        out = self.attend(x, at, rows, there, there >= 0, Axis(axis.at, axis.valid))
        keep = self.w - (self.fault == "cache one short") + 5 * (self.fault == "keeps too much")
        if self.fault == "time of the first row":
            there = there[:1].expand_as(there)
        order = there.argsort(dim=1, stable=True)[:, -keep:]
        kept = rows.gather(1, order[..., None].expand(-1, -1, DIM))
        return Mixed(out, {"x": kept, "at": there.gather(1, order)})

    def state_shape(self, n: int):
        kept = min(n, self.w + (self.fault == "says too much"))
        return {"x": (kept, DIM), "at": (kept,)}

    def visible(self, n: int):
        i, j = torch.arange(n)[:, None], torch.arange(n)
        w = self.w - (self.fault == "declares one less")
        near = (i - j <= w) & (j <= i) if self.causal else (i - j).abs() <= w
        return (Visible(f"window {w}", 1, near.numpy(), True),)


class TwoWindows(Windowed):
    """Two heads; the second one, if faulty, is narrower than it says, and the first one hides that."""

    def attend(self, x: Tensor, at: Tensor, rows: Tensor, there: Tensor, valid: Tensor, axis: Axis) -> Tensor:
        q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in (self.q(x), self.k(rows), self.v(rows)))
        distance = at[:, None, :, None] - there[:, None, None, :]
        reach = torch.tensor([self.w, 2 - (self.fault == "second head hides one")])[None, :, None, None]
        allowed = (distance >= 0) & (distance <= reach) & valid[:, None, None, :]
        weights = (q @ k.mT).masked_fill(~allowed, -torch.inf).softmax(-1).nan_to_num(0.0)
        return self.out((weights @ v).transpose(1, 2).flatten(2))

    def visible(self, n: int):
        i, j = torch.arange(n)[:, None], torch.arange(n)
        return tuple(
            Visible(f"head {h}", 1, ((i - j <= w) & (j <= i)).numpy(), True) for h, w in enumerate((self.w, 2))
        )


class BlockMeans(Mixer):
    """Adds the mean of the finished blocks of f rows."""

    def __init__(self, f: int = 3, fault: str = ""):
        super().__init__()
        self.dim, self.f, self.early = DIM, f, fault == "memory a step early"
        self.value = nn.Linear(DIM, DIM)

    def mix(self, x: Tensor, axis: Axis, source=None) -> Mixed:
        at = places(axis, x)
        ends = torch.arange(x.shape[1] // self.f) * self.f + self.f - 1
        means = self.value(x[:, : len(ends) * self.f].unflatten(1, (-1, self.f)).mean(2))
        seen = (ends <= at[..., None] + (1 if self.early else 0)).to(x)
        out = seen @ means / seen.sum(-1, keepdim=True).clamp_min(1)
        return Mixed(out if axis.valid is None else out * axis.valid[..., None])

    def extend(self, x: Tensor, axis: Axis, state, source=None) -> Mixed:
        rows = torch.cat([state["x"], x], 1)
        whole = self.mix(rows, Axis(range(rows.shape[1]))).x
        return Mixed(whole[:, -x.shape[1] :], {"x": rows, "at": torch.arange(rows.shape[1]).expand(len(x), -1)})

    def visible(self, n: int):
        i, j = torch.arange(n)[:, None], torch.arange(n)
        end = j // self.f * self.f + self.f - 1
        return (Visible("means", 1, ((end <= i) & (end < n)).numpy(), True),)


class Pooled(Memory):
    """Means of blocks of f keys and values."""

    def __init__(self, f: int, fault: str = ""):
        super().__init__()
        self.f, self.wide = f, f + (fault == "window wider than its stride")

    def spans(self, n: int) -> Spans:
        start = np.arange(n // self.f) * self.f
        return Spans(start, start + self.f - 1, start + self.f - 1)

    def slots(self, k: Tensor, v: Tensor, axis: Axis):
        starts = range(0, k.shape[1] // self.f * self.f, self.f)
        k, v = (torch.stack([t[:, i : i + self.wide].mean(1) for i in starts], 1) for t in (k, v))
        return Slots(k, v, range(self.f - 1, self.f - 1 + len(starts) * self.f, self.f)), {}


class ReadsPooled(Mixer):
    """Softmax over the slots of `Pooled` that ended at or before the query."""

    def __init__(self, fault: str = ""):
        super().__init__()
        self.dim, self.memory = DIM, Pooled(3, fault)
        self.q, self.k, self.v = (nn.Linear(DIM, DIM) for _ in range(3))

    def mix(self, x: Tensor, axis: Axis, source=None) -> Mixed:
        slots, _ = self.memory.slots(self.k(x)[:, :, None], self.v(x)[:, :, None], axis)
        seen = torch.tensor(list(slots.at)) <= places(axis, x)[..., None]
        logits = (self.q(x) @ slots.k[:, :, 0].mT).masked_fill(~seen, -torch.inf)
        return Mixed(logits.softmax(-1).nan_to_num(0.0) @ slots.v[:, :, 0])

    def visible(self, n: int):
        i, j = torch.arange(n)[:, None], torch.arange(n)
        end = j // 3 * 3 + 2
        return (Visible("pooled", 1, ((end <= i) & (end < n)).numpy(), True),)


class Raises(Mixer):
    """Cannot do what it is for."""

    def __init__(self):
        super().__init__()
        self.dim = DIM

    def mix(self, x: Tensor, axis: Axis, source=None) -> Mixed:
        raise RuntimeError("no kernel for this shape")


class Feed(FFN):
    def __init__(self, fault: str = ""):
        super().__init__()
        self.up, self.down, self.fault = nn.Linear(DIM, 8), nn.Linear(8, DIM), fault

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x).tanh()
        if self.fault == "sum over time":
            h = h + h.cumsum(1)
        return self.down(h)


class Layered(Norm):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Table(Embedding):
    def __init__(self):
        super().__init__()
        self.weight = nn.Embedding(VOCAB, DIM)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.weight(tokens)


class Logits(Output):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(DIM, VOCAB)

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        return self.out(x)


class Block(nn.Module):
    def __init__(self, mixer: Mixer, ffn: FFN):
        super().__init__()
        self.mixer, self.ffn, self.norm = mixer, ffn, Layered()

    def forward(self, x: Tensor, axis: Axis, state):
        mixed = self.mixer(self.norm(x), axis, state)
        x = x + mixed.x
        return x + self.ffn(x), mixed.state


class Small(nn.Module):
    """A decoder or encoder of fake parts with the forward contract of a composed model."""

    def __init__(self, *blocks: Block, causal: bool = True, fault: str = ""):
        super().__init__()
        self.embedding, self.layers, self.output = Table(), nn.ModuleList(blocks), Logits()
        self.causal, self.fault, self.seen, self.hidden = causal, fault, 0.0, 0.0
        self.aside = nn.Linear(DIM, 1) if fault == "learns aside" else None
        if fault == "hidden constant":
            self.hidden = float(torch.rand(()))

    def forward(self, tokens: Tensor, *, mask=None, state: State | None = None, source=None, source_mask=None):
        if mask is None:
            return self.run(tokens, None, state)
        if self.fault == "ignores the mask":
            return self.run(tokens, None, state)
        order = (~mask).to(torch.int8).argsort(dim=1, stable=True)
        out = self.run(tokens.gather(1, order), mask.gather(1, order), state)
        logits = torch.zeros_like(out.logits).scatter(1, order[..., None].expand_as(out.logits), out.logits)
        return ModelOut(logits * mask[..., None] if self.fault != "answers for padding" else logits, out.state)

    def run(self, tokens: Tensor, valid: Tensor | None, state: State | None) -> ModelOut:
        b, n = tokens.shape
        time = torch.zeros(b, dtype=torch.long) if state is None else state.time
        if state is None:
            at = range(n)
        else:
            together = bool((time == time[0]).all())
            at = range(int(time[0]), int(time[0]) + n) if together else time[:, None] + torch.arange(n)
        axis = Axis(at, valid, total=None if self.causal else n)
        x = self.embedding(tokens) + self.hidden
        x = x if valid is None else x * valid[..., None]
        if self.fault == "batch counts":
            x = x + len(tokens)
        if self.fault == "remembers the last batch":
            x, self.seen = x + self.seen, float(tokens.shape[1])
        if self.fault == "shifted":
            x = torch.cat([x[:, 1:], x[:, :1]], 1)
        parts = {}
        for number, block in enumerate(self.layers):
            x, parts[f"{number}.mixer"] = block(x, axis, None if state is None else state.parts[f"{number}.mixer"])
        logits = self.output(x, axis)
        if self.fault == "only the last layer":
            logits = self.output(x * 0 + self.embedding(tokens), axis)
        read = n if valid is None else valid.sum(1)
        losses = {"aside": self.aside(x.detach()).square().mean()} if self.aside is not None and self.training else {}
        return ModelOut(logits, None if state is None else State(time + read, parts), losses)

    def start(self, batch: int) -> State:
        like = self.output.out.weight.new_zeros(1, DIM)
        parts = {f"{i}.mixer": block.mixer.start(batch, like) for i, block in enumerate(self.layers)}
        return State(torch.zeros(batch, dtype=torch.long), parts)

    def trace(self, wanted: np.ndarray, read) -> np.ndarray:
        for block in reversed(self.layers):
            wanted = wanted | (wanted.astype(float) @ read(block, wanted.shape[1]) > 0)
        return wanted

    def state_bytes(self, n: int) -> int:
        numbers = 0
        for block in self.layers:
            shapes = block.mixer.state_shape(n)
            numbers += sum(torch.Size(shape).numel() * (8 if name == "at" else 4) for name, shape in shapes.items())
        return numbers


def places(axis: Axis, x: Tensor) -> Tensor:
    """(b n)"""
    return axis.positions(x.device).expand(x.shape[0], -1)


def mixer_node(layer: int, name: str = "windowed", **options) -> Node:
    span = Span("small.xc.yaml", 5 + layer, 7, 5 + layer, 7 + len(name))
    return Node("mixer", name, {"layer": layer, **options}, span, path=f"model.layers.{layer}")


def model_node(count: int) -> Node:
    layers = tuple(Layer({"mixer": mixer_node(i), "ffn": Node("ffn", "feed", {})}) for i in range(count))
    return Node("model", "decoder", {"layers": layers}, Span("small.xc.yaml", 2, 9, 2, 16), path="model")


def subject(*faults: str, model: str = "", causal: str = "strict", ffn: str = "", mixers=None) -> Subject:
    """A model of one `Windowed` layer for each fault given ("" is sound)."""

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        made = mixers() if mixers else [Windowed(causal=causal != "none", fault=fault) for fault in faults]
        blocks = [Block(mixer, Feed(ffn if i == 0 else "")) for i, mixer in enumerate(made)]
        return Small(*blocks, causal=causal != "none", fault=model)

    count = len(mixers()) if mixers else len(faults)
    return Subject(
        build=build, n=N, vocab=VOCAB, causal=causal, dim=DIM, name="small", node=model_node(count),
        again="xcompose check small.xc.yaml --seed 3 --no-cache",
    )  # fmt: skip


SOUND = ("", "")
