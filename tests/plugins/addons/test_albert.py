"""ALBERT from a spec against transformers' own: as many parameters, equal answers, equal gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import xcompose as xc
from xcompose.compose.build import plan_model
from xcompose.cost.count import parameters

transformers = pytest.importorskip("transformers", reason="pip install -e '.[oracles]'")

SPEC = Path(__file__).parents[3] / "specs" / "addons" / "albert.xc.yaml"
SIZES = {"": (768, 12, 12), "@large": (1024, 24, 16), "@xlarge": (2048, 24, 32), "@xxlarge": (4096, 12, 64)}
"""Width, layers, heads of the paper's table 1."""
C, H, L, F, E, V, N = 12, 3, 3, 48, 5, 23, 11


def config(**changes):
    sizes = {"hidden_size": C, "num_attention_heads": H, "num_hidden_layers": L, "intermediate_size": F}
    narrow = {"embedding_size": E, "vocab_size": V, "max_position_embeddings": N}
    given = {**sizes, **narrow, "layer_norm_eps": 1e-5, "pad_token_id": None, **changes}
    return transformers.AlbertConfig(**given, attn_implementation="eager")


class TestCounts:
    @pytest.mark.parametrize("variant", SIZES)
    def test_as_many_parameters_as_the_released_layout(self, variant):
        """Ours has the layers, the embedding and the head of masked tokens; theirs to pretrain also a pooler (c^2 + c)
        and the classifier of two orders (2 c + 2)."""
        dim, layers, heads = SIZES[variant]
        sizes = {"hidden_size": dim, "num_hidden_layers": layers, "num_attention_heads": heads}
        theirs = transformers.AlbertConfig(**sizes, intermediate_size=4 * dim)
        with torch.device("meta"):
            masked = transformers.AlbertForMaskedLM(theirs)
            whole = transformers.AlbertForPreTraining(theirs)
        ours = plan_model(xc.read(f"{SPEC}{variant}"))

        assert parameters(ours).total == sum(p.numel() for p in masked.parameters())
        assert parameters(ours).total + dim**2 + dim + 2 * dim + 2 == sum(p.numel() for p in whole.parameters())
        assert len(ours.layers) == layers
        assert ours.layers[0].options["heads"] == heads

    @pytest.mark.parametrize(
        ("variant", "published"), [("", 11.8), ("@large", 17.8), ("@xlarge", 59.0), ("@xxlarge", 223.2)]
    )
    def test_as_the_spec_says(self, variant, published):
        ours = plan_model(xc.read(f"{SPEC}{variant}"))
        whole = parameters(ours).total + ours.dim**2 + ours.dim + 2 * ours.dim + 2

        assert whole / 1e6 == pytest.approx(published, abs=0.05)

    def test_layers_add_nothing(self):
        assert parameters(plan_model(xc.read(str(SPEC), "model.layers=48"))).total == 11_221_680


def names() -> dict[str, str]:
    """From our names to theirs."""
    block, layer = "albert.encoder.albert_layer_groups.0.albert_layers.0", "stack.layers.0"
    parts = {
        "mixer.q": "attention.query", "mixer.k": "attention.key", "mixer.v": "attention.value",
        "mixer.out": "attention.dense", "residual.norms.0": "attention.LayerNorm", "ffn.up": "ffn",
        "ffn.down": "ffn_output", "residual.norms.1": "full_layer_layer_norm",
    }  # fmt: skip
    found = {f"{layer}.{ours}": f"{block}.{theirs}" for ours, theirs in parts.items()}
    found |= {
        "embedding.norm": "albert.embeddings.LayerNorm",
        "embedding.project": "albert.encoder.embedding_hidden_mapping_in",
        "output.transform": "predictions.dense", "output.norm": "predictions.LayerNorm",
    }  # fmt: skip
    both = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in found.items() for kind in ("weight", "bias")}
    tables = {"tokens": "word_embeddings", "types": "token_type_embeddings"}
    both |= {f"embedding.{ours}.weight": f"albert.embeddings.{theirs}.weight" for ours, theirs in tables.items()}
    both["position.places.weight"] = "albert.embeddings.position_embeddings.weight"
    both["output.linear.bias"] = "predictions.bias"
    return both


class TestAnswers:
    @pytest.fixture
    def both(self):
        theirs = transformers.AlbertForMaskedLM(config()).double().eval()
        small = [
            f"model.dim={C}", f"model.heads={H}", f"model.layers={L}", f"model.length={N}", f"model.vocab={V}",
            f"model.embedding.rank={E}", f"model.output.rank={E}", "expect.params=null", "expect.layers=null",
        ]  # fmt: skip
        ours = xc.build(xc.read(str(SPEC), *small), dtype=torch.float64).eval()
        for parameter in theirs.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        with torch.no_grad():
            for name, parameter in ours.named_parameters():
                parameter.copy_(theirs.get_parameter(names()[name]))
        return ours, theirs

    def test_every_parameter_has_its_like(self, both):
        ours, theirs = both

        assert {name for name, _ in ours.named_parameters()} == names().keys()
        assert {name for name, _ in theirs.named_parameters()} == set(names().values())

    def test_equal_answers_and_gradients(self, both):
        ours, theirs = both
        tokens = torch.randint(0, V, (2, 7), generator=torch.Generator().manual_seed(1))
        mask = torch.tensor([[True] * 7, [True] * 5 + [False] * 2])
        found = ours(tokens, mask=mask).logits
        expected = theirs(tokens, attention_mask=mask.long()).logits

        torch.testing.assert_close(found[mask], expected[mask], rtol=0, atol=1e-10)
        found[mask].square().sum().backward()
        expected[mask].square().sum().backward()
        for name, parameter in ours.named_parameters():
            other = theirs.get_parameter(names()[name]).grad
            torch.testing.assert_close(parameter.grad, other, rtol=1e-9, atol=1e-8, msg=name)
