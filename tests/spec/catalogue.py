"""A catalogue of every component that the example specs name: schemas alone, nothing to build."""

from __future__ import annotations

from typing import Any, Literal

from xcompose.compose.options import ModelOptions, OneStackOptions
from xcompose.schema import (
    REQUIRED,
    AnyValue,
    Blocks,
    ComponentSchema,
    Count,
    Layers,
    Length,
    OptionSchema,
    Part,
    Real,
    Section,
    SpecRef,
    Text,
    Width,
    option,
    option_schemas,
    options,
    type_of,
)  # fmt: skip
from xcompose.spec.catalogue import Catalogue


@options
class RowsGroup:
    """One group of queries and what answers them."""

    rows: Part.pattern | None = option(None)
    """Which queries; the others if not written."""
    use: Part.mixer = option()
    """What answers them."""


@options
class Decoder(OneStackOptions):
    """A decoder."""

    output: Part.output = option("lm")
    """Rows to logits."""


@options
class Encoder(OneStackOptions):
    """An encoder."""

    output: Part.output = option("none")
    """Rows to logits."""


@options
class EncoderDecoder(ModelOptions):
    """An encoder and a decoder."""

    cross: Part.mixer = option("attention", layer=True)
    """What reads the encoder."""
    encoder: Section = option()
    """The first stack."""
    decoder: Section = option()
    """The second stack."""
    output: Part.output = option("lm")
    """Rows to logits."""


@options
class AxialDecoder(ModelOptions):
    """Two stacks and a shift."""

    outer: Section = option()
    """Rows above."""
    inner: Section = option()
    """The row itself."""
    blocks: Blocks = option(None)
    """Layers with a name."""
    output: Part.output = option("lm")
    """Rows to logits."""


def given(name: str, annotation: Any, default: Any = REQUIRED, **facts: Any) -> OptionSchema:
    return OptionSchema(name, type_of(annotation), default, **facts)


def part(kind: str, name: str, *given: OptionSchema, **facts: Any) -> ComponentSchema:
    return ComponentSchema(kind, name, options=given, **facts)


def main(name: str, annotation: Any, default: Any = REQUIRED, **facts: Any) -> OptionSchema:
    return given(name, annotation, default, main=True, **facts)


def _model(name: str, cls: type) -> ComponentSchema:
    return ComponentSchema("model", name, options=option_schemas(cls))


HEADS = tuple(given(n, Count | None, None, inherited=True, at_least=1) for n in ("heads", "kv_heads", "head_dim"))
BIAS = given("bias", bool, True, inherited=True)
AROUND = (
    given("ffn", Part.ffn, "single", inherited=True), given("norm", Part.norm, "layer", inherited=True),
    given("residual", Part.residual, "post-norm", inherited=True),
)  # fmt: skip
DATA = main("data", Text | None, None)

MODELS = [
    _model("decoder", Decoder), _model("encoder", Encoder), _model("encoder-decoder", EncoderDecoder),
]  # fmt: skip
PATTERNS = [
    part("pattern", "dense"),
    part("pattern", "none"),
    part("pattern", "window", main("size", Length), given("dilation", Count, 1, at_least=1)),
    part("pattern", "blocks", main("size", Length, at_least=1), given("back", Count, 0), given("ahead", Count, 0)),
    part("pattern", "strided", main("stride", Count, at_least=1)),
    part("pattern", "first", main("size", Count)),
    part("pattern", "global", main("first", Count, 0), given("last", Count, 0)),
    part("pattern", "random", main("count", Count), given("block", Count, 1), given("seed", Count, 0)),
    part("pattern", "summary", main("block", Count), given("last", Count),
         given("spread", Literal["none", "heads"], "none")),
    part("pattern", "axis", main("axis", Count)),
    part("pattern", "lsh", given("buckets", Count), given("rounds", Count, 1), given("chunk", Count),
         given("back", Count, 1), given("form", Literal["published", "strict"], "published")),
    part("pattern", "routing", main("clusters", Count), given("window", Length),
         given("form", Literal["published", "strict"], "published")),
    *(part("pattern", name, main("of", tuple[Part.pattern, ...])) for name in ("union", "intersection", "difference")),
    part("pattern", "heads", main("of", tuple[Part.pattern, ...], shares=True)),
]  # fmt: skip
MIXERS = [
    part("mixer", "attention", given("pattern", Part.pattern | None, None), given("score", Part.score, "softmax"),
         given("memory", Part.memory | None, None), given("recurrence", Part.recurrence, "none", inherited=True),
         given("position", Part.position, "rotary", inherited=True), *HEADS, BIAS, given("dropout", Real, 0.0),
         given("shared_qk", bool, False), given("scale", Literal["head", "dim"], "head"), given("out", bool, True),
         given("add_query", bool | None, None)),
    part("mixer", "heads", main("of", tuple[Part.mixer, ...], shares=True)),
    *(part("mixer", name, main("of", tuple[Part.mixer, ...])) for name in ("sum", "gate", "chain")),
    part("mixer", "rows", given("share", tuple[Literal["q", "k", "v", "out"], ...], ()),
         main("of", tuple[RowsGroup, ...])),
]  # fmt: skip
SCORES = [
    part("score", "softmax"),
    part("score", "linear"),
    part("score", "favor", main("features", Count, 256), given("kernel", Literal["relu", "softmax"], "relu"),
         given("stabilizer", Literal["none", "running"], "none")),
]  # fmt: skip
MEMORIES = [
    part("memory", "conv", main("factor", Count), given("pattern", Part.pattern, "dense"),
         given("null", Literal["none", "learned", "zero"], "none")),
    part("memory", "linformer", main("rank", Count), given("pattern", Part.pattern, "dense")),
    part("memory", "inducing", main("points", Count), given("mixer", Part.mixer, "attention"), *AROUND),
    part("memory", "all", main("of", tuple[Part.memory, ...])),
]  # fmt: skip
RECURRENCES = [
    part("recurrence", "none"),
    part("recurrence", "segments", main("length", Length), given("memory", Length)),
    part("recurrence", "compressive", main("length", Length), given("memory", Length), given("compressed", Length),
         given("rate", Count), given("by", Literal["conv", "mean"], "conv"),
         given("loss", Literal["none", "attention"], "none")),
]  # fmt: skip
POSITIONS = [
    part("position", "none"), part("position", "rotary", also=("rope",)), part("position", "learned"),
    part("position", "sinusoidal"), part("position", "transformer-xl", given("clamp", Length | None, None)),
    part("position", "relative", main("clip", Count), given("per_head", bool, True)),
    part("position", "axial", given("shape", tuple[Length, ...] | None, None),
         given("dims", tuple[Count, ...] | None, None), given("join", Literal["sum", "concat"] | None, None)),
    part("position", "all", main("of", tuple[Part.position, ...])),
]  # fmt: skip
ACT = given("act", Literal["gelu", "gelu-tanh", "quick-gelu", "relu", "silu"], "gelu")
REST = [
    part("ffn", "none"), part("ffn", "single", BIAS),
    part("ffn", "mlp", main("width", Width, "4x", at_least=1), ACT, given("chunk", Count | None, None), BIAS),
    part("ffn", "gated", main("width", Width, "4x", at_least=1), ACT, BIAS, also=("swiglu", "geglu")),
    part("norm", "layer"), part("norm", "rms", also=("rmsnorm",)), part("norm", "none"),
    part("residual", "pre-norm"), part("residual", "post-norm", given("around", Literal["all", "ffn"], "all")),
    part("residual", "reversible", given("join", Literal["mean", "concat"], "mean")),
    part("embedding", "tokens", given("rank", Count | None, None), given("norm", bool, False),
         given("types", Count, 0), given("scaled", bool, False)),
    part("embedding", "vectors", main("width", Count)),
    part("output", "none"), part("output", "mlm", given("rank", Count | None, None)),
    part("output", "lm", given("tied", bool, True), given("bias", bool, False)),
    part("output", "stacked", given("layers", Layers)),
    part("output", "pooled-classify", main("classes", Count), given("seeds", Count, 1), given("layers", Count, 0),
         given("before", Part.ffn, "single"), given("mixer", Part.mixer, "attention"), *AROUND),
    part("init", "fan-in", main("scale", Real, 1.0), given("stream", Real, 1.0), given("logits", Real, 1.0)),
    part("init", "normal", main("std", Real, 0.02)), part("init", "sparse-transformer"),
    part("addon", "share", main("what", Literal["all", "attention", "ffn"], "all")),
    part("addon", "precision", main("dtype", Literal["bf16", "fp16"])),
    part("addon", "quantize", main("to", Literal["int8", "int4"]), given("only", tuple[Text, ...], ())),
    part("addon", "lora", main("rank", Count), given("targets", tuple[Text, ...], ())),
    part("addon", "distill", main("teacher", SpecRef), given("logits", Real, 0.5), given("hidden", Real, 0.0),
         given("temperature", Real, 2.0, above=0), given("layers", AnyValue, "even")),
    *(part("task", name, DATA) for name in ("lm", "mlm", "classify", "translate", "pixels", "points")),
    part("optimizer", "adam", given("betas", tuple[Real, ...], (0.9, 0.999)), given("weight_decay", Real, 0.0)),
    part("optimizer", "adamw", given("betas", tuple[Real, ...], (0.9, 0.95)), given("weight_decay", Real, 0.1)),
    part("schedule", "cosine", given("warmup", Count, 0)), part("schedule", "rsqrt", given("warmup", Count)),
    part("strategy", "evolve", given("population", Count, 20)),
]  # fmt: skip
PLUGINS = [
    part("mixer", "nystrom", main("landmarks", Count), *HEADS, namespace="acme", distribution="acme-mixers"),
    _model("axial-decoder", AxialDecoder),
]

SCHEMAS = [*MODELS, *PATTERNS, *MIXERS, *SCORES, *MEMORIES, *RECURRENCES, *POSITIONS, *REST, *PLUGINS]
CATALOGUE = Catalogue(SCHEMAS)
