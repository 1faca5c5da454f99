"""What embeddings, outputs, whole models and inits owe."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from xcompose.testing.contract import BuiltContract
from xcompose.testing.drawing import for_drawn


class EmbeddingContract(BuiltContract):
    """Contract tests of embeddings."""

    kind = "embedding"

    def test_it_gives_a_row_for_each_token(self, expression: str) -> None:
        import torch

        for stand in self.stands(expression):
            for made in stand.made()[:1]:
                subject, part, width = stand.subject, made.part, made.part.narrow or made.context.dim

                def check(n: int, batch: int, stand=stand, subject=subject, part=part, width=width) -> None:
                    with torch.no_grad():
                        found = part(subject.tokens(batch, self.seed, n))
                    if found.shape != (batch, n, width):
                        measured = f"{batch} x {n} tokens became {tuple(found.shape)}; narrow = {part.narrow}"
                        self.breaks(stand, f"it does not give rows (b n {width})", measured)

                drawn = {"n": st.integers(1, 9), "batch": st.integers(1, 3)}
                for_drawn(check, self.examples, self.seed, **drawn)
                if part.prefix and part.front().shape != (part.prefix, made.context.dim):
                    measured = f"prefix = {part.prefix}, `front` gives {tuple(part.front().shape)}"
                    self.breaks(stand, "`front` does not give the rows of its prefix", measured)
                table = part.table()
                if table is not None and len(table) != made.context.vocab:
                    measured = f"{made.context.vocab} tokens, a table of {tuple(table.shape)}"
                    self.breaks(stand, "`table` has not a row for each token", measured)


class OutputContract(BuiltContract):
    """Contract tests of outputs."""

    kind = "output"

    def test_it_answers_as_it_says(self, expression: str) -> None:
        import torch

        for stand in self.stands(expression):
            subject, part = stand.subject, stand.made()[0].part

            def check(batch: int, stand=stand, subject=subject, part=part) -> None:
                with torch.no_grad():
                    found = subject.call(subject.model(), subject.tokens(batch, self.seed)).logits
                wanted = (batch, subject.n) if part.each_row else (batch,)
                if tuple(found.shape[: len(wanted)]) != wanted or found.dim() == len(wanted):
                    measured = f"{batch} x {subject.n} tokens became {tuple(found.shape)}; each_row = {part.each_row}"
                    self.breaks(
                        stand, "it does not give an answer for each row, or each sequence, as it says", measured
                    )
                if part.predicts_tokens and found.shape[-1] < subject.vocab:
                    measured = f"{subject.vocab} tokens, {found.shape[-1]} numbers; predicts_tokens = True"
                    self.breaks(stand, "it says that it predicts tokens, and leaves some out", measured)

            for_drawn(check, 3, self.seed, batch=st.integers(1, 3))


class ModelContract(BuiltContract):
    """Contract tests of model types. An expression is a name; the keys of the model stand in `model`."""

    kind = "model"

    def test_it_says_how_large_its_state_is(self, expression: str) -> None:
        import torch

        from xcompose.verify.decode import tensors

        for stand in self.stands(expression):
            subject = stand.subject
            if subject.causal == "none" or subject.source:  # what is kept of a source does not grow with the text
                continue
            model: Any = subject.model(torch.float32)
            with torch.no_grad():
                out = model(subject.tokens(1, self.seed), state=subject.start(1, torch.float32))
            kept = sum(t.numel() for t in tensors(out.state.parts))
            said = sum(math.prod(shape) for shape in model.state_shapes(subject.n).values())
            if kept != said:
                measured = (
                    f"after {subject.n} tokens it holds {kept:,} numbers a sequence, `state_shapes` says {said:,}"
                )
                self.breaks(stand, "its state is not as large as it says", measured)


class InitContract(BuiltContract):
    """Contract tests of inits."""

    kind = "init"

    def test_it_starts_every_weight_with_a_number(self, expression: str) -> None:
        for stand in self.stands(expression):
            for name, parameter in stand.build().named_parameters():
                if not parameter.isfinite().all():
                    measured = f"{name} {tuple(parameter.shape)} holds what is no number"
                    self.breaks(stand, "a weight does not start with numbers", measured)

    def test_it_changes_weights_in_place(self, expression: str) -> None:
        for stand in self.stands(expression):
            model, (made,) = stand.build(), stand.made()[:1]
            before = {name: id(parameter) for name, parameter in model.named_parameters()}
            buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
            made.part(model)
            after = {name: id(parameter) for name, parameter in model.named_parameters()}
            if before != after:
                odd = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
                hint = "set numbers in place: what is put in a weight's place is not shared or tied any more"
                self.breaks(stand, "it puts other weights in place of those that are there", ", ".join(odd[:4]), hint)
            for name, tensor in model.named_buffers():
                if not tensor.equal(buffers[name]):
                    self.breaks(stand, "it changes a buffer, which belongs to the part that has it", name)
