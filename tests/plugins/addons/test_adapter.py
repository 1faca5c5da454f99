"""Small networks behind the sub-layers of a frozen base."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import xcompose as xc
from tests.plugins.addons.adapting import built, frozen_hash, refused, tokens, train
from xcompose.api import Axis, PartError
from xcompose.compose.adapters import active, adapter_weights, use
from xcompose.train.learner import groups
from xcompose.verify.subject import redraw

C, R = 24, 5


def bottleneck(rows, a):
    """The formula, row by row and channel by channel."""
    out = torch.zeros_like(rows)
    for i, row in enumerate(rows):
        inner = [a.act(sum(a.down.weight[r] * row) + a.down.bias[r]) for r in range(R)]
        for c in range(C):
            out[i, c] = sum(a.up.weight[c, r] * inner[r] for r in range(R)) + a.up.bias[c]
    return out


class TestFormulas:
    @pytest.mark.parametrize("style", ["houlsby", "pfeiffer", "parallel"])
    @pytest.mark.parametrize("residual", ["pre-norm", "post-norm"])
    def test_each_style_equals_its_formula_in_the_model(self, style, residual):
        m = built(f"adapter({R}, style={style}, act=relu)", layers=1, residual=residual)
        redraw(m, 3)
        (block,) = m.layers
        x = m.embedding(tokens())
        for place, role in enumerate(block.roles):
            norm = block.residual.norms[place]
            read = norm(x) if residual == "pre-norm" else x
            h = block.mixer(read, Axis(range(7))).x if role == "mixer" else block.ffn(read)
            if role in block.behind:
                a = block.behind[role].named["adapter"]
                seen = h
                if style == "parallel":
                    seen = read
                elif style == "pfeiffer" and residual == "post-norm":
                    seen = norm(x + h)
                found = torch.stack([bottleneck(rows, a) for rows in seen])
                h = h + (4.0 if style == "parallel" else 1.0) * found
            x = x + h if residual == "pre-norm" else norm(x + h)
        expected = m.output(x if m.stack.norm is None else m.stack.norm(x), Axis(range(7)))

        assert set(block.behind) == ({"mixer", "ffn"} if style == "houlsby" else {"ffn"})
        torch.testing.assert_close(m(tokens()).logits, expected, rtol=0, atol=1e-12)

    def test_gradients_equal_those_of_the_formula(self):
        m = built(f"adapter({R}, act=silu)")
        redraw(m, 3)
        place = m.layers[1].behind["ffn"]
        a, x = place.named["adapter"], torch.randn(2, 3, C, dtype=torch.float64, requires_grad=True)
        wanted = [x, *a.parameters()]
        mine = torch.autograd.grad(place(x, x).sin().sum(), wanted)
        theirs = torch.autograd.grad(
            (x + F.silu(x @ a.down.weight.T + a.down.bias) @ a.up.weight.T + a.up.bias).sin().sum(), wanted
        )

        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)

    def test_what_is_applied_and_scaled_by_default(self):
        for style, act, scale in (("houlsby", "gelu", 1.0), ("pfeiffer", "relu", 1.0), ("parallel", "relu", 4.0)):
            a = built(f"adapter({R}, style={style})").layers[0].behind["ffn"].named["adapter"]
            x = torch.linspace(-2, 2, 9, dtype=torch.float64)

            assert torch.equal(a.act(x), getattr(F, act)(x))
            assert a.scale == scale
        assert built("adapter(5, style=parallel, scale=0.5)").layers[0].behind["ffn"].named["adapter"].scale == 0.5

    def test_pfeiffer_without_a_norm_behind_the_sum_says_so(self):
        m, post = built("adapter(5, style=pfeiffer)"), built("adapter(5, style=pfeiffer)", residual="post-norm")

        assert m.addons[0].addon.describe(m) == (
            "adapter: no norm stands behind the sum, so the adapter reads the sub-layer's answer alone",
        )
        assert post.addons[0].addon.describe(post) == ()


class TestAdapter:
    @pytest.mark.parametrize("style", ["houlsby", "pfeiffer", "parallel"])
    def test_it_starts_as_its_base(self, style):
        m = built(f"adapter({R}, style={style})")

        assert torch.equal(m(tokens()).logits, built()(tokens()).logits)
        assert frozen_hash(m) == frozen_hash(built())
        down = m.layers[0].behind["ffn"].named["adapter"].down
        assert 0.005 < float(down.weight.detach().std()) < 0.015

    def test_training_leaves_the_base_as_it_was(self):
        m = built(f"adapter({R})")
        before, start = frozen_hash(m), m(tokens()).logits
        train(m)

        assert frozen_hash(m) == before
        assert not torch.equal(m(tokens()).logits, start)

    def test_the_optimizer_holds_adapters_alone_and_all_of_them(self):
        m = built(f"adapter({R})")
        held = [p for group in groups(m) for p in group["params"]]

        assert {id(p) for p in held} == {id(p) for p in adapter_weights(m, "adapter").values()}
        assert sum(p.numel() for p in held) == 3 * 2 * (2 * C * R + C + R)
        train(m, steps=2)
        assert all(p.grad is not None and p.grad.any() for p in held)

    @pytest.mark.parametrize("residual", ["reversible", "post-norm", "parallel"])
    def test_every_residual_takes_it(self, residual):
        m = built(f"adapter({R})", residual=residual)
        train(m, steps=2)

        assert all(p.grad.any() for p in m.parameters() if p.requires_grad)

    def test_reversible_layers_give_the_gradients_of_layers_that_keep_everything(self, monkeypatch):
        def gradients():
            m = built(f"adapter({R})", residual="reversible", dropout=0.2)
            redraw(m, 2)
            torch.manual_seed(5)
            m.train()(tokens()).logits.square().sum().backward()
            return [p.grad for p in m.parameters() if p.requires_grad]

        found = gradients()
        residual = type(built(residual="reversible").layers[0].residual)
        enter = residual.enter
        monkeypatch.setattr(residual, "enter", lambda self, x: enter(self, x)._replace(tape=None))
        for one, other in zip(found, gradients(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)

    def test_computing_layers_again_gives_the_same_gradients(self):
        found = []
        for again in (False, True):
            m = built(f"adapter({R})", dropout=0.2)
            redraw(m, 2)
            m.stack.recompute = again
            torch.manual_seed(5)
            m.train()(tokens()).logits.square().sum().backward()
            found.append([p.grad for p in m.parameters() if p.requires_grad])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)

    def test_shared_layers_have_adapters_of_their_own(self):
        m = built("share(all)", f"adapter({R})")

        assert m.layers[0].mixer is m.layers[1].mixer
        assert m.layers[0].behind["ffn"] is not m.layers[1].behind["ffn"]

    def test_or_one_for_all_that_share(self):
        m = built("share(ffn)", f"adapter({R}, per=weights)")
        first, second = (block.behind for block in m.layers[:2])

        assert first["ffn"].named["adapter"] is second["ffn"].named["adapter"]
        assert first["mixer"].named["adapter"] is not second["mixer"].named["adapter"]
        assert sum(p.numel() for p in m.parameters() if p.requires_grad) == (1 + 3) * (2 * C * R + C + R)

    def test_nor_does_another_adapter_part_what_shares(self):
        m = built("share(all)", "lora(2, per=application)", f"adapter({R}, per=weights)")
        first, second = (block.behind for block in m.layers[:2])

        assert all(first[role].named["adapter"] is second[role].named["adapter"] for role in ("mixer", "ffn"))

    def test_norms_and_head_are_trained_if_one_says_so(self):
        m = built(f"adapter({R}, norms=true, head=true)", output="lm(tied=false)")
        names = {n for n, p in m.named_parameters() if p.requires_grad and ".behind." not in n}

        assert names == {n for n, _ in m.named_parameters() if ".norm" in n or n.startswith("output.")}
        assert any(n.startswith("stack.norm") for n in names)

    def test_adapters_stand_behind_each_other(self):
        m = built(f"adapter({R}, name=de)", f"adapter({R}, name=task)", layers=1)
        redraw(m, 3)
        place = m.layers[0].behind["ffn"]
        x = torch.randn(2, 3, C, dtype=torch.float64)

        def de(y, name="de"):
            return y + torch.stack([bottleneck(rows, place.named[name]) for rows in y])

        def task(y):
            return de(y, "task")

        assert active(m) == ("de", "task")
        for names, expected in (
            (("de", "task"), task(de(x))), (("task", "de"), de(task(x))), (("task",), task(x)), ((), x),
        ):  # fmt: skip
            use(m, *names)
            torch.testing.assert_close(place(x, x), expected, rtol=0, atol=1e-12)

    def test_which_of_several_act_and_learn(self):
        m = built("adapter(3, name=a)", "adapter(3, name=b, active=false)", "adapter(3, name=c, learns=false)")
        free = {id(p) for p in m.parameters() if p.requires_grad}

        assert active(m) == ("a", "c")
        assert free == {id(p) for p in adapter_weights(m, "a").values()}


class TestRefusals:
    def test_sub_layers_that_no_layer_has(self):
        found = refused("adapter(5, behind=[cross])")

        assert found.message == "no layer has a sub-layer that an adapter could stand behind"
        assert found.label == "layers of this model have ffn and mixer"
        assert found.fixes == ("behind=mixer",)

    def test_one_name_twice(self):
        found = refused(f"adapter({R})", f"adapter({R})")

        assert found.code == "XC034"
        assert found.message == "there is an adapter 'adapter' already"
        assert found.label == "each has a name of its own"
        assert found.fixes == ("name=...",)

    @pytest.mark.parametrize(("name", "fix"), [("a b", "name=task"), ("keys", "name=keys-1"), ("1st", "name=task")])
    def test_what_is_no_name(self, name, fix):
        found = refused({"type": "adapter", "bottleneck": 5, "name": name})

        assert found.message == f"an adapter cannot be called '{name}'"
        assert found.label == "a name is letters, digits, - and _, and begins with a letter"
        assert found.fixes == (fix,)

    def test_norms_beside_another_adapter(self):
        found = refused("adapter(5)", "adapter(5, name=b, norms=true)")

        assert found.message == "norms cannot be trained with this adapter"
        assert found.label == "they belong to the base, which other adapters stand on"
        assert found.fixes == ("norms=false",)
        assert refused("adapter(5, head=true, learns=false)").label == "it is not trained itself"

    @pytest.mark.parametrize("second", ["lora(2)", "ia3", "adapter(3, name=b)"])
    def test_another_adapter_beside_norms(self, second):
        found = refused("adapter(5, norms=true)", second)
        name = {"lora(2)": "lora", "ia3": "ia3"}.get(second, "b")

        assert found.code == "XC034"
        assert found.message == f"'{name}' cannot stand beside 'adapter'"
        assert found.label.endswith("is trained with 'adapter', and belongs to the base of both")
        assert found.fixes == ("norms=false and head=false in the first", f"leave '{name}' out")

    def test_no_sub_layer_at_all(self):
        found = refused("adapter(5, behind=[])")

        assert found.message == "an adapter stands behind no sub-layer"
        assert found.label == "the list is empty"
        assert found.fixes == ("behind=[ffn]", "leave 'behind' out")

    @pytest.mark.parametrize("stored", ["quantize", "precision(bf16, weights=true)"])
    def test_a_head_that_is_stored_in_fewer_bits(self, stored):
        found = refused(stored, "adapter(5, head=true)", output="lm(tied=false)")

        assert found.message == "the head cannot be trained with this adapter"
        assert found.label == "its weight is stored in fewer bits, which would round away what it learns"
        assert found.fixes == ("head=false", "keep=[output] in quantize, or weights=false in precision")
        m = built("quantize(keep=[output])", "adapter(5, head=true)", output="lm(tied=false)")
        assert m.output.linear.weight.requires_grad

    def test_a_head_that_is_tied(self):
        found = refused("adapter(5, head=true)", output="lm(tied=true)")

        assert found.message == "the head cannot be trained with this adapter"
        assert found.label == "its weight is the embedding's table, too"
        assert found.fixes == ("head=false", "tied=false in the output")

    def test_names_that_are_not_there(self):
        with pytest.raises(PartError) as caught:
            use(built("adapter(5)"), "de")
        assert caught.value.message == "there is no adapter 'de'"
        assert caught.value.fixes == ("there are: adapter",)
        with pytest.raises(PartError) as caught:
            use(built(), "de")
        assert caught.value.label == "the model has no adapters"


def test_xc_sees_the_same_adapters():
    assert xc.adapters.use is use
