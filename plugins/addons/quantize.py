"""Linear layers whose weights are stored in 8 or 4 bits, after training or learnt so.

Maths    q = round(w / s), half to even, -M <= q <= M;  s = max |w| of a group / M;  M = 127 or 7;  w becomes s q
         int8-dynamic: rows x are rounded like this, too, each with its own s, and products are summed as integers
         aware: while it trains, w (and x) are s q, and gradients pass as if they were not rounded
Shapes   w (o i);  s (o i/group), one for each output row where no group is written;  x (... i)
Cost     a weight takes 8 bits, or 4, and 32 / group for its scale; int8-dynamic is faster where layers are wide, the
         others save room only
Limits   tables, norms and biases stay as they are; so do weights that have a second use (a tied output), that are read
         as a matrix, or that choose who reads whom
Paper    Zafrir et al., Q8BERT, 2019, arXiv:1910.06188, s. 2.1, 2.2; groups: Shen et al., Q-BERT, AAAI 2020,
         arXiv:1909.05840, s. 3.2
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from xcompose.api import (
    Addon,
    Component,
    Context,
    Count,
    Model,
    PartError,
    Quantized,
    Rounding,
    Scheme,
    Site,
    Text,
    choosing,
    everywhere,
    extra,
    hookimpl,
    option,
    options,
    put,
    sites,
    unseen,
)

SMALL_GROUP = 32
"""The group of int4 where none is written."""


@options
class QuantizeOptions:
    """Options of quantisation."""

    to: Literal["int8", "int8-dynamic", "int4"] = option("int8", main=True)
    """int8, int4: weights alone. int8-dynamic: also the rows that a layer is given, each with its own scale."""
    group: Count | None = option(None, at_least=2)
    """How many weights that follow each other in a row have one scale; if not written all of it, with int4 32."""
    only: tuple[Text, ...] | None = option(None)
    """Which linear layers, by place (mixer, cross, ffn, output, embedding) or name (q, up); all if not written."""
    keep: tuple[Text, ...] = option(())
    """Which of them stay as they are."""
    aware: bool = option(False)
    """Whether the model is trained with the weights that it will have."""


class Quantize(Addon):
    rung = "storage"

    def __init__(self, options: QuantizeOptions, context: Context):
        extra("torchao", "quantize")
        self.options, self.trains = options, options.aware
        dynamic, group = options.to == "int8-dynamic", options.group
        if options.to == "int4":
            group = group or SMALL_GROUP
        if dynamic and group:
            raise PartError(
                "int8-dynamic has one scale for each row of a weight", option="group",
                label="integers of one sum need one scale", fixes=("leave 'group' out", "to=int8"),
            )  # fmt: skip
        if group and group % 2 and options.to == "int4":
            raise PartError(
                f"a group of {group} numbers of 4 bits does not fill whole bytes", option="group",
                fixes=(f"group={group + 1}",),
            )  # fmt: skip
        if options.only == ():
            raise PartError(
                "an empty list of layers leaves nothing to quantize", option="only",
                fixes=("leave 'only' out, for all of them", "only=[mixer, ffn]"),
            )  # fmt: skip
        self.scheme = Scheme(4 if options.to == "int4" else 8, group, dynamic)
        self.left: dict[str, list[str]] = {}
        """What stays as it is, by the reason."""

    def apply(self, model: Model) -> None:  # type: ignore[override]
        for site in self.chosen(model):
            put(model, site.paths, Quantized(site.module, self.scheme))

    def begin(self, model: Model) -> None:  # type: ignore[override]
        for site in self.chosen(model):
            if self.options.aware:
                put(model, site.paths, Rounding(site.module, self.scheme))

    def finish(self, model: Model) -> None:  # type: ignore[override]
        if not self.options.aware:
            return self.apply(model)
        for module, paths in tuple(everywhere(model, Rounding)):
            put(model, paths, Quantized(module, self.scheme))  # type: ignore[arg-type]

    def describe(self, model: Model) -> Sequence[str]:  # type: ignore[override]
        return [f"quantize leaves {_listed(names)}: {why}" for why, names in self.left.items()]

    def chosen(self, model: Model) -> list[Site]:
        """The layers to change; notes which others stay, and why."""
        there = sites(model)
        self._refuse_unknown(there)
        asked = self._asked(there)
        deciding = choosing(model)
        self.left = {"not the weight of a linear layer": list(unseen(model))}
        found = []
        for site in asked:
            if why := _reason(site, deciding):
                self.left.setdefault(why, []).append(f"{site.name}.weight")
            else:
                found.append(site)
        self.left = {why: names for why, names in self.left.items() if names}
        if not found:
            raise PartError("there is no linear layer to quantize", label="; ".join(self.describe(model)))
        self._refuse_odd(found)
        return found

    def _asked(self, there: Sequence[Site]) -> list[Site]:
        """Those of `only` without those of `keep`."""
        only, keep = self.options.only, self.options.keep
        named = [site for site in there if only is None or _words(site) & set(only)]
        words = set().union(*map(_words, named))
        for word in keep:
            if word not in words:
                raise PartError(
                    f"'{word}' keeps nothing", option="keep", label="none of these layers is among those of 'only'",
                    fixes=(f"leave '{word}' out of 'keep'",),
                )  # fmt: skip
        found = [site for site in named if not _words(site) & set(keep)]
        if named and not found:
            raise PartError(
                "there is no linear layer to quantize", option="keep", label="'keep' names all of them",
                fixes=("name fewer in 'keep'",),
            )  # fmt: skip
        return found

    def _refuse_unknown(self, there: Sequence[Site]) -> None:
        words = set().union(*map(_words, there))
        for option_, asked in (("only", self.options.only or ()), ("keep", self.options.keep)):
            for word in asked:
                if word not in words:
                    raise PartError(
                        f"no linear layer of this model is called '{word}'", option=option_,
                        label=f"there are {', '.join(sorted(words))}",
                    )  # fmt: skip

    def _refuse_odd(self, found: Sequence[Site]) -> None:
        group = self.scheme.group
        odd = [site for site in found if group and site.module.in_features % group]
        if not odd:
            return
        common = math.gcd(*(site.module.in_features for site in found))
        name, width = odd[0].name, odd[0].module.in_features
        mends = (f"group={common}",) if common % 2 == 0 else ()
        raise PartError(
            f"rows of {width} do not divide into groups of {group}", option="group", label=f"those of {name}",
            fixes=(*mends, f"keep={odd[0].part}"),
        )  # fmt: skip


def _words(site: Site) -> set[str]:
    """What a spec may call a linear layer: its places and its names."""
    return {word for path in site.paths for word in (_place(path), path.rpartition(".")[2])}


def _place(path: str) -> str:
    found = re.search(r"(?:^|\.)layers\.\d+\.(\w+)", path)
    return found[1] if found else path.partition(".")[0]


def _reason(site: Site, deciding: frozenset[int]) -> str:
    """Why a layer stays as it is; empty where it does not."""
    if site.tied:
        return "the weight of another module, too"
    if site.read:
        return "read as a matrix, not applied as a layer"
    if id(site.module) in deciding:
        return "queries and keys that decide who reads whom, and rounding would turn decisions"
    return ""


def _listed(names: Sequence[str]) -> str:
    few = ", ".join(names[:3])
    return f"{few} as it is" if len(names) == 1 else f"{few}{_more(len(names) - 3)} as they are"


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="quantize", options=QuantizeOptions, build=Quantize, facts={"stage": "model"},
            also=("int8", "qat", "ptq", "q8bert"),
        )
    ]  # fmt: skip
