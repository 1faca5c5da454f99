"""Learn from a trained model, whatever its mechanism: from its logits, and from what goes on inside it.

Maths    loss = (1 - a) L + a T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + the sum of weight times distance over
           hidden      mean (P x_s - x_t)^2, or 1 - cos(P x_s, x_t): rows behind a layer
           maps        KL of attention weights, or the mean square difference of their logits
           relations   sum over u in {q, k, v} of KL of softmax(u u^T / sqrt(d)), in `relation_heads` heads
           embeddings  mean (P' e_s - e_t)^2: rows before the first layer
         each divergence is KL(teacher || student); distances are means over pairs of layers, rows and heads
         pairs of S and N layers: even (layer m of the student, from 0, learns from (N/S)(m + 1) - 1), last, or a list
Shapes   x_s, e_s (b n c), x_t, e_t (b n c');  P, P' (c' c), none where c = c'
Cost     the teacher's forward pass for each step; maps hold n^2 numbers a head; P and P' are trained and not exported
Limits   one vocabulary, and both causal or neither. Padding counts in no loss. Maps and relations want mixers that have
         them. Only what the student's own mixers read counts: of cross mixers nothing is compared
Paper    Hinton et al. 2015, arXiv:1503.02531, s. 2; hidden, embeddings, logits of maps: Jiao et al., TinyBERT,
         arXiv:1909.10351, s. 3.1; cosine, start: Sanh et al., DistilBERT, arXiv:1910.01108, s. 3; weights of maps:
         Sun et al., MobileBERT, arXiv:2004.02984, s. 3.3; relations: Wang et al., MiniLMv2, arXiv:2012.15828, s. 3
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from xcompose.api import (
    AnyValue,
    Component,
    Context,
    Count,
    Lesson,
    Look,
    Loss,
    Model,
    ModelOut,
    PartError,
    Real,
    Seen,
    SpecRef,
    Stack,
    Text,
    TrainingAddon,
    angles,
    hash_of,
    hookimpl,
    load_weights,
    looking,
    map_divergence,
    map_squares,
    option,
    options,
    paired_layers,
    plain_tensors,
    refuse_unused,
    relation_divergence,
    soft_targets,
    squares,
    start_as,
    wide,
)


@options
class DistillOptions:
    """Options of distillation."""

    teacher: SpecRef = option(main=True)
    """The spec of the teacher, FILE or FILE@VARIANT; its weights come from `xcompose train --teacher`."""
    logits: Real = option(0.5, at_least=0, at_most=1)
    """Share a of the loss that compares logits; the task's own loss has the rest."""
    temperature: Real = option(2.0, above=0)
    """What logits are divided by, T."""
    hidden: Real = option(0.0, at_least=0)
    """Weight of the loss that compares the rows behind layers."""
    hidden_by: Literal["mse", "cosine"] = option("mse")
    """How they are compared."""
    maps: Real = option(0.0, at_least=0)
    """Weight of the loss that compares attention maps."""
    maps_by: Literal["kl", "logits"] = option("kl")
    """Whether their weights are compared, or the logits of these."""
    relations: Real = option(0.0, at_least=0)
    """Weight of the loss that compares how the queries, the keys and the values of rows are related."""
    relations_of: tuple[Literal["q", "k", "v"], ...] = option(("q", "k", "v"))
    """Whose relations."""
    relation_heads: Count = option(8, at_least=1)
    """In how many heads; a number that divides the widths of both."""
    embeddings: Real = option(0.0, at_least=0)
    """Weight of the loss that compares the rows before the first layer."""
    layers: AnyValue = option("even")
    """Which layer of the student learns from which of the teacher: even, last, or a list of pairs, [[0, 1], [1, 3]]."""
    start: Literal["own", "teacher"] = option("own")
    """How the student starts: as it would alone, or with the weights of its teacher, of layers as they are paired."""
    stack: Text | None = option(None)
    """The stack whose inside is compared, for models with several."""


class Asked(NamedTuple):
    """One call of the student."""

    args: tuple[Any, ...]
    options: Mapping[str, Any]
    out: ModelOut


class Distill(TrainingAddon):
    """Runs the teacher on what the student read, and compares."""

    once = "a second one would take its share of what the first one adds"

    def __init__(self, options: DistillOptions, context: Context):
        super().__init__()
        self.options = options
        self.inside = {name: getattr(options, name) for name in ("hidden", "maps", "relations", "embeddings")}
        if not options.logits and not any(self.inside.values()):
            raise PartError(
                "nothing is learnt from the teacher: all weights are 0", option="logits", fixes=("logits=0.5",)
            )
        if options.relations and not options.relations_of:
            raise PartError(
                "relations of nothing are compared", option="relations_of", fixes=("relations_of=[q, k, v]",)
            )
        refuse_idle(options, self.inside)
        self.projections = nn.ParameterDict()
        self.hash = self.name = ""
        self.pairs: tuple[tuple[int, int], ...] = ()
        self.models: tuple[Model, ...] = ()
        """Student and teacher; in a tuple, because they are no modules of this one."""
        self.stacks: tuple[Stack, ...] = ()
        self.started = 0

    def begin(self, lesson: Lesson) -> None:
        student, teacher = lesson.model, lesson.spec(self.options.teacher)
        refuse_unlike(student, teacher, bool(self.options.logits))
        weights = lesson.given.teacher
        if weights is None:
            raise PartError(
                "the teacher has no weights", label="a spec names none; they come from the command line",
                fixes=("xcompose train --teacher FILE, its weights or the folder of its run",), option="teacher",
            )  # fmt: skip
        load_weights(teacher, weights)
        self.hash = hash_of(plain_tensors(teacher))
        self.name = teacher.spec.name if teacher.spec else ""
        teacher.eval().requires_grad_(False)
        self.models = (student, teacher)
        if any(self.inside.values()):
            self.stacks = chosen_stacks(student, teacher, self.options.stack)
            if self._wanted():
                self.pairs = paired_layers(self.options.layers, *(len(stack.blocks) for stack in self.stacks))
            self._refuse_hidden()
            self._project(student, teacher)
        if self.options.start == "teacher":
            self.started = start_as(student, teacher, self.options.layers)

    def _wanted(self) -> frozenset[str]:
        """What is looked for in each layer of a pair."""
        found = {"rows"} if self.inside["hidden"] else set()
        found |= {"map"} if self.inside["maps"] else set()
        return frozenset(found | (set(self.options.relations_of) if self.inside["relations"] else set()))

    def _refuse_hidden(self) -> None:
        """Refuse layers that do not show what is to be compared."""
        for side, (who, stack) in enumerate(zip(("student", "teacher"), self.stacks, strict=True)):
            for layer in sorted({pair[side] for pair in self.pairs}):
                for what in sorted(self._wanted() - {"rows"}):
                    if reason := stack.blocks[layer].hides(what):
                        raise unseen_part(who, layer, what, reason)

    def _project(self, student: Model, teacher: Model) -> None:
        """Make the projections, where widths differ. They start alike in every run."""
        behind = [
            stack.blocks[0].residual.width_out(m.dim) for stack, m in zip(self.stacks, self.models, strict=True)
        ]  # fmt: skip
        for name, (own, theirs) in {"hidden": behind, "embeddings": [student.dim, teacher.dim]}.items():
            if self.inside[name] and own != theirs:
                drawn = torch.Generator().manual_seed(len(name))
                made = torch.randn(theirs, own, generator=drawn, device="cpu") * own**-0.5
                self.projections[name] = nn.Parameter(made.to(student.like(1).device))

    def facts(self) -> Mapping[str, str]:
        return {"teacher": self.hash}

    def describe(self) -> Sequence[str]:
        size = sum(p.numel() for p in self.models[1].parameters())
        said = [f"teacher: {self.name}, {size:,} parameters"]
        if self.pairs:
            each = ", ".join(f"{own} from {theirs}" for own, theirs in self.pairs)
            said.append(f"layers of the student learn from layers of the teacher: {each}")
        if self.started:
            said.append(f"{self.started} tensors of the student start as the teacher's")
        if self.projections:
            said.append(f"projections that are trained and not exported: {' and '.join(self.projections)}")
        return said

    def loss(self, batch: Mapping[str, Tensor], compute: Callable[[], Loss]) -> Loss:
        student, teacher = self.models
        teacher.to(student.like(1).device)
        asked: list[Asked] = []
        hook = student.register_forward_hook(
            lambda module, args, options, out: asked.append(Asked(args, options, out)), with_kwargs=True
        )
        try:
            (loss, metrics), own = self._watched(0, compute)
        finally:
            hook.remove()
        with torch.no_grad():
            answers, theirs = self._watched(1, lambda: [teacher(*one.args, **one.options) for one in asked])
        with torch.autocast(loss.device.type, enabled=False):
            parts = self._compared(asked, answers, own, theirs)
        share = self.options.logits
        if share:
            auxiliary = sum(value for one in asked for value in one.out.losses.values())
            loss = loss - share * (loss - auxiliary) + share * parts["logits"]
        for name, weight in self.inside.items():
            loss = loss + weight * parts[name] if weight else loss
        return loss, {**metrics, **{f"loss_{name}": value.detach() for name, value in parts.items()}}

    def _watched(self, side: int, run: Callable[[], Any]) -> tuple[Any, list[Seen]]:
        """What something gives, and what was seen of the student's (0) or the teacher's (1) stack meanwhile."""
        with ExitStack() as looks:
            look: Look | None = None
            if self.stacks:
                wanted = {pair[side]: self._wanted() for pair in self.pairs}
                look = looks.enter_context(looking(self.stacks[side], wanted))
            return run(), [] if look is None else look.calls

    def _compared(
        self, asked: Sequence[Asked], answers: Sequence[ModelOut], own: Sequence[Seen], theirs: Sequence[Seen]
    ) -> dict[str, Tensor]:
        """Every loss without its weight, the mean over the calls of the model or of its stack."""
        found: dict[str, list[Tensor]] = {}
        if self.options.logits:
            found["logits"] = [self._logits(one, answer) for one, answer in zip(asked, answers, strict=True)]
        for mine, other in zip(own, theirs, strict=True):
            for name, value in self._inside(mine, other):
                found.setdefault(name, []).append(value)
        return {name: torch.stack(values).mean() for name, values in found.items()}

    def _logits(self, one: Asked, answer: ModelOut) -> Tensor:
        own, theirs, mask = one.out.logits, answer.logits, one.options.get("mask")
        if own.shape != theirs.shape:
            raise PartError(
                f"the student answers {tuple(own.shape[1:])}, the teacher {tuple(theirs.shape[1:])}",
                label="logits of the same things are compared", fixes=("logits=0",), option="teacher",
            )  # fmt: skip
        if mask is not None:
            each = mask if own.ndim == 3 else mask.any(1)
            own, theirs = own[each], theirs[each]
        return soft_targets(own.flatten(0, -2), theirs.flatten(0, -2), self.options.temperature)

    def _inside(self, own: Seen, theirs: Seen) -> Iterator[tuple[str, Tensor]]:
        """Every loss of the inside of a call."""
        if self.inside["embeddings"]:
            yield "embeddings", squares(*self._rows("embeddings", own.embedded, theirs.embedded, own.valid))
        layers = [(own.layers[mine], theirs.layers[other]) for mine, other in self.pairs]
        if self.inside["hidden"]:
            by = squares if self.options.hidden_by == "mse" else angles
            found = [by(*self._rows("hidden", a["rows"], b["rows"], own.valid)) for a, b in layers]
            yield "hidden", torch.stack(found).mean()
        if self.inside["maps"]:
            by = map_divergence if self.options.maps_by == "kl" else map_squares
            yield "maps", torch.stack([by(a["map"], b["map"], own.valid) for a, b in layers]).mean()
        if self.inside["relations"]:
            causal = [self.stacks[0].blocks[layer].causal != "none" for layer, _ in self.pairs]
            found = [self._related(a, b, own.valid, past) for (a, b), past in zip(layers, causal, strict=True)]
            yield "relations", torch.stack(found).mean()

    def _rows(self, name: str, own: Tensor, theirs: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows (m c') of both that hold a token, those of the student projected."""
        own, theirs = (t.flatten(0, 1) if valid is None else t[valid] for t in (own, theirs))
        own = wide(own)
        if name in self.projections:
            own = own @ self.projections[name].to(own.dtype).mT
        return own, theirs

    def _related(
        self, own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], valid: Tensor | None, causal: bool
    ) -> Tensor:
        """The sum of the losses of queries, keys and values."""
        heads = self.options.relation_heads
        for who, side in (("student", own), ("teacher", theirs)):
            for what in self.options.relations_of:
                if side[what].shape[-1] % heads:
                    raise PartError(
                        f"{heads} heads of relations do not divide the width {side[what].shape[-1]} of '{what}' in the "
                        f"{who}",
                        fixes=("a number that divides the widths of both",), option="relation_heads",
                    )  # fmt: skip
        names = self.options.relations_of
        return torch.stack([relation_divergence(own[u], theirs[u], heads, valid, causal) for u in names]).sum()


def refuse_idle(options: DistillOptions, inside: Mapping[str, float]) -> None:
    """Refuse options of comparisons that are not made."""
    needs = {
        "logits": ("temperature",), "hidden": ("hidden_by",), "maps": ("maps_by",),
        "relations": ("relations_of", "relation_heads"),
    }  # fmt: skip
    for name, names in needs.items():
        if not getattr(options, name):
            mend = f"{name}={0.5 if name == 'logits' else 1}"
            refuse_unused(options, names, "distill", f"{name}=0: they are not compared", mend)
    if not any(weight for name, weight in inside.items() if name != "embeddings") and options.start == "own":
        refuse_unused(options, ("layers",), "distill", "no layers are compared", "hidden=1", "start=teacher")
    if not any(inside.values()):
        refuse_unused(options, ("stack",), "distill", "nothing inside of the models is compared", "hidden=1")


def refuse_unlike(student: Model, teacher: Model, logits: bool) -> None:
    """Refuse a teacher that reads or answers something else than the student."""
    if student.inputs != teacher.inputs:
        raise PartError(
            f"the student reads {read_by(student)}, the teacher {read_by(teacher)}", option="teacher",
            label="both have to read the same", fixes=("a teacher with the same vocabulary",),
        )  # fmt: skip
    if student.reads_source != teacher.reads_source:
        who = ("student", "teacher") if student.reads_source else ("teacher", "student")
        raise PartError(f"the {who[0]} reads a source, the {who[1]} does not", option="teacher")
    if student.decodes != teacher.decodes:
        who = ("student", "teacher") if student.decodes else ("teacher", "student")
        raise PartError(
            f"the {who[0]} reads from left to right, the {who[1]} sees the whole sequence", option="teacher",
            label="what one of them is asked for the other one sees", fixes=("two decoders, or two encoders",),
        )  # fmt: skip
    if logits:
        for who, model in (("student", student), ("teacher", teacher)):
            if model.output.each_row and not model.output.predicts_tokens:
                raise PartError(
                    f"the {who} gives no logits", label="its output gives rows as they are", option="logits",
                    fixes=("logits=0, hidden=1",),
                )  # fmt: skip
        if student.output.each_row != teacher.output.each_row:
            raise PartError(
                "one of student and teacher answers for each token, the other one for each sequence", option="logits",
                fixes=("logits=0, hidden=1",),
            )  # fmt: skip


def read_by(model: Model) -> str:
    return f"{model.vocab:,} tokens" if model.inputs.width is None else f"rows of {model.inputs.width} numbers"


def unseen_part(who: str, layer: int, what: str, reason: str) -> PartError:
    """Why the inside of a layer cannot be compared."""
    if what == "map":
        fixes = ("relations=1, which compares queries, keys and values", "maps=0")
        return PartError(f"layer {layer} of the {who} shows no map", label=reason, fixes=fixes, option="maps")
    names = {"q": "queries", "k": "keys", "v": "values"}
    fixes = ("relations_of=..., without them", "hidden=1, which compares rows, and relations=0")
    return PartError(
        f"layer {layer} of the {who} shows no {names[what]}", label=reason, fixes=fixes, option="relations"
    )


def chosen_stacks(student: Model, teacher: Model, name: str | None) -> tuple[Stack, Stack]:
    """The stacks of both whose inside is compared."""
    own, theirs = student.stacks(), teacher.stacks()
    if name is None and len(own) == len(theirs) == 1:
        return next(iter(own.values())), next(iter(theirs.values()))
    there = [one for one in own if one in theirs]
    if name not in there:
        what = "which stack is compared" if name is None else f"no stack '{name}' that student and teacher both have"
        raise PartError(
            f"nobody says {what}" if name is None else f"there is {what}", option="stack",
            fixes=tuple(f"stack={one}" for one in there),
        )  # fmt: skip
    return own[name], theirs[name]


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="distill", options=DistillOptions, build=Distill, facts={"stage": "train"},
            also=("distillation", "kd", "teacher"),
        )
    ]  # fmt: skip
