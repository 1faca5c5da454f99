"""Embeddings, outputs, models and what trains them, with one fault each, which the kit must find."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from xcompose.api import (
    Addon,
    Axis,
    Component,
    Context,
    Embedding,
    Init,
    OneStackModel,
    OneStackOptions,
    Output,
    Part,
    Splits,
    Strategy,
    Task,
    TrainingAddon,
    extra,
    option,
    options,
)

from .broken_parts import Plain, made


class ShortTable(Embedding):
    """Its table lacks a token."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.rows = nn.Embedding(context.vocab - 1, context.dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.rows(tokens.clamp(max=self.rows.num_embeddings - 1))

    def table(self) -> Any:
        return self.rows.weight


class Noisy(Embedding):
    """Other rows each time."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.rows = nn.Embedding(context.vocab, context.dim)

    def forward(self, tokens: Tensor) -> Tensor:
        rows = self.rows(tokens)
        return rows + 0.01 * torch.randn_like(rows)


class FewTokens(Output):
    """Logits for half of the tokens."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.linear = nn.Linear(context.dim, context.vocab // 2)

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        return self.linear(x)


class OneAnswer(FewTokens):
    """One answer for a sequence, said to be one for each row."""

    predicts_tokens = False

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        return self.linear(x).mean(1)


@options
class StackOptions(OneStackOptions):
    """Those of a stack."""

    output: Part.output = option("lm")
    """What is made of the last rows."""


class Shifted(OneStackModel):
    """A decoder whose rows see the next one."""

    def __init__(self, options: StackOptions, context: Context):
        super().__init__(options, context, options.output, causal="strict")

    def forward(self, tokens: Tensor, **more: Any) -> Any:
        out = super().forward(tokens, **more)
        return out._replace(logits=out.logits + out.logits.roll(-1, 1))


class Forgetful(Shifted):
    """A decoder that says it keeps one number less than it does."""

    def forward(self, tokens: Tensor, **more: Any) -> Any:
        return OneStackModel.forward(self, tokens, **more)

    def state_shapes(self, n: int) -> dict[str, tuple[int, ...]]:
        return dict(list(super().state_shapes(n).items())[:-1])


class NewWeights(Init):
    """Weights in place of those that are there."""

    def __init__(self, options: Plain, context: Context):
        pass

    def __call__(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight = nn.Parameter(module.weight.detach() * 0.5)


class NoNumber(NewWeights):
    """Biases that are no numbers."""

    def __call__(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.constant_(module.bias, float("nan"))


class LeavesOut(Addon):
    """It begins with a layer that it never takes away."""

    rung = "weights"

    def __init__(self, options: Plain, context: Context):
        pass

    def apply(self, model: nn.Module) -> None:
        pass

    def begin(self, model: nn.Module) -> None:
        model.scaffold = nn.Linear(2, 2)

    def finish(self, model: nn.Module) -> None:
        pass


class SaysFrozen(LeavesOut):
    """It says that it freezes the base."""

    rung, freezes = "adapters", True
    begin = LeavesOut.apply


class AsksTwice(TrainingAddon):
    """It computes the task's loss twice."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()

    def begin(self, lesson: Any) -> None:
        pass

    def loss(self, batch: Any, compute: Any) -> Any:
        compute()
        return compute()


class Random(Task):
    """Items that are drawn when they are asked for."""

    def __init__(self, options: Plain, context: Context):
        pass

    def splits(self, data: Any, length: int, seed: int) -> Splits:
        return Splits(Drawn(length), Drawn(length))

    def loss(self, model: nn.Module, batch: Any) -> Any:
        tokens = batch["tokens"]
        out = model(tokens[:, :-1])
        return cross_entropy(out.logits.flatten(0, 1).float(), tokens[:, 1:].flatten()), {}


class Drawn(torch.utils.data.Dataset):
    def __init__(self, length: int, seed: int | None = None):
        self.length, self.seed = length, seed

    def __len__(self) -> int:
        return 9

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        generator = None if self.seed is None else torch.Generator().manual_seed(10 * self.seed + number)
        return {"tokens": torch.randint(13, (self.length + 1,), generator=generator)}


class Ranked(Random):
    """A metric that it never gives, and what is held out is trained on."""

    metric = "accuracy"

    def splits(self, data: Any, length: int, seed: int) -> Splits:
        return Splits(Drawn(length, seed), Drawn(length, seed))


class Amnesia(Optimizer):
    """SGD with a momentum that its state does not hold."""

    def __init__(self, groups: Any, lr: float):
        super().__init__(groups, {"lr": lr})
        self.moments: dict[int, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                self.moments[id(p)] = 0.9 * self.moments.get(id(p), torch.zeros_like(p)) + p.grad
                p.sub_(group["lr"] * self.moments[id(p)])


class Decays(SGD):
    """Weights shrink whatever the rate is."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        super().step()
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(0.999)


def counting(options: Plain, context: Context) -> Any:
    """A schedule that counts its calls."""
    calls = itertools.count(1)
    return lambda step, total: 1 / next(calls)


def late(options: Plain, context: Context) -> Any:
    return lambda step, total: step / total


class Remembers(Strategy):
    """What its sampler draws hangs on those before it in this process."""

    made = itertools.count()

    def __init__(self, options: Plain, context: Context):
        pass

    def sampler(self, seed: int) -> Any:
        return extra("optuna.samplers", "search").RandomSampler(seed=next(self.made))


class Unseeded(Strategy):
    """Draws from nowhere."""

    def __init__(self, options: Plain, context: Context):
        pass

    def sampler(self, seed: int) -> Any:
        return extra("optuna.samplers", "search").RandomSampler(seed=None)


COMPONENTS = [
    made("embedding", "short-table", ShortTable), made("embedding", "noisy", Noisy),
    made("output", "few-tokens", FewTokens), made("output", "one-answer", OneAnswer),
    Component(kind="model", name="shifted", options=StackOptions, build=Shifted),
    Component(kind="model", name="forgetful", options=StackOptions, build=Forgetful),
    made("init", "new-weights", NewWeights), made("init", "no-number", NoNumber),
    made("addon", "leaves-out", LeavesOut), made("addon", "says-frozen", SaysFrozen),
    Component(kind="addon", name="asks-twice", options=Plain, build=AsksTwice, facts={"stage": "train"}),
    made("task", "random", Random), made("task", "ranked", Ranked),
    made("optimizer", "amnesia", lambda options, context: Amnesia),
    made("optimizer", "decays", lambda options, context: Decays),
    made("schedule", "counting", counting), made("schedule", "late", late),
    made("strategy", "remembers", Remembers), made("strategy", "unseeded", Unseeded),
]  # fmt: skip
