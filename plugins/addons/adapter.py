"""Small networks behind, or beside, sub-layers; only they are trained, the base is frozen.

Maths    A(z) = W2 act(W1 z + b1) + b2;  h what a sub-layer answers to x
         houlsby   h + A(h), behind every sub-layer
         pfeiffer  h + A(norm(x + h)), behind the ffn; x + h the stream, and norm that of a post-norm residual, which
                   then reads x + h + A(..); with any other residual h + A(h)
         parallel  h + s A(x), beside the ffn; x what the sub-layer reads, behind the norm of a pre-norm residual
         before the sub-layer's dropout and its addition to the stream; W2 = 0 and b2 = 0 at the start: the model
         begins as its base
Shapes   x, h (b n c);  W1 (r c);  W2 (c r)
Cost     2 c r + c + r parameters a sub-layer
Limits   cannot be merged; the release of pfeiffer drops h before the adapter reads it, and has no form without a norm
         behind the sum; norms and head are trained with one adapter only
Paper    houlsby: Houlsby et al., Parameter-Efficient Transfer Learning for NLP, ICML 2019, arXiv:1902.00751, s. 2.1;
         pfeiffer: Pfeiffer et al., MAD-X, EMNLP 2020, arXiv:2005.00052, s. 3.2; parallel: He et al., Towards a Unified
         View of Parameter-Efficient Transfer Learning, ICLR 2022, arXiv:2110.04366, s. 3.3
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Literal

from torch import Tensor, nn

from xcompose.api import (
    Activation,
    Adapter,
    AdapterRows,
    Addon,
    Behind,
    Component,
    Context,
    Count,
    Model,
    Norm,
    PartError,
    Real,
    Text,
    activation,
    adapter_weights,
    adapters_of,
    hookimpl,
    is_stored,
    new_adapter,
    option,
    options,
    settle_adapter,
)

PLACES = {"houlsby": ("mixer", "cross", "ffn"), "pfeiffer": ("ffn",), "parallel": ("ffn",)}
ACTS: dict[str, Activation] = {"houlsby": "gelu", "pfeiffer": "relu", "parallel": "relu"}
SCALES = {"houlsby": 1.0, "pfeiffer": 1.0, "parallel": 4.0}


@options
class AdapterOptions:
    """Options of bottleneck adapters."""

    bottleneck: Count = option(main=True, at_least=1)
    """Inner width r."""
    style: Literal["houlsby", "pfeiffer", "parallel"] = option("houlsby")
    """What the network reads, and where it stands."""
    name: Text = option("adapter")
    """What it is called beside others on the same base."""
    behind: tuple[Literal["mixer", "cross", "ffn"], ...] | None = option(None)
    """The sub-layers that get one, where a layer has them; those of the style if not written."""
    act: Activation | None = option(None)
    """What is applied between the two layers; gelu for houlsby, else relu, if not written."""
    scale: Real | None = option(None, above=0)
    """What its answer is multiplied by; 4 for parallel, else 1, if not written."""
    per: Literal["application", "weights"] = option("application")
    """Where layers share a sub-layer: an adapter for each application, or one for all that share its weights."""
    norms: bool = option(False)
    """Whether the norms of the base are trained, too."""
    head: bool = option(False)
    """Whether the output is trained, too."""
    active: bool = option(True)
    """Whether it acts; one that does not waits for `use` and is not trained."""
    learns: bool = option(True)
    """Whether it is trained; one that is not acts as it was loaded."""


class Bottleneck(Adapter):
    def __init__(self, options: AdapterOptions, dim: int):
        super().__init__()
        self.style = options.style
        self.scale = SCALES[options.style] if options.scale is None else options.scale
        self.down = nn.Linear(dim, options.bottleneck)
        self.up = nn.Linear(options.bottleneck, dim)
        self.act = activation(options.act or ACTS[options.style])
        nn.init.normal_(self.down.weight, std=0.01)  # the near-identity start of Houlsby et al., s. 3.6
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def reads_of(self, rows: AdapterRows) -> Tensor:
        """(b n c) what it is applied to."""
        if self.style == "parallel":
            return rows.x
        return rows.y if self.style == "houlsby" or rows.norm is None else rows.norm(rows.x + rows.y)

    def forward(self, rows: AdapterRows) -> Tensor:
        found = self.up(self.act(self.down(self.reads_of(rows))))
        return found if self.scale == 1 else self.scale * found


class BottleneckAdapter(Addon):
    freezes = True

    def __init__(self, options: AdapterOptions, context: Context):
        self.options, self.dim = options, context.dim
        self.roles = PLACES[options.style] if options.behind is None else options.behind

    def apply(self, model: Model) -> None:  # type: ignore[override]
        name = self.options.name
        new_adapter(model, name)
        self._refuse(model)
        shared: dict[tuple[int, ...], nn.Module] = {}
        others = {id(parameter) for parameter in adapter_weights(model).values()}
        for block in dict.fromkeys(model.layers):
            for role in block.roles:
                if role in self.roles:
                    self._put(model, block.behind, role, shared, _base(getattr(block, role), others))
        settle_adapter(model, name, acts=self.options.active, learns=self.options.learns)
        self._train_too(model)

    def _put(
        self, model: Model, behind: nn.ModuleDict, role: str, shared: dict[tuple[int, ...], nn.Module],
        part: tuple[int, ...],
    ) -> None:  # fmt: skip
        if role not in behind:
            behind[role] = Behind()
        made = shared.get(part) if self.options.per == "weights" else None
        if made is None:
            made = Bottleneck(self.options, self.dim).to(model.like(1))
            shared[part] = made
        behind[role].add(self.options.name, made, acts=self.options.active)  # type: ignore[operator, arg-type]

    def _refuse(self, model: Model) -> None:
        if not self.roles:
            raise PartError(
                "an adapter stands behind no sub-layer", option="behind", label="the list is empty",
                fixes=("behind=[ffn]", "leave 'behind' out"),
            )  # fmt: skip
        there = {role for block in model.layers for role in block.roles}
        if not there & set(self.roles):
            raise PartError(
                "no layer has a sub-layer that an adapter could stand behind", option="behind",
                label=f"layers of this model have {' and '.join(sorted(there))}", fixes=("behind=mixer",),
            )  # fmt: skip
        self._refuse_too(model)

    def _refuse_too(self, model: Model) -> None:
        """Refuse to train norms or a head where they cannot be."""
        own = self.options
        too = [word for word, wanted in (("norms", own.norms), ("head", own.head)) if wanted]
        if too and (adapters_of(model) or not (own.active and own.learns)):
            raise PartError(
                f"{' and '.join(too)} cannot be trained with this adapter", option=too[0],
                label="they belong to the base, which other adapters stand on"
                if adapters_of(model)
                else "it is not trained itself",
                fixes=(f"{too[0]}=false",),
            )  # fmt: skip
        if own.head and any(id(p) in {id(q) for q in model.embedding.parameters()} for p in model.output.parameters()):
            raise PartError(
                "the head cannot be trained with this adapter", option="head",
                label="its weight is the embedding's table, too", fixes=("head=false", "tied=false in the output"),
            )  # fmt: skip

        if own.head and any(_short(module) for module in model.output.modules()):
            raise PartError(
                "the head cannot be trained with this adapter", option="head",
                label="its weight is stored in fewer bits, which would round away what it learns",
                fixes=("head=false", "keep=[output] in quantize, or weights=false in precision"),
            )  # fmt: skip

    def _train_too(self, model: Model) -> None:
        if self.options.norms:
            for norm in model.modules():
                if isinstance(norm, Norm):
                    norm.requires_grad_(True)
        if self.options.head:
            model.output.requires_grad_(True)

    def describe(self, model: nn.Module) -> Sequence[str]:
        assert isinstance(model, Model)
        norms = [b.residual.norm_behind(role) for b in model.layers for role in b.roles if role in self.roles]
        if self.options.style != "pfeiffer" or all(norm is not None for norm in norms):
            return ()
        where = "no norm stands" if not any(norms) else "in some layers no norm stands"
        return (f"{self.options.name}: {where} behind the sum, so the adapter reads the sub-layer's answer alone",)


def _base(part: nn.Module, others: Container[int]) -> tuple[int, ...]:
    """What a sub-layer is known by: the identities of its weights without those of adapters, its own if it has none."""
    return tuple(id(p) for p in part.parameters() if id(p) not in others) or (id(part),)


def _short(module: nn.Module) -> bool:
    """Whether a module has a weight that is stored in fewer bits than single precision has."""
    if isinstance(module, nn.Linear) and is_stored(module):
        return True
    return any(p.dtype.itemsize < 4 for p in module.parameters(recurse=False))


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="adapter", options=AdapterOptions, build=BottleneckAdapter, facts={"stage": "model"},
            also=("houlsby", "pfeiffer", "bottleneck", "mad-x", "parallel-adapter"),
        )
    ]  # fmt: skip
