"""Built-in layers' parts, embeddings, outputs, models and inits keep the contract that other people's are held to."""

from __future__ import annotations

import pytest

from xcompose.testing import (
    EmbeddingContract,
    FfnContract,
    InitContract,
    ModelContract,
    NormContract,
    OutputContract,
    ResidualContract,
)

pytestmark = pytest.mark.filterwarnings("ignore:.* is not tried in models of type")  # each as its card says


class TestFfns(FfnContract):
    expressions = ("mlp(2x)", "gated(2x, chunk=4)", "single", "none")


class TestNorms(NormContract):
    expressions = ("layer", "layer(shift=false)", "rms", "none")


class TestNormsOfStreams(NormContract):
    expressions = ("streams(rms)",)
    by_place = True
    types = ("encoder",)
    model = {"embedding": "tokens(prefix=2)"}


class TestResiduals(ResidualContract):
    expressions = ("pre-norm", "post-norm", "parallel", "reversible")


class TestEmbeddings(EmbeddingContract):
    expressions = ("tokens", "tokens(rank=5)", "adaptive([4, 8], div=2)")


class TestEmbeddingsOfEncoders(EmbeddingContract):
    types = ("encoder",)
    expressions = ("tokens(prefix=2)", "vectors(3)")


class TestOutputs(OutputContract):
    expressions = ("lm", "logistics(3)", "none")


class TestOutputsByFrequency(OutputContract):
    expressions = ("adaptive",)
    model = {"embedding": "adaptive([4, 8], div=2)"}


class TestOutputsOfEncoders(OutputContract):
    types = ("encoder",)
    expressions = ("mlm", "classify(3)", "pooled-classify(3)", "lm")


class TestModels(ModelContract):
    expressions = ("decoder", "encoder", "encoder-decoder")


class TestModelsOfGrids(ModelContract):
    expressions = ("axial-decoder",)
    model = {"grid": [5, 8]}


class TestInits(InitContract):
    expressions = ("normal", "fan-in", "sparse-transformer")
