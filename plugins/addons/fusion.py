"""Several adapters behind one sub-layer, weighed row by row; only the weighing is trained.

Maths    z_i = A_i(h, x), i over the fused adapters;  a = softmax_i((Q h + q) . (K z_i + k))
         h + sum_i a_i V z_i; Q and K normal with deviation 0.02, q = k = 0, V = 1 at the start
Shapes   h, x, z_i (b n c);  Q, K, V (c c);  q, k (c);  a (b n i)
Cost     3 c^2 + 2 c parameters a sub-layer, and all of its adapters are computed
Limits   adapters behind sub-layers only, behind the same ones; z_i is what an adapter adds, without h, as in the
         release; all that is listed before stands still; weights of the adapters are given on the command line
Paper    Pfeiffer et al., AdapterFusion, EACL 2021, arXiv:2005.00247, s. 3.2
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xcompose.api import (
    Adapter,
    AdapterRows,
    Adapters,
    Addon,
    Behind,
    Component,
    Context,
    Model,
    PartError,
    Text,
    adapter_weights,
    adapters_of,
    everywhere,
    hookimpl,
    new_adapter,
    option,
    options,
    settle_adapter,
)


@options
class FusionOptions:
    """Options of fused adapters."""

    names: tuple[Text, ...] = option(main=True)
    """The adapters that are fused, by name."""
    name: Text = option("fusion")
    """What it is called itself."""


class Fusion(Adapter):
    def __init__(self, names: tuple[str, ...], dim: int):
        super().__init__()
        self.reads = names
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim, bias=False)
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.value.weight.copy_(torch.eye(dim))

    def forward(self, rows: AdapterRows) -> Tensor:
        each = torch.stack([rows.others[name](rows) for name in self.reads], 2)
        weights = (self.query(rows.y)[:, :, None] * self.key(each)).sum(-1).softmax(-1)
        return (weights[..., None] * self.value(each)).sum(2)


class FusedAdapters(Addon):
    freezes = True

    def __init__(self, options: FusionOptions, context: Context):
        self.names, self.name, self.dim = options.names, options.name, context.dim

    def apply(self, model: Model) -> None:  # type: ignore[override]
        new_adapter(model, self.name)
        for place in self._places(model):
            place.add(self.name, Fusion(self.names, self.dim).to(model.like(1)))
            place.use([name for name in place.active if name not in self.names])
        for parameter in adapter_weights(model, *adapters_of(model)).values():
            parameter.requires_grad_(False)
        settle_adapter(model, self.name, acts=True, learns=True)

    def _places(self, model: Model) -> list[Behind]:
        """Where the adapters stand that are fused.

        Raises:
            PartError: they are not there, are no networks, or do not stand in the same places.
        """
        there = adapters_of(model)
        if len(set(self.names)) < 2 or len(set(self.names)) < len(self.names):
            raise PartError("two adapters at least are fused, each once", option="names", fixes=("fusion(de, en)",))
        for name in self.names:
            if name not in there:
                raise PartError(
                    f"there is no adapter '{name}' to fuse", option="names",
                    label=f"there are: {', '.join(there)}" if there else "no adapter is listed before",
                    fixes=(f"list adapter(8, name={name}) before",),
                )  # fmt: skip
        every = [place for place, _ in everywhere(model, Adapters) if isinstance(place, Adapters)]
        found = [place for place in every if set(place.names) & set(self.names)]
        for place in found:
            if not isinstance(place, Behind):
                name = next(name for name in self.names if name in place.names)
                raise PartError(
                    f"'{name}' cannot be fused", option="names",
                    label="it changes weights; a fusion weighs what adapters behind a sub-layer add",
                    fixes=(f"adapter(8, name={name}) in its place",),
                )  # fmt: skip
        if any(set(self.names) - set(place.names) for place in found):
            raise PartError(
                f"{' and '.join(self.names)} do not stand behind the same sub-layers", option="names",
                fixes=("one style, and one `behind`, for all of them",),
            )  # fmt: skip
        return [place for place in found if isinstance(place, Behind)]


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="fusion", options=FusionOptions, build=FusedAdapters, facts={"stage": "model"},
            also=("adapter-fusion", "adapterfusion"),
        )
    ]  # fmt: skip
