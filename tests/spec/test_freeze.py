"""The text of a spec with every default, and what a model's identity is."""

from __future__ import annotations

from xcompose.spec import fingerprint, freeze

from .helpers import spec_of

TEXT = """\
xcompose: 1
let: {w: 8}
model:
  type: decoder
  dim: 256
  blocks:
    near: attention(pattern=window(${w}) | global(4))
  layers: 3*near, 2, heads(3*attention(pattern=(dense - window(2)) & strided(2)), attention)
expect: {params: 3M ± 5%, state: [O(n), ..4MiB at 1Ki]}
"""
FROZEN = """\
xcompose: 1
name: s
model:
  type: decoder
  mixer: attention(score=softmax, dropout=0.0, shared_qk=false, scale=head, out=true)
  ffn: mlp(width=1024, act=gelu)
  norm: layer
  residual: pre-norm
  position: rotary
  recurrence: none
  heads: 4
  kv_heads: 4
  head_dim: 64
  bias: true
  dropout: 0.0
  dim: 256
  vocab: 256
  embedding: tokens(norm=false, types=0, scaled=false)
  init: normal(std=0.02)
  causal: strict
  layers:
    - repeat: 3
      mixer:
        type: attention
        pattern: window(size=8, dilation=1) | global(first=4, last=0)
        score: softmax
        dropout: 0.0
        shared_qk: false
        scale: head
        out: true
    - 2
    - mixer:
        type: heads
        of:
          - shares: 3
            use:
              type: attention
              pattern: (dense - window(size=2, dilation=1)) & strided(stride=2)
              score: softmax
              dropout: 0.0
              shared_qk: false
              scale: head
              out: true
          - shares: 1
            use: attention(score=softmax, dropout=0.0, shared_qk=false, scale=head, out=true)
  output: lm(tied=true, bias=false)
expect:
  params: 3M ± 5%
  state:
    - O(n)
    - ..4MiB at 1Ki
"""


def test_a_frozen_spec_has_every_default():
    spec = spec_of(TEXT)

    assert freeze(spec) == FROZEN
    assert spec_of(FROZEN).model == spec.model
    assert freeze(spec_of(FROZEN)) == FROZEN


def test_the_identity_is_model_and_addons_alone():
    head = "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 2}\n"
    same = [
        head,
        head + "about: other\ntask: lm\ntrain: {lr: 1}\nexpect: {layers: 2}\n",
        "xcompose: 1\nlet: {n: 2}\nmodel: {type: decoder, dim: 256, ffn: mlp(1024), layers: '${n}'}\n",
        "xcompose: 1\nmodel: {type: decoder, dim: 256, blocks: {a: {}, b: {}}, layers: 'a, b'}\n",
    ]
    others = [
        head.replace("256", "128"), head.replace("layers: 2", "layers: 3"), head + "addons: share\n",
        head + "addons: share(ffn)\n", "xcompose: 1\n",
    ]  # fmt: skip

    assert len({fingerprint(spec_of(text)) for text in same}) == 1
    assert len({fingerprint(spec_of(text)) for text in [head, *others]}) == 6
    assert len(fingerprint(spec_of(head))) == 64
