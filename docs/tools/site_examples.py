"""The least spec that uses a component, for its page. All of them pass `xcompose check --stage compose`."""

from __future__ import annotations

from xcompose.schema import ComponentSchema

MODEL = {"type": "decoder", "dim": "64", "heads": "4", "layers": "2"}

EXPRESSIONS = {
    ("pattern", "adaptive-span"): "adaptive-span(256)",
    ("pattern", "axis"): "axis(0)",
    ("pattern", "blocks"): "blocks(8)",
    ("pattern", "difference"): "window(16) - window(4)",
    ("pattern", "first"): "window(4) | first(2)",
    ("pattern", "global"): "window(4) | global(2)",
    ("pattern", "heads"): "heads(3*window(4), dense)",
    ("pattern", "intersection"): "window(16) & strided(4)",
    ("pattern", "local"): "local([8], memory=[8])",
    ("pattern", "lsh"): "lsh(buckets=8, chunk=8, rounds=2)",
    ("pattern", "none"): "none",
    ("pattern", "prefix"): "window(4) | prefix",
    ("pattern", "random"): "window(4) | random(2, block=4)",
    ("pattern", "random-blocks"): "blocks(4, back=1, ahead=1) | random-blocks(2, block=4) | global(first=4, last=4)",
    ("pattern", "routing"): "routing(4, window=8)",
    ("pattern", "strided"): "strided(4)",
    ("pattern", "summary"): "blocks(8) | summary(8, last=2)",
    ("pattern", "union"): "window(4) | strided(4)",
    ("pattern", "window"): "window(4)",
    ("score", "synthesizer"): "synthesizer(dense, content)",
    ("memory", "all"): "all(conv(4), linformer(8))",
    ("memory", "conv"): "conv(4)",
    ("memory", "inducing"): "inducing(8)",
    ("memory", "linformer"): "linformer(16)",
    ("memory", "pool"): "pool(4)",
    ("memory", "reread"): "reread(first(2))",
    ("memory", "sinkhorn"): "sinkhorn(8)",
    ("recurrence", "compressive"): "compressive(12, memory=12, compressed=4)",
    ("recurrence", "segments"): "segments(16, memory=16)",
    ("mixer", "chain"): "chain(attention(pattern=window(4)), attention(score=linear))",
    ("mixer", "gate"): "gate(attention(pattern=window(4)), attention(score=linear))",
    ("mixer", "heads"): "heads(3*attention(pattern=window(4)), attention(score=linear))",
    ("mixer", "sum"): "sum(attention(pattern=window(4)), attention(score=linear))",
    ("position", "all"): "all(rotary, alibi)",
    ("position", "relative"): "relative(16)",
    ("addon", "adapter"): "adapter(8)",
    ("addon", "lora"): "lora(4)",
    ("addon", "precision"): "precision(bf16)",
    ("addon", "quantize"): "quantize(int8)",
    ("addon", "share"): "share(all)",
    ("embedding", "adaptive"): "adaptive([64, 128])",
    ("embedding", "vectors"): "vectors(3)",
    ("output", "classify"): "classify(8)",
    ("output", "pooled-classify"): "pooled-classify(8)",
}
"""What is written instead of the bare name."""

ENCODER = {"type": "encoder"}
LONG = {"length": "64"}
CHANGES: dict[tuple[str, str], dict[str, str]] = {
    ("pattern", "adaptive-span"): {"mixer": "attention(pattern=adaptive-span(32), silence=zero)"},
    ("pattern", "axis"): {"grid": "[8, 8]"},
    ("pattern", "difference"): {"mixer": "attention(pattern=window(16) - window(4), silence=zero)"},
    ("pattern", "none"): {"mixer": "attention(pattern=none, memory=reread(first(1)))"},
    ("pattern", "prefix"): {**ENCODER, "embedding": "tokens(prefix=4)"},
    ("pattern", "random-blocks"): {**ENCODER, **LONG},
    ("score", "synthesizer"): LONG,
    ("memory", "all"): {**ENCODER, **LONG},
    ("memory", "inducing"): {**ENCODER, "mixer": "attention(pattern=none, memory=inducing(8))", "position": "none"},
    ("memory", "linformer"): {**ENCODER, **LONG, "mixer": "attention(pattern=none, memory=linformer(16))"},
    ("memory", "sinkhorn"): LONG,
    ("position", "axial"): {"grid": "[8, 8]"},
    ("position", "learned"): LONG,
    ("embedding", "adaptive"): {"output": "lm(tied=false)"},
    ("embedding", "vectors"): {**ENCODER, "position": "none", "output": "classify(10)"},
    ("init", "sparse-transformer"): {"output": "lm(tied=false)"},
    ("norm", "streams"): {**ENCODER, "embedding": "tokens(prefix=4)"},
    ("output", "adaptive"): {"embedding": "adaptive([64, 128])"},
    ("output", "classify"): ENCODER,
    ("output", "pooled-classify"): ENCODER,
    ("output", "mlm"): ENCODER,
    ("output", "none"): ENCODER,
    ("model", "axial-decoder"): {
        "grid": "[8, 8]",
        "layers": "null",
        "outer": '{layers: "attention(pattern=axis(1)), attention(pattern=axis(0))"}',
        "inner": "{layers: attention(pattern=axis(1))}",
    },
    ("model", "encoder-decoder"): {"layers": "null", "encoder": "{layers: 2}", "decoder": "{layers: 2}"},
    ("addon", "universal"): {"layers": "4", "position": "none"},
    ("task", "classify"): {**ENCODER, **LONG, "output": "classify(8)"},
    ("task", "classify-pixels"): {**ENCODER, "grid": "[8, 8]", "output": "classify(10)"},
    ("task", "mlm"): {**ENCODER, "output": "mlm"},
    ("task", "pixels"): {"grid": "[8, 8]"},
    ("task", "points"): {**ENCODER, **LONG, "embedding": "vectors(3)", "position": "none", "output": "classify(10)"},
    ("task", "translate"): {
        "type": "encoder-decoder",
        "layers": "null",
        "encoder": "{layers: 2}",
        "decoder": "{layers: 2}",
    },
}
"""What the model around a component says besides MODEL; `null` drops a key."""

WHOLE = {
    ("mixer", "rows"): """\
xcompose: 1
model:
  type: encoder
  dim: 64
  heads: 4
  layers: 2
  mixer:
    type: rows
    of:
      - {rows: first(2), use: attention}
      - {use: attention(pattern=window(4) | global(2))}
""",
    ("addon", "fusion"): """\
xcompose: 1
model:
  type: decoder
  dim: 64
  heads: 4
  layers: 2
addons:
  - adapter(8, name=first)
  - adapter(8, name=second)
  - fusion(first, second)
""",
    ("addon", "distill"): """\
xcompose: 1
model:
  type: decoder
  dim: 64
  heads: 4
  layers: 2*attention(score=linear)
task: lm(data=stdlib)
train:
  addons:
    - distill("dense-12m.xc.yaml")
""",
}
"""Specs that are written out because no line of MODEL holds the component."""

BESIDE = ("beyond/dense-12m",)
"""Shipped specs that examples name: these stand in the same folder."""


def expression(schema: ComponentSchema) -> str:
    """How a spec calls the component."""
    return EXPRESSIONS.get((schema.kind, schema.name), schema.full_name)


def example(schema: ComponentSchema) -> str:
    """A complete spec that uses the component."""
    key = (schema.kind, schema.name)
    if key in WHOLE:
        return WHOLE[key]
    call, model, rest = expression(schema), dict(MODEL), ""
    match schema.kind:
        case "pattern" | "score":
            model["mixer"] = f"attention({schema.kind}={call})"
        case "memory":
            model["mixer"] = f"attention(pattern=window(4), memory={call})"
        case "model":
            model["type"] = call
        case "addon":
            rest = f"addons: [{call}]\n" if "," not in call else f"addons:\n  - {call}\n"
        case "task":
            rest = f"task: {call}\n"
        case "optimizer" | "schedule":
            rest = f"task: lm(data=stdlib)\ntrain:\n  {schema.kind}: {call}\n"
        case "strategy":
            rest = f"task: lm(data=stdlib)\nsearch:\n  strategy: {call}\n"
            rest += "  choices: {model.heads: [2, 4]}\n  minimize: [params]\n"
        case kind:
            model[kind] = call
    model |= CHANGES.get(key, {})
    lines = "".join(f"  {name}: {value}\n" for name, value in model.items() if value != "null")
    return f"xcompose: 1\nmodel:\n{lines}{rest}"
