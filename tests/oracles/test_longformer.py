"""Longformer's attention and the whole of LED beside transformers 5.23.0.

Where the oracle departs: `attention_window` counts both sides, so ours is half of it; its softmax is in single
precision whatever the weights are; lengths must be multiples of its window; a padded query is answered by zero, ours by
what the other rows say, and the model drops both. LED normalises the embeddings of source and target by norms of their
own, ours by one, so both get the same weights; dilation and the causal form exist in its authors' GPU kernels only.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="pip install -e '.[oracles]'")
from transformers import LEDConfig, LEDForConditionalGeneration, LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention
from xcompose_plugins.mixers.rows import RowsItem

from tests.plugins.helpers import attention, mixer, part, pattern, rows
from xcompose.attention.reads import Axis
from xcompose.compose.build import build_model
from xcompose.registry import load
from xcompose.spec import load_text

pytestmark = pytest.mark.oracle
B, N, C, H, W = 3, 24, 12, 3, 4
CLOSE = {"rtol": 0, "atol": 3e-6}


def theirs() -> LongformerSelfAttention:
    config = LongformerConfig(
        hidden_size=C, num_attention_heads=H, attention_window=[2 * W], attention_probs_dropout_prob=0.0
    )
    made = LongformerSelfAttention(config, 0).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    return made


def ours(from_them: LongformerSelfAttention, first: int):
    """Global rows ask by `*_global`; all others, whatever they read, by the plain projections."""
    everywhere = attention(heads=H, out=False)
    local = pattern("window", size=W)
    if not first:
        made = mixer(attention(heads=H, out=False, pattern=local), C, "none")
        members = ((made, ""),)
    else:
        near = attention(heads=H, out=False, pattern=pattern("union", of=(local, pattern("global", first=first))))
        items = (RowsItem(rows=pattern("first", size=first), use=everywhere), RowsItem(use=near))
        made = mixer(part("mixer", "rows", of=items), C, "none")
        members = tuple(zip(made.members, ("_global", ""), strict=True))
    for member, suffix in members:
        for name, long in (("q", "query"), ("k", "key"), ("v", "value")):
            getattr(member, name).load_state_dict(getattr(from_them, f"{long}{suffix}").state_dict())
    return made


def answer(attention: LongformerSelfAttention, x: Tensor, valid: Tensor, first: int) -> Tensor:
    globals_ = (torch.arange(x.shape[1]) < first).expand(valid.shape) & valid
    mask = torch.zeros(valid.shape, dtype=x.dtype).masked_fill(~valid, -10000.0).masked_fill(globals_, 10000.0)
    (found,) = attention(
        x, attention_mask=mask, is_index_masked=mask < 0, is_index_global_attn=mask > 0,
        is_global_attn=bool((mask > 0).any()),
    )  # fmt: skip
    return found


@pytest.mark.parametrize("first", [0, 1, 3, W + 2])
@pytest.mark.parametrize("lengths", [(N, N, N), (N, 17, 9)], ids=["full", "padded"])
def test_attention_and_gradients(first, lengths):
    oracle = theirs()
    made = ours(oracle, first)
    valid = torch.arange(N) < torch.tensor(lengths)[:, None]
    x = torch.where(valid[..., None], rows(B, N, C), 0.0).requires_grad_()
    there = None if valid.all() else valid

    wanted, found = answer(oracle, x, valid, first)[valid], made(x, Axis(range(N), there, total=N)).x[valid]

    torch.testing.assert_close(found, wanted, **CLOSE)
    upstream = rows(len(wanted), C, seed=5)
    one, other = (torch.autograd.grad((y * upstream).sum(), x)[0][valid] for y in (found, wanted))
    torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


TEXT = """\
xcompose: 1
model:
  type: encoder-decoder
  vocab: 31
  dim: 12
  heads: 3
  position: learned
  residual: post-norm
  embedding: tokens(norm=true)
  output: lm(tied=true)
  encoder:
    length: 48
    layers: 2
    mixer:
      type: rows
      share: [out]
      of:
        - rows: first(1)
          use: attention(pattern=dense)
        - use: attention(pattern=window(4) | global(1))
  decoder: {length: 20, layers: 2, mixer: attention, cross: attention}
"""


def led() -> LEDForConditionalGeneration:
    config = LEDConfig(
        vocab_size=31, d_model=C, encoder_layers=2, decoder_layers=2, encoder_attention_heads=H,
        decoder_attention_heads=H, encoder_ffn_dim=4 * C, decoder_ffn_dim=4 * C, attention_window=[2 * W, 2 * W],
        max_encoder_position_embeddings=48, max_decoder_position_embeddings=20, dropout=0.0, attention_dropout=0.0,
        activation_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0, pad_token_id=1,
    )  # fmt: skip
    made = LEDForConditionalGeneration(config).double().eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.4)
        made.led.decoder.layernorm_embedding.load_state_dict(made.led.encoder.layernorm_embedding.state_dict())
    return made


def names() -> dict[str, str]:
    """Modules of ours, and theirs."""
    found = {
        "embedding.tokens": "led.shared", "embedding.norm": "led.encoder.layernorm_embedding",
        "encoder.position.places": "led.encoder.embed_positions",
        "decoder.position.places": "led.decoder.embed_positions",
    }  # fmt: skip
    plain = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}
    for i in range(2):
        here, there = f"encoder.stack.layers.{i}", f"led.encoder.layers.{i}"
        for name, long in (("q", "query"), ("k", "key"), ("v", "value")):
            found[f"{here}.mixer.of.0.{name}"] = f"{there}.self_attn.longformer_self_attn.{long}_global"
            found[f"{here}.mixer.of.1.{name}"] = f"{there}.self_attn.longformer_self_attn.{long}"
        found[f"{here}.mixer.of.0.out"] = f"{there}.self_attn.output"
        norms = ["self_attn_layer_norm", "final_layer_norm"]
        found |= {f"{here}.residual.norms.{k}": f"{there}.{name}" for k, name in enumerate(norms)}
        found |= {f"{here}.ffn.{name}": f"{there}.fc{k + 1}" for k, name in enumerate(FFN)}
        here, there = f"decoder.stack.layers.{i}", f"led.decoder.layers.{i}"
        found |= {f"{here}.mixer.{a}": f"{there}.self_attn.{b}" for a, b in plain.items()}
        found |= {f"{here}.cross.{a}": f"{there}.encoder_attn.{b}" for a, b in plain.items()}
        norms = ["self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"]
        found |= {f"{here}.residual.norms.{k}": f"{there}.{name}" for k, name in enumerate(norms)}
        found |= {f"{here}.ffn.{name}": f"{there}.fc{k + 1}" for k, name in enumerate(FFN)}
    return found


FFN = ("up", "down")


def test_led_forward_and_gradients():
    oracle = led()
    made = build_model(load_text(TEXT, "led", catalogue=load().catalogue)).double().eval()
    for mine, other in names().items():
        made.get_submodule(mine).load_state_dict(oracle.get_submodule(other).state_dict())
    mapped = {f"{name}." for name in names()} | {"output.linear.", "encoder.stack.layers.0.mixer.of.1.out."}
    mapped |= {"encoder.stack.layers.1.mixer.of.1.out."}
    assert all(any(key.startswith(name) for name in mapped) for key in made.state_dict())
    generator = torch.Generator().manual_seed(3)
    source, target = (torch.randint(2, 31, (3, n), generator=generator) for n in (19, 7))
    there = torch.arange(19) < torch.tensor([19, 11, 3])[:, None]
    globals_ = (torch.arange(19) < 1).long().expand(3, -1)

    wanted = oracle(
        input_ids=source.masked_fill(~there, 1), attention_mask=there.long(), global_attention_mask=globals_,
        decoder_input_ids=target,
    ).logits  # fmt: skip
    found = made(target, source=source, source_mask=there).logits

    scale = wanted.abs().max()
    torch.testing.assert_close(found / scale, wanted / scale, **CLOSE)
    upstream = rows(*wanted.shape, seed=5)
    mine = [made.embedding.tokens.weight, made.layers[0].mixer.members[0].k.weight]  # type: ignore[union-attr]
    layer = oracle.led.encoder.layers[0].self_attn.longformer_self_attn
    for ours_, theirs_ in zip(
        torch.autograd.grad((found * upstream).sum(), mine),
        torch.autograd.grad((wanted * upstream).sum(), [oracle.led.shared.weight, layer.key_global.weight]),
        strict=True,
    ):
        torch.testing.assert_close(ours_ / theirs_.abs().max(), theirs_ / theirs_.abs().max(), rtol=0, atol=2e-5)
