"""Models that work in bfloat16: what is rounded, what is not, and what becomes of it in training and on disk."""

from __future__ import annotations

import pytest
import torch
from torch.utils import _pytree as pytree

import xcompose as xc
from xcompose.compose.build import build_model, finish_model, plan_model
from xcompose.compose.weights import load_model, load_weights, save_weights
from xcompose.cost.count import counts
from xcompose.decode.generate import generate
from xcompose.decode.state import bytes_of
from xcompose.diagnostics import SpecError
from xcompose.registry import load
from xcompose.spec import load_text
from xcompose.verify.subject import redraw

LOW, SINGLE, DOUBLE = torch.bfloat16, torch.float32, torch.float64
AUTOMATIC, STORED = "precision(bf16)", "precision(bf16, weights=true)"
BOTH = pytest.mark.parametrize("addon", [AUTOMATIC, STORED])
N = 37

DECODERS = {
    "window": "mixer: attention(pattern=window(5))",
    "dense, few keys": "mixer: attention(kv_heads=1), position: alibi",
    "relative": "mixer: attention, position: 'relative(7, values=true)'",
    "rotary": "mixer: attention, position: rotary",
    "linear": "mixer: attention(score=linear), position: none",
    "favor": "mixer: 'attention(score=favor(16, kernel=hyperbolic))', position: none",
    "favor published": (
        "mixer: 'attention(score=favor(16, kernel=softmax, stabilizer=global))', causal: value, position: none"
    ),
    "synthesizer": "mixer: 'attention(score=synthesizer([dense, random]))', length: 64, position: none",
    "segments": "mixer: attention, recurrence: 'segments(8, memory=8)', position: transformer-xl",
    "compressive": (
        "mixer: attention, recurrence: 'compressive(8, memory=8, compressed=4, rate=2)', position: transformer-xl"
    ),
    "most used": "mixer: attention, recurrence: 'compressive(8, memory=8, compressed=4, rate=2, by=most-used)'",
    "lsh": "mixer: 'attention(pattern=lsh(buckets=4, chunk=4), shared_qk=true)'",
    "lsh published": "mixer: 'attention(pattern=lsh(buckets=4, chunk=4, form=published))', causal: value",
    "routing": "mixer: 'attention(pattern=routing(3, window=6))'",
    "routing published": "mixer: 'attention(pattern=routing(3, window=6, form=published))', causal: value",
    "adaptive span": "mixer: 'attention(pattern=adaptive-span(16, ramp=4, start=0.5), silence=zero)'",
    "pool": "mixer: 'attention(pattern=window(8), memory=pool(4, null=learned))'",
    "conv of heads": "mixer: 'attention(pattern=window(8), memory=conv(4, per_head=true))'",
    "conv of rows": "mixer: 'attention(pattern=window(8), memory=conv(4, of=rows))'",
    "sinkhorn": "mixer: 'attention(pattern=blocks(4, back=0), memory=sinkhorn(4))', length: 64",
    "gate": "mixer: 'gate(attention(pattern=window(5)), attention(score=linear))', position: none",
    "chain": "mixer: 'chain(attention(pattern=blocks(4)), attention(pattern=strided(4)))'",
    "heads": "mixer: 'heads(attention(pattern=window(5)), attention)'",
    "reversible": "mixer: attention, residual: reversible",
    "post-norm": "mixer: attention, residual: post-norm, norm: layer",
    "parallel": "mixer: attention, residual: parallel",
    "logistics": "mixer: attention, output: logistics(3)",
    "adaptive": "mixer: attention, embedding: 'adaptive(cutoffs=[20], div=2)', output: adaptive",
}
ENCODERS = {
    "linformer": "mixer: 'attention(memory=linformer(8), pattern=none)', length: 64",
    "inducing": "mixer: 'attention(memory=inducing(5), pattern=none)'",
    "sinkhorn cut": "mixer: 'attention(memory=sinkhorn(4, cut=2), pattern=none)', length: 64",
    "bigbird": "mixer: 'attention(pattern=blocks(4) | global(2) | random(1, block=4))'",
    "routing": "mixer: 'attention(pattern=routing(3, window=6, null=learned))'",
    "lsh": "mixer: 'attention(pattern=lsh(buckets=4, chunk=4, rounds=2))'",
    "linear": "mixer: attention(score=linear), position: none",
    "classes": "mixer: attention, output: classify(5)",
    "pooled": "mixer: attention, output: 'pooled-classify(5, seeds=2, layers=1)'",
    "mlm": "mixer: attention, output: mlm",
}
EVERY = [("decoder", name) for name in DECODERS] + [("encoder", name) for name in ENCODERS]
every = pytest.mark.parametrize(("kind", "name"), EVERY, ids=[" ".join(one) for one in EVERY])


def spec(kind: str, name: str, addon: str = ""):
    said = {"decoder": DECODERS, "encoder": ENCODERS}[kind][name]
    text = f"xcompose: 1\nmodel: {{type: {kind}, dim: 32, heads: 4, layers: 2, vocab: 31, {said}}}\n"
    return load_text(text + (f'addons: ["{addon}"]\n' if addon else ""), catalogue=load().catalogue)


def made(kind: str, name: str, addon: str = "", **how):
    """The model in evaluation, with weights that bfloat16 can hold."""
    model = build_model(spec(kind, name, addon), **how).eval()
    redraw(model, 5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(LOW))
    return model


def tokens(batch: int = 2, n: int = N) -> torch.Tensor:
    return torch.randint(31, (batch, n), generator=torch.Generator().manual_seed(7))


@every
@BOTH
def test_answers_are_those_of_double_precision_but_for_rounding(kind, name, addon):
    low, plain = made(kind, name, addon), made(kind, name).double()
    with torch.no_grad():
        found, wanted = low(tokens()).logits, plain(tokens()).logits

    assert found.dtype == SINGLE
    off = (found - wanted).square().mean(-1) / wanted.square().mean()
    # rounding turns choices, each of which changes a row by more than rounding does
    chooses = any(word in name for word in ("lsh", "routing", "most used"))
    assert float(off.median().sqrt()) < (0.2 if chooses else 0.0175)
    assert found.isfinite().all()


@every
def test_a_model_in_double_precision_stays_in_it(kind, name):
    low, plain = made(kind, name, AUTOMATIC).double(), made(kind, name).double()
    with torch.no_grad():
        assert (low(tokens()).logits == plain(tokens()).logits).all()


@every
@BOTH
def test_large_logits_and_padding_give_numbers(kind, name, addon):
    low = made(kind, name, addon)
    with torch.no_grad():
        for parameter_name, parameter in low.named_parameters():
            if parameter_name.endswith(("q.weight", "k.weight")):
                parameter.mul_(100)
    mask = torch.zeros(3, N, dtype=torch.bool)
    mask[1, 5:20], mask[2] = True, True
    with torch.no_grad():
        found = low(tokens(3), mask=mask).logits

    assert found.isfinite().all()
    assert (found[0] == 0).all()


@every
@BOTH
def test_every_weight_learns(kind, name, addon):
    low = made(kind, name, addon).train()
    out = low(tokens())
    loss = out.logits.square().sum() + sum(out.losses.values())
    loss.backward()

    assert {value.dtype for value in out.losses.values()} <= {SINGLE}
    for parameter in low.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    assert any(parameter.grad is not None for parameter in low.parameters())


@pytest.mark.parametrize("name", DECODERS)
@BOTH
def test_a_state_takes_as_many_bytes_as_are_said(name, addon):
    low = made("decoder", name, addon)
    state = low.start(1)
    with torch.no_grad():
        for piece in tokens(1).split([1, 9, 1, 26], 1):
            state = low(piece, state=state).state
    again = low.start(1)
    before = {key: leaf.dtype for key, leaf in flat(again.parts)}

    assert {key: leaf.dtype for key, leaf in flat(state.parts)} == before
    assert bytes_of(state.parts) == low.state_bytes(N)
    assert low.state_bytes(N) < made("decoder", name).state_bytes(N) or name in ("linear", "favor")


def flat(parts):
    return pytree.tree_flatten_with_path(parts)[0]


@pytest.mark.parametrize("name", ["window", "linear", "compressive", "routing"])
@BOTH
def test_decoding_stays_near_the_parallel_pass(name, addon):
    low = made("decoder", name, addon)
    whole, state, steps = low(tokens()).logits, low.start(2), []
    with torch.no_grad():
        for token in tokens().split(1, 1):
            out = low(token, state=state)
            state = out.state
            steps.append(out.logits)
    off = (torch.cat(steps, 1) - whole).square().mean(-1) / whole.square().mean()
    assert off.median().sqrt() < 0.02
    assert generate(low, tokens(), 5).shape == (2, 5)


class TestForms:
    def test_automatic_casts_leave_weights_alone(self):
        low = build_model(spec("decoder", "window", AUTOMATIC))
        assert {p.dtype for p in low.parameters()} == {SINGLE}
        assert low.works_in == LOW

    def test_stored_matrices_are_rounded_and_vectors_are_not(self):
        plain, low = (build_model(spec("decoder", "window", addon)) for addon in ("", STORED))
        for (name, wanted), found in zip(plain.named_parameters(), low.parameters(), strict=True):
            assert found.dtype == (LOW if wanted.ndim > 1 else SINGLE), name
            assert (found == wanted.to(found.dtype)).all()
        assert dict(low.named_modules())["output.linear"].weight is low.embedding.table()

    def test_buffers_stay_in_single_precision(self):
        low = build_model(spec("decoder", "routing", STORED))
        assert {b.dtype for b in low.buffers() if b.is_floating_point()} == {SINGLE}

    def test_matrices_are_learnt_in_single_precision(self):
        low = build_model(spec("decoder", "window", STORED), training=True)
        assert {p.dtype for p in low.parameters()} == {SINGLE}
        assert low.works_in == LOW
        finish_model(low)
        assert {p.dtype for p in low.parameters() if p.ndim > 1} == {LOW}

    def test_float32_changes_nothing(self):
        found, wanted = (build_model(spec("decoder", "window", one)) for one in ("precision(float32)", ""))
        assert found.works_in is None
        assert (found.eval()(tokens()).logits == wanted.eval()(tokens()).logits).all()

    def test_it_says_what_it_leaves(self):
        low = build_model(spec("decoder", "window", STORED))
        kept = sum(p.numel() for p in low.parameters() if p.ndim < 2)
        (listed,) = low.addons
        said = f"precision: vectors, {kept:,} numbers in norms and biases, stay in float32"
        assert listed.addon.describe(low) == (said,)
        assert listed.addon.describe(low.double()) == (said.replace("float32", "float64"),)

    @BOTH
    def test_what_is_saved_is_loaded_bit_for_bit(self, addon, tmp_path):
        low, path = build_model(spec("decoder", "window", addon), seed=3).eval(), tmp_path / "low.safetensors"
        save_weights(low, path)
        other = build_model(spec("decoder", "window", addon), seed=4).eval()
        load_weights(other, path)
        for again in (other, load_model(path)):
            assert again.works_in == LOW
            assert [t.dtype for t in again.state_dict().values()] == [t.dtype for t in low.state_dict().values()]
            pairs = zip(again.state_dict().values(), low.state_dict().values(), strict=True)
            assert all((a == b).all() for a, b in pairs)
            assert (again(tokens()).logits == low(tokens()).logits).all()

    def test_a_file_takes_half_the_room(self, tmp_path):
        sizes = []
        for addon in (AUTOMATIC, STORED):
            path = save_weights(build_model(spec("decoder", "dense, few keys", addon)), tmp_path / "low.safetensors")
            sizes.append(path.stat().st_size)
        assert sizes[1] < 0.65 * sizes[0]

    @BOTH
    def test_work_is_counted_as_without_it(self, addon):
        found, wanted = (
            counts(plan_model(spec("decoder", "compressive", one)), 64, activations=True, training=True)
            for one in (addon, "")
        )
        assert (found.forward, found.training) == (wanted.forward, wanted.training)
        if addon == STORED:  # else copies of weights are kept beside rows, which are few here
            assert found.activations < wanted.activations

    @BOTH
    def test_layers_are_computed_again_as_they_were(self, addon):
        gradients = []
        for recompute in (False, True):
            low = made("decoder", "window", addon).train()
            for stack in low.stacks().values():
                stack.recompute = recompute
            low(tokens()).logits.square().sum().backward()
            gradients.append([p.grad for p in low.parameters()])
        assert all((a == b).all() for a, b in zip(*gradients, strict=True))


class TestRefused:
    @pytest.mark.parametrize(
        ("addon", "message", "label", "fixes"),
        [
            (
                "precision(fp16)",
                "precision 'fp16' is refused",
                "its numbers end at 65504 and below 6e-8: logits overflow, and gradients vanish unless the loss is "
                "scaled, which is not done here",
                ("bf16: as many bytes, and the range of float32",),
            ),
            (
                "precision(float32, weights=true)",
                "weights are stored in float32 anyway",
                "",
                ("weights=false", "to=bf16"),
            ),
        ],
    )
    def test_what_cannot_work(self, addon, message, label, fixes):
        with pytest.raises(SpecError) as caught:
            build_model(spec("decoder", "window", addon))
        (finding,) = caught.value.diagnostics
        assert (finding.message, finding.label, finding.fixes) == (message, label, fixes)


def test_the_front_door_builds_it(tmp_path):
    file = tmp_path / "mine.xc.yaml"
    file.write_text(f'xcompose: 1\nmodel: {{type: decoder, dim: 64, layers: 1}}\naddons: ["{AUTOMATIC}"]\n')
    assert xc.build(file).works_in == LOW


@BOTH
def test_casts_around_the_model_change_nothing_more(addon):
    """As a trainer makes them that has a precision of its own."""
    low = made("decoder", "linear", addon)
    with torch.no_grad():
        alone = low(tokens()).logits
        with torch.autocast("cpu", torch.bfloat16):
            assert (low(tokens()).logits == alone).all()
