"""Gate between mixers: each token decides how much it takes of what each of them finds.

Maths    y_i = sum_p g_ip f_p(x)_i;  g_i = softmax(W x_i + b), one number for each of the P mixers
Shapes   x, y (b n c);  g (b n P);  W (P, c)
Cost     the sum of its members, and P c for each row
Limits   all members are computed, whatever the gate says
Paper    a combinator of this project; a gate of this kind: Shazeer et al., Outrageously Large Neural Networks,
         ICLR 2017, arXiv:1701.06538, s. 2.1 (there without softmax over dense members)
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from xcompose.api import Axis, Component, Context, Part, PartError, SideBySide, exact, hookimpl, option, options


@options
class GateOptions:
    """Gate between mixers."""

    of: tuple[Part.mixer, ...] = option(main=True)
    """The mixers: gate(attention(pattern=window(64)), attention(score=linear))."""


class Gate(SideBySide):
    """Weighs what its members find, token by token."""

    def __init__(self, options: GateOptions, context: Context):
        if len(options.of) < 2:
            raise PartError(
                f"mixer 'gate' chooses between two mixers at least, found {len(options.of)}", option="of",
                fixes=("write the mixer alone",) if options.of else (),
            )  # fmt: skip
        super().__init__(context.dim, [context.build(part) for part in options.of])
        self.gate = nn.Linear(context.dim, len(options.of))

    def join(self, x: Tensor, mixed: Sequence[Tensor], axis: Axis) -> Tensor:
        weights = exact(self.gate(x)).softmax(-1).to(mixed[0].dtype)
        return sum(weights[..., p, None] * one for p, one in enumerate(mixed))  # type: ignore[return-value]


@hookimpl
def components():
    return [Component(kind="mixer", name="gate", options=GateOptions, build=Gate)]
