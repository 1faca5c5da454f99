"""Where linear layers stand."""

from __future__ import annotations

import torch
from torch import nn

import xcompose as xc
from xcompose.compose.sites import put, sites, unseen


def built(*addons: str, **keys):
    model = {"type": "decoder", "dim": 24, "heads": 2, "vocab": 17, "layers": 2, **keys}
    return xc.build({"xcompose": 1, "model": model, "addons": list(addons)}, dtype=torch.float64)


def test_every_linear_layer_once_with_all_its_places():
    alone, shared = sites(built()), sites(built("share(all)"))

    assert [site.part for site in alone[:6]] == ["q", "k", "v", "out", "up", "down"]
    assert all(len(site.paths) == 1 for site in alone)
    assert len(alone) == 13
    assert len(shared) == 7
    assert shared[0].paths == ("stack.layers.0.mixer.q", "stack.layers.1.mixer.q")


def test_an_output_with_the_table_of_the_embedding_is_tied():
    tied = {site.name for site in sites(built()) if site.tied}

    assert tied == {"output.linear"}
    assert not any(site.tied for site in sites(built(output="lm(tied=false)")))


def test_what_is_put_stands_in_every_place():
    model = built("share(all)")
    tokens = torch.arange(5)[None]
    first = sites(model)[0]
    before = model(tokens).logits
    calls = []
    other = nn.Linear(24, 24, bias=first.module.bias is not None).double()
    other.load_state_dict(first.module.state_dict())
    other.register_forward_hook(lambda *_: calls.append(1))
    put(model, first.paths, other)

    assert torch.equal(model(tokens).logits, before)
    assert len(calls) == 2
    assert sites(model)[0].module is other


def test_matrices_of_other_modules_are_named():
    assert unseen(built(output="lm(tied=false)")) == ("embedding.tokens.weight",)
    assert unseen(built()) == (), "the table is the weight of the output, too"


def test_layers_whose_weight_is_read_as_a_matrix_are_marked():
    def read(**keys):
        return {site.name for site in sites(built(layers=1, **keys)) if site.read}

    assert read() == set()
    assert read(position="transformer-xl") == {"stack.layers.0.mixer.inner.position.r"}
    assert read(mixer="attention(pattern=window(4), memory=conv(2))") == set()
    heads = read(mixer="attention(pattern=window(4), memory=conv(2, per_head=true))")
    assert {name.rpartition(".")[2] for name in heads} == {"k", "v"}
