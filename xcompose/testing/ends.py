"""What embeddings, outputs, whole models and inits owe."""

from __future__ import annotations

from xcompose.testing.contract import BuiltContract


class EmbeddingContract(BuiltContract):
    """Contract tests of embeddings."""

    kind = "embedding"


class OutputContract(BuiltContract):
    """Contract tests of outputs."""

    kind = "output"


class ModelContract(BuiltContract):
    """Contract tests of model types. An expression is a name; its keys stand in `model`."""

    kind = "model"


class InitContract(BuiltContract):
    """Contract tests of inits."""

    kind = "init"
