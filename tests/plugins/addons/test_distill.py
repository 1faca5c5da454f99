"""Distillation: what is compared with what, what is refused, and what the student is when it is over."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from xcompose_plugins.addons.distill import Distill, DistillOptions

from xcompose import registry
from xcompose.compose.addons import Given, Lesson
from xcompose.compose.build import build_model
from xcompose.compose.inside import looking
from xcompose.compose.likeness import (
    angles,
    map_divergence,
    map_squares,
    relation_divergence,
    soft_targets,
    squares,
)
from xcompose.compose.model import Model
from xcompose.compose.parts import Context
from xcompose.compose.weights import save_weights
from xcompose.diagnostics import PartError
from xcompose.spec import load_text

VOCAB, N, B = 19, 7, 2


def model(text: str, seed: int = 0, addons: str = "[]", train: bool = False) -> Model:
    whole = f"xcompose: 1\nmodel: {{vocab: {VOCAB}, length: 32, heads: 2, {text}}}\naddons: {addons}\n"
    return build_model(load_text(whole, catalogue=registry.load().catalogue), seed=seed, training=train)


def decoder(layers: str = "attention", count: int = 2, dim: int = 8, more: str = "", **options: Any) -> Model:
    return model(f'type: decoder, dim: {dim}, layers: "{count}*{layers}"{more}', **options)


TEACHER = partial(decoder, count=4, dim=12, seed=5)


def taught(student: Model, teacher: Model, folder: Path, **options: Any) -> Distill:
    """Distillation of one model into another, as a run begins it."""
    save_weights(teacher, folder / "teacher.safetensors")
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.zero_()
    addon = Distill(DistillOptions(teacher="teacher", **options), Context(dim=student.dim, causal="strict"))
    addon.begin(Lesson(student, None, Given(folder / "teacher.safetensors"), spec=lambda reference: teacher))
    return addon


def tokens() -> Tensor:
    return torch.randint(VOCAB, (B, N), generator=torch.Generator().manual_seed(3))


def task(student: Model, **given: Any) -> tuple[Tensor, dict[str, Tensor]]:
    out = student(tokens(), **given)
    own = sum(out.losses.values(), torch.zeros(()))
    return out.logits.square().mean() + own, {"metric": torch.ones(())}


def refusal(student: Model, teacher: Model, folder: Path, **options: Any) -> str:
    with pytest.raises(PartError) as error:
        taught(student, teacher, folder, **options).loss({}, partial(task, student))
    found = error.value
    label = [f"label: {found.label}"] if found.label else []
    return "\n".join([f"{found.option}: {found.message}", *label, *(f"fix: {fix}" for fix in found.fixes)])


# What is compared ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("student", ["attention", "attention(score=linear)", "attention(pattern=window(2))"])
def test_the_loss_is_shared_between_the_task_and_the_teacher_s_logits(student: str, tmp_path: Path):
    own, teacher = decoder(student), TEACHER()
    addon = taught(own, teacher, tmp_path, logits=0.3, temperature=3.0)

    loss, metrics = addon.loss({}, partial(task, own))

    far = soft_targets(own(tokens()).logits.flatten(0, 1), teacher(tokens()).logits.flatten(0, 1), 3.0)
    torch.testing.assert_close(loss, 0.7 * task(own)[0] + 0.3 * far)
    torch.testing.assert_close(metrics["loss_logits"], far.detach())
    assert float(metrics["metric"]) == 1
    assert next(teacher.parameters()).abs().sum() > 0


def test_losses_of_the_model_itself_keep_their_weight(tmp_path: Path):
    """Memories may add losses: they are no part of what the task and the teacher share."""
    own = decoder("attention(recurrence=compressive(2, memory=2, compressed=4, rate=2, by=conv))", count=1)
    auxiliary = sum(own(tokens()).losses.values(), torch.zeros(())).detach()
    assert float(auxiliary) > 0
    addon = taught(own, TEACHER(), tmp_path, logits=1.0)

    loss, metrics = addon.loss({}, partial(task, own))

    torch.testing.assert_close(loss.detach(), metrics["loss_logits"] + auxiliary)


def both_seen(own: Model, teacher: Model, *what: str, **given: Any) -> list[Any]:
    """What is seen of layers 0 and 1, and 1 and 3."""
    found = []
    for made, layers in ((own, (0, 1)), (teacher, (1, 3))):
        (stack,) = made.stacks().values()
        with looking(stack, dict.fromkeys(layers, what)) as look:
            made(tokens(), **given)
        found.append([look.calls[0].layers[layer] for layer in layers])
    return list(zip(*found, strict=True))


@pytest.mark.parametrize("by", ["mse", "cosine"])
def test_hidden_states_are_compared_layer_by_layer_through_one_projection(by: str, tmp_path: Path):
    own, teacher = decoder("attention(score=linear)"), TEACHER()
    addon = taught(own, teacher, tmp_path, logits=0.0, hidden=2.0, hidden_by=by)

    loss, metrics = addon.loss({}, partial(task, own))

    p, how = addon.projections["hidden"], squares if by == "mse" else angles
    pairs = both_seen(own, teacher, "rows")
    far = sum(how((a["rows"] @ p.T).flatten(0, 1), b["rows"].flatten(0, 1)) for a, b in pairs) / 2
    torch.testing.assert_close(loss, task(own)[0] + 2 * far)
    assert p.shape == (12, 8)
    assert sorted(metrics) == ["loss_hidden", "metric"]


def test_equal_widths_need_no_projection(tmp_path: Path):
    addon = taught(decoder(dim=12), TEACHER(), tmp_path, hidden=1.0, embeddings=1.0)

    assert list(addon.parameters()) == []


def test_embeddings_are_compared_before_the_first_layer(tmp_path: Path):
    own, teacher = decoder(more=", position: learned"), TEACHER(more=", position: learned")
    addon = taught(own, teacher, tmp_path, logits=0.0, embeddings=1.5)

    loss, _ = addon.loss({}, partial(task, own))

    at = torch.arange(N)
    rows = [m.embedding(tokens()) + m.position.embed(torch.zeros(1, N, m.dim), axis(at)) for m in (own, teacher)]
    far = squares((rows[0] @ addon.projections["embeddings"].T).flatten(0, 1), rows[1].flatten(0, 1))
    torch.testing.assert_close(loss, task(own)[0] + 1.5 * far)


def axis(at: Tensor):
    from xcompose.attention.reads import Axis

    return Axis(range(len(at)))


@pytest.mark.parametrize("by", ["kl", "logits"])
@pytest.mark.parametrize("pattern", ["dense", "window(2)"])
def test_maps_are_compared_across_patterns_and_numbers_of_heads(by: str, pattern: str, tmp_path: Path):
    own = decoder(f"attention(pattern={pattern})")
    teacher = decoder("attention(heads=3, kv_heads=3)", count=4, dim=12, seed=5)
    addon = taught(own, teacher, tmp_path, logits=0.0, maps=1.0, maps_by=by)

    loss, _ = addon.loss({}, partial(task, own))

    how = map_divergence if by == "kl" else map_squares
    far = sum(how(a["map"], b["map"], None) for a, b in both_seen(own, teacher, "map")) / 2
    torch.testing.assert_close(loss, task(own)[0] + far)


@pytest.mark.parametrize(
    "student",
    [
        "attention(score=linear)",
        "attention(score=favor)",
        "attention(pattern=window(2))",
        "attention(recurrence=segments(3, memory=3))",
        "heads(attention, attention(score=linear))",
    ],
)
def test_relations_are_compared_across_mechanisms(student: str, tmp_path: Path):
    own, teacher = decoder(student), TEACHER()
    addon = taught(own, teacher, tmp_path, logits=0.0, relations=1.0, relation_heads=4)

    torch.manual_seed(0)
    loss, _ = addon.loss({}, partial(task, own))
    loss.backward()

    torch.manual_seed(0)
    pairs = both_seen(own, teacher, "q", "k", "v")
    far = sum(relation_divergence(a[u], b[u], 4, None, True) for a, b in pairs for u in "qkv") / 2
    torch.manual_seed(0)
    torch.testing.assert_close(loss, task(own)[0] + far, rtol=1e-5, atol=1e-6)
    assert all(p.grad is not None for name, p in own.named_parameters() if ".q." in name or ".k." in name)


def test_only_what_is_named_is_related(tmp_path: Path):
    own, teacher = decoder("attention(score=synthesizer(dense))", more=", position: none"), TEACHER()
    addon = taught(own, teacher, tmp_path, logits=0.0, relations=1.0, relation_heads=2, relations_of=("v",))

    loss, _ = addon.loss({}, partial(task, own))

    far = sum(relation_divergence(a["v"], b["v"], 2, None, True) for a, b in both_seen(own, teacher, "v")) / 2
    torch.testing.assert_close(loss, task(own)[0] + far)


@pytest.mark.parametrize("loss", ["logits", "hidden", "maps", "relations", "embeddings"])
def test_padding_counts_in_no_loss(loss: str, tmp_path: Path):
    """Two texts of different lengths in one batch: as if each had been compared by itself."""
    kinds = [f"type: {kind}, dim: {dim}, layers: {count}, output: mlm" for kind, dim, count in
             (("encoder", 8, 2), ("encoder", 12, 4))]  # fmt: skip
    own, teacher = model(kinds[0]), model(kinds[1], seed=5)
    options = {"logits": 0.0, **({"logits": 0.5} if loss == "logits" else {loss: 1.0})}
    options |= {"relation_heads": 2} if loss == "relations" else {}
    addon = taught(own, teacher, tmp_path, **options)
    mask = torch.tensor([[True] * N, [False, True, True, False, True, False, False]])

    _, together = addon.loss({}, partial(task, own, mask=mask))

    def apart(row: int) -> Tensor:
        rows = tokens()[row : row + 1, mask[row]]
        return addon.loss({}, lambda: (own(rows).logits.mean(), {}))[1][f"loss_{loss}"]

    counts = mask.sum(1).tolist()
    if loss in ("logits", "hidden", "embeddings", "maps", "relations"):
        wanted = sum(apart(row) * count for row, count in enumerate(counts)) / sum(counts)
    torch.testing.assert_close(together[f"loss_{loss}"], wanted)


# The student ---------------------------------------------------------------------------------------------------------


def test_the_teacher_learns_nothing_and_is_no_part_of_what_is_kept(tmp_path: Path):
    own, teacher = decoder(), TEACHER(more=", dropout: 0.5")
    addon = taught(own, teacher, tmp_path, hidden=1.0, embeddings=1.0, maps=1.0)
    before = {name: t.clone() for name, t in teacher.state_dict().items()}
    addon.train()

    first = addon.loss({}, partial(task, own))[0]
    first.backward()

    assert not teacher.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())
    assert sorted(addon.state_dict()) == ["projections.embeddings", "projections.hidden"]
    assert all(p.grad is not None for p in addon.parameters())
    assert all(p.grad is not None for p in own.parameters())
    assert torch.equal(addon.loss({}, partial(task, own))[0], first)


def test_projections_start_alike_in_every_run(tmp_path: Path):
    one, two = (taught(decoder(), TEACHER(), tmp_path, hidden=1.0).projections["hidden"] for _ in range(2))

    assert torch.equal(one, two)


@pytest.mark.parametrize("how", ["reversible", "recompute", "share", "qat", "adapter", "autocast", "bf16"])
def test_gradients_reach_students_of_every_make(how: str, tmp_path: Path):
    listed = {"share": "share", "qat": "quantize(int8-dynamic, aware=true)", "adapter": "adapter(2)"}
    listed["bf16"] = "precision(bf16)"
    addons = f'["{listed[how]}"]' if how in listed else "[]"
    more = ", residual: reversible" if how == "reversible" else ""
    own = decoder("attention(pattern=window(2))", more=more, addons=addons, train=True)
    for stack in own.stacks().values():
        stack.recompute = how == "recompute"
    addon = taught(own, TEACHER(), tmp_path, hidden=1.0, maps=1.0, relations=1.0, relation_heads=2, embeddings=1.0)
    own.train()

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast"):
        loss, metrics = addon.loss({}, partial(task, own))
    loss.backward()

    assert torch.isfinite(loss)
    assert all(metrics[f"loss_{name}"].dtype == torch.float32 for name in ("logits", "hidden", "maps", "relations"))
    trained = [p for p in own.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)
    assert all(p.grad is not None for p in addon.parameters())


def test_a_shared_student_learns_in_each_application(tmp_path: Path):
    own, teacher = decoder(addons="[share]"), TEACHER()
    addon = taught(own, teacher, tmp_path, logits=0.0, hidden=1.0)

    _, metrics = addon.loss({}, partial(task, own))

    pairs = both_seen(own, teacher, "rows")
    p = addon.projections["hidden"]
    each = [squares((a["rows"] @ p.T).flatten(0, 1), b["rows"].flatten(0, 1)) for a, b in pairs]
    torch.testing.assert_close(metrics["loss_hidden"], sum(each).detach() / 2)
    assert not torch.equal(*each)


def test_two_streams_are_compared_through_a_projection(tmp_path: Path):
    own = decoder(more=", residual: reversible(join=concat), output: lm(tied=false)")
    addon = taught(own, TEACHER(), tmp_path, hidden=1.0)

    addon.loss({}, partial(task, own))[0].backward()

    assert addon.projections["hidden"].shape == (12, 16)


BOTH = "type: encoder-decoder, dim: {dim}, encoder: {{layers: {e}}}, decoder: {{layers: {d}}}"


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_of_two_stacks_one_is_named(stack: str, tmp_path: Path):
    own, teacher = model(BOTH.format(dim=8, e=1, d=1)), model(BOTH.format(dim=12, e=2, d=3), seed=5)
    addon = taught(own, teacher, tmp_path, hidden=1.0, maps=1.0, relations=1.0, relation_heads=2, stack=stack)
    source = torch.randint(VOCAB, (B, 5))
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])

    loss, metrics = addon.loss({}, partial(task, own, source=source, source_mask=mask))
    loss.backward()

    assert sorted(metrics) == ["loss_hidden", "loss_logits", "loss_maps", "loss_relations", "metric"]
    assert addon.pairs == (((0, 1),) if stack == "encoder" else ((0, 2),))


def test_a_student_may_start_as_its_teacher(tmp_path: Path):
    own, teacher = decoder("attention(score=linear)", dim=12), TEACHER()
    addon = taught(own, teacher, tmp_path, hidden=1.0, start="teacher")

    assert torch.equal(own.layers[1].mixer.q.weight, teacher.layers[3].mixer.q.weight)
    assert torch.equal(own.embedding.table(), teacher.embedding.table())
    assert own.layers[1].mixer.q.weight.requires_grad
    assert list(addon.describe()) == [
        "teacher: spec, 7,788 parameters",
        "layers of the student learn from layers of the teacher: 0 from 1, 1 from 3",
        f"{addon.started} tensors of the student start as the teacher's",
    ]


def test_people_are_told_of_the_teacher_and_of_projections(tmp_path: Path):
    addon = taught(decoder(), TEACHER(), tmp_path, hidden=1.0, embeddings=1.0, layers="last")

    assert list(addon.describe()) == [
        "teacher: spec, 7,788 parameters",
        "layers of the student learn from layers of the teacher: 1 from 3",
        "projections that are trained and not exported: hidden and embeddings",
    ]


def test_a_run_depends_on_the_teacher_s_weights(tmp_path: Path):
    one, again = (taught(decoder(), TEACHER(), tmp_path).facts() for _ in range(2))
    another = taught(decoder(), TEACHER(seed=6), tmp_path).facts()

    assert one == again
    assert one != another
    assert [*one] == ["teacher"]


# Refusals ------------------------------------------------------------------------------------------------------------


def test_a_teacher_without_weights_is_refused():
    addon = Distill(DistillOptions(teacher="teacher"), Context(dim=8, causal="strict"))
    own = decoder()

    with pytest.raises(PartError) as error:
        addon.begin(Lesson(own, None, Given(), spec=lambda reference: TEACHER()))

    assert (error.value.message, error.value.label, error.value.fixes) == (
        "the teacher has no weights", "a spec names none; they come from the command line",
        ("xcompose train --teacher FILE, its weights or the folder of its run",),
    )  # fmt: skip


UNUSED = "{0}: distill has no use for '{0}' here\nlabel: {1}\nfix: leave {0} out\n{2}"


@pytest.mark.parametrize(
    ("option", "options", "why", "mends"),
    [
        ("temperature", {"logits": 0.0, "hidden": 1.0, "temperature": 1.0}, "logits=0: they are not compared",
         "fix: logits=0.5"),
        ("hidden_by", {"hidden_by": "cosine"}, "hidden=0: they are not compared", "fix: hidden=1"),
        ("maps_by", {"hidden": 1.0, "maps_by": "logits"}, "maps=0: they are not compared", "fix: maps=1"),
        ("relations_of", {"relations_of": ("q",)}, "relations=0: they are not compared", "fix: relations=1"),
        ("relation_heads", {"relation_heads": 2}, "relations=0: they are not compared", "fix: relations=1"),
        ("layers", {"embeddings": 1.0, "layers": "last"}, "no layers are compared",
         "fix: hidden=1\nfix: start=teacher"),
        ("stack", {"start": "teacher", "stack": "encoder"}, "nothing inside of the models is compared",
         "fix: hidden=1"),
    ],
)  # fmt: skip
def test_an_option_of_what_is_not_compared_is_refused(
    option: str, options: dict[str, Any], why: str, mends: str, tmp_path: Path
):
    assert refusal(decoder(), TEACHER(), tmp_path, **options) == UNUSED.format(option, why, mends)


def test_a_start_of_layers_uses_their_pairs_though_none_is_compared(tmp_path: Path):
    own, teacher = decoder(), decoder(count=4, seed=5)
    last = teacher.layers[3].mixer.q.weight.clone()

    taught(own, teacher, tmp_path, start="teacher", layers="last")

    assert torch.equal(own.layers[1].mixer.q.weight, last)


FEWER = partial(model, "type: decoder, dim: 8, layers: 1")
ENCODER = partial(model, "type: encoder, dim: 8, layers: 1, output: mlm")
PLAIN = partial(model, "type: encoder, dim: 8, layers: 1")
SEQ2SEQ = partial(model, BOTH.format(dim=8, e=1, d=1))
LINEAR = partial(decoder, "attention(score=linear)")
TWO = "fix: layers=last\nfix: a list of pairs: layers=[[0, 1], [1, 3]]"
RELATE = "fix: relations=1, which compares queries, keys and values\nfix: maps=0"
LEAVE = "fix: relations_of=..., without them\nfix: hidden=1, which compares rows, and relations=0"
REFUSED: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "nothing": (
        decoder, TEACHER, {"logits": 0.0},
        "logits: nothing is learnt from the teacher: all weights are 0\nfix: logits=0.5",
    ),
    "relations of nothing": (
        decoder, TEACHER, {"relations": 1.0, "relations_of": ()},
        "relations_of: relations of nothing are compared\nfix: relations_of=[q, k, v]",
    ),
    "another direction": (
        decoder, ENCODER, {},
        "teacher: the student reads from left to right, the teacher sees the whole sequence\n"
        "label: what one of them is asked for the other one sees\nfix: two decoders, or two encoders",
    ),
    "another source": (decoder, SEQ2SEQ, {}, "teacher: the teacher reads a source, the student does not"),
    "no logits": (
        PLAIN, ENCODER, {},
        "logits: the student gives no logits\nlabel: its output gives rows as they are\nfix: logits=0, hidden=1",
    ),
    "no map in the student": (
        LINEAR, TEACHER, {"maps": 1.0},
        "maps: layer 0 of the student shows no map\n"
        f"label: its score sums over all keys at once, so that no pair of rows has a weight of its own\n{RELATE}",
    ),
    "no map in the teacher": (
        decoder, partial(decoder, "attention(recurrence=segments(3, memory=3))"), {"maps": 1.0},
        "maps: layer 0 of the teacher shows no map\n"
        f"label: it reads slots that are none of the rows, those of recurrence segments\n{RELATE}",
    ),
    "no queries": (
        partial(decoder, "attention(score=synthesizer(dense))", more=", position: none"), TEACHER, {"relations": 1.0},
        "relations: layer 0 of the student shows no keys\n"
        f"label: its score takes no products of queries and keys, so it has none\n{LEAVE}",
    ),
    "heads of relations": (
        decoder, TEACHER, {"relations": 1.0, "relation_heads": 8},
        "relation_heads: 8 heads of relations do not divide the width 12 of 'q' in the teacher\n"
        "fix: a number that divides the widths of both",
    ),
    "layers": (
        partial(decoder, count=3), TEACHER, {"hidden": 1.0},
        f"layers: 4 layers of the teacher do not divide evenly among 3 of the student\n{TWO}",
    ),
    "two stacks": (
        SEQ2SEQ, SEQ2SEQ, {"hidden": 1.0},
        "stack: nobody says which stack is compared\nfix: stack=encoder\nfix: stack=decoder",
    ),
    "another stack": (
        SEQ2SEQ, SEQ2SEQ, {"hidden": 1.0, "stack": "middle"},
        "stack: there is no stack 'middle' that student and teacher both have\nfix: stack=encoder\nfix: stack=decoder",
    ),
    "a start of other widths": (
        decoder, TEACHER, {"start": "teacher"},
        "start: the student cannot start as its teacher: embedding.tokens.weight is (19, 8), the teacher's "
        "embedding.tokens.weight (19, 12)\nfix: start=own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_the_reason(case: str, tmp_path: Path):
    student, teacher, options, message = REFUSED[case]

    assert refusal(student(), teacher(), tmp_path, **options) == message


def test_another_vocabulary_is_refused(tmp_path: Path):
    text = "xcompose: 1\nmodel: {type: decoder, vocab: 23, dim: 8, heads: 2, layers: 2}\n"
    teacher = build_model(load_text(text, catalogue=registry.load().catalogue))

    assert refusal(decoder(), teacher, tmp_path) == (
        "teacher: the student reads 19 tokens, the teacher 23 tokens\nlabel: both have to read the same\n"
        "fix: a teacher with the same vocabulary"
    )


def test_other_classes_are_refused(tmp_path: Path):
    own, teacher = (model(f"type: encoder, dim: 8, layers: 1, output: classify({n})") for n in (3, 4))

    assert refusal(own, teacher, tmp_path) == (
        "teacher: the student answers (3,), the teacher (4,)\n"
        "label: logits of the same things are compared\nfix: logits=0"
    )


def test_an_answer_for_a_sequence_is_compared_as_such(tmp_path: Path):
    own, teacher = (model(f"type: encoder, dim: {dim}, layers: 1, output: classify(3)") for dim in (8, 12))
    addon = taught(own, teacher, tmp_path, temperature=1.0)

    _, metrics = addon.loss({}, lambda: (own(tokens()).logits.mean(), {}))

    torch.testing.assert_close(
        metrics["loss_logits"], soft_targets(own(tokens()).logits, teacher(tokens()).logits, 1.0).detach()
    )


def test_the_addon_is_no_module_of_the_model_and_its_models_none_of_its_own(tmp_path: Path):
    addon = taught(decoder(), TEACHER(), tmp_path, hidden=1.0)

    assert [type(m) for m in addon.modules()] == [Distill, nn.ParameterDict]
