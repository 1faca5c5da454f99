"""Findings of parts are located, all at once, each once."""

from __future__ import annotations

import attrs
import pytest

from tests.compose.fakes import Mean, Nowhere, layer, model, node, registry, spec
from xcompose.api import Component, Count, Part, option, options
from xcompose.compose.build import plan_model
from xcompose.compose.composer import Composer
from xcompose.compose.parts import Context
from xcompose.diagnostics import Diagnostic, Note, PartError, Span, SpecError
from xcompose.registry import Registry
from xcompose.spec.model import Node, Record


def findings(made) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        plan_model(made, registry=registry())
    return caught.value.diagnostics


def refusing(line: int, number: int = 0):
    return layer(line, number, mixer=node("mixer", "mean", line, f"model.layers.{number}.mixer", refuse=True))


class TestFindings:
    def test_a_refusal_says_where_what_why_and_how_to_mend_it(self):
        found = findings(spec(model(layers=(refusing(7),))))

        assert found == (
            Diagnostic(
                code="XC031", message="a decoder cannot use this mean", span=Span("made.xc.yaml", 7, 20, 7, 29),
                label="it looks ahead", path="model.layers.0.mixer.refuse",
                notes=(Note("causal because of this", Span("made.xc.yaml", 3, 9, 3, 16)),), fixes=("take another",),
                stage="compose", spec="made",
            ),
        )  # fmt: skip

    def test_findings_of_all_layers_come_at_once(self):
        found = findings(model(layers=(refusing(7), layer(8, 1), refusing(9, 2))))

        assert [d.span.line for d in found if d.span] == [7, 9]

    def test_a_block_used_three_times_is_wrong_once(self):
        assert len(findings(model(layers=(refusing(7),) * 3))) == 1

    def test_other_parts_are_found_wrong_together_with_layers(self):
        wide = node("residual", "reversible", join="concat")
        refused = layer(7, mixer=node("mixer", "mean", 7, "model.layers.0.mixer", refuse=True), residual=wide)
        found = findings(model(layers=(refused,), position=node("position", "learned", 5, "model.position")))

        assert [d.span.line for d in found if d.span] == [5, 7]

    def test_a_plugins_bug_is_not_hidden(self, monkeypatch):
        def broken(self, options, context):
            raise ZeroDivisionError

        monkeypatch.setattr(Mean, "__init__", broken)
        with pytest.raises(ZeroDivisionError):
            plan_model(model(), registry=registry())


class TestOptions:
    def test_nodes_become_option_objects_inside_out(self):
        made = Composer(registry()).options(model())

        assert type(made).__name__ == "DecoderOptions"
        assert type(made.layers[1].options["ffn"]).__name__ == "MlpOptions"
        assert made.layers[1].options["ffn"].width == 24

    def test_a_value_of_the_wrong_type_is_a_finding_at_the_option(self):
        wrong = layer(ffn=node("ffn", "mlp", 6, "model.layers.0.ffn", width="wide"))
        (found,) = findings(model(layers=(wrong,)))

        assert found.code == "XC030"
        assert found.message == "'mlp' cannot take this 'width': str is not an instance of int"
        assert found.path == "model.layers.0.ffn.width"
        assert found.span == Span("made.xc.yaml", 6, 20, 6, 29)

    def test_an_unknown_option_is_a_finding(self):
        wrong = layer(ffn=attrs.evolve(node("ffn", "none", 6, "model.layers.0.ffn"), options={"width": 3}))
        (found,) = findings(model(layers=(wrong,)))

        assert found.message == "'none' has no option 'width'"

    def test_all_ill_typed_options_are_found(self):
        wrong = layer(ffn=node("ffn", "mlp", 6, width="wide", act="gelo"), norm=node("norm", "layer", 8, eps="small"))

        assert [d.message for d in findings(model(layers=(wrong,)))] == [
            "'mlp' cannot take this 'width': str is not an instance of int",
            "'mlp' cannot take this 'act': str is not any of ('gelu', 'gelu-tanh', 'quick-gelu', 'relu', 'relu2', "
            "'silu', 'tanh', 'identity')",
            "'layer' cannot take this 'eps': str is neither float or int",
        ]


class TestPositions:
    def build(self, *parts: str):
        composer = Composer(registry())
        context = Context(dim=12, causal="strict", length=9, builder=composer.build)
        return [context.build(composer.options(node("position", part))) for part in parts]

    def test_what_acts_at_the_embedding_alone_is_one_object(self):
        first, second = self.build("learned", "learned")

        assert first is second

    def test_what_acts_inside_attention_is_one_object_a_layer(self):
        first, second = self.build("nowhere", "nowhere")

        assert isinstance(first, Nowhere)
        assert first is not second


class TestLayersThatFollowEachOther:
    def test_carries_must_agree(self):
        other = layer(9, 1, residual=node("residual", "reversible", 9, "model.layers.1.residual"))
        (found,) = findings(model(layers=(layer(), other)))

        assert found.code == "XC031"
        assert found.message == "this residual carries two streams, that of layer 0 carries one stream"
        assert found.path == "model.layers.1.residual"
        assert found.fixes == ("use one residual in all layers",)

    def test_segments_must_agree(self):
        short = layer(recurrence=node("recurrence", "carried", 7, "model.layers.0.recurrence", length=4))
        long = layer(recurrence=node("recurrence", "carried", 8, "model.layers.2.recurrence", length=8))
        (found,) = findings(model(layers=(short, layer(), long)))

        assert found.code == "XC032"
        assert found.message == "segments of 8 here, of 4 in an earlier layer"
        assert found.span == Span("made.xc.yaml", 8, 1, 8, 9)


@options
class Item:
    """One item of a list."""

    size: Count = option(at_least=1)
    """How many."""
    use: Part.mixer | None = option(None)
    """What."""

    def __attrs_post_init__(self):
        if self.size > 9:
            raise PartError("too many", label="nine are enough", option="size")


@options
class ListedOptions:
    one: Item | None = option(None)
    """An item."""
    of: tuple[Item, ...] = option(())
    """Items."""
    named: dict[str, Item] | None = option(None)
    """Items by name."""


LISTED = Component(kind="mixer", name="listed", options=ListedOptions)


class TestRecords:
    def composer(self) -> Composer:
        return Composer(Registry({**registry().by_name, **Registry.of([LISTED]).by_name}))

    def listed(self, **values) -> Node:
        place = Span("made.xc.yaml", 5, 1, 5, 9)
        spans = {name: Span("made.xc.yaml", 6 + i, 1, 6 + i, 3) for i, name in enumerate(values)}
        empty = {"one": None, "of": (), "named": None}
        return Node("mixer", "listed", {**empty, **values}, place, "model.mixer", spans)

    def test_a_mapping_becomes_an_object_of_its_class_wherever_it_stands(self):
        inner = Record({"size": 3, "use": node("mixer", "mean")})
        made = self.composer().options(self.listed(one=inner, of=({"size": 1, "use": None}, inner), named={"a": inner}))

        assert (type(made.one), type(made.one.use).__name__) == (Item, "MeanOptions")
        assert [item.size for item in made.of] == [1, 3]
        assert made.named["a"] == made.one

    def test_components_inside_a_record_are_known_to_the_composer(self):
        composer = self.composer()
        made = composer.options(self.listed(of=({"size": 1, "use": node("mixer", "mean", 7)},)))

        written = composer.written(made.of[0].use)
        assert written is not None
        assert written.span == Span("made.xc.yaml", 7, 1, 7, 9)

    @pytest.mark.parametrize(
        ("values", "message", "label", "path", "line"),
        [
            (
                {"of": (Record({"size": "wide", "use": None}),)},
                "'listed' cannot take this 'of.0.size': str is not an instance of int", "", "of.0.size", 6,
            ),
            ({"of": (Record({"size": 1, "wide": 2}),)}, "'listed' has no option 'of.0.wide'", "", "of.0.wide", 6),
            (
                {"of": (Record({"size": 1}), Record({"size": 10}, spans={"size": Span("made.xc.yaml", 30, 1, 30, 2)}))},
                "too many", "nine are enough", "of.1.size", 30,
            ),
            (
                {"of": (Record({"size": 10}, span=Span("made.xc.yaml", 20, 1, 20, 2)),)},
                "too many", "nine are enough", "of.0.size", 20,
            ),
            ({"named": {"a": {"size": 10}}}, "too many", "nine are enough", "named.a.size", 6),
            ({"one": {"size": 10}}, "too many", "nine are enough", "one.size", 6),
            (
                {"one": {"size": 1, "use": node("mixer", "mean", 7, refuse="no")}},
                "'mean' cannot take this 'refuse': str is not an instance of bool", "", ".refuse", 7,
            ),
        ],
    )  # fmt: skip
    def test_what_is_wrong_inside_is_located_inside(self, values, message, label, path, line):
        with pytest.raises(SpecError) as caught:
            self.composer().options(self.listed(**values))

        (found,) = caught.value.diagnostics
        assert (found.message, found.label) == (message, label)
        assert found.path == (path if path.startswith(".") else f"model.mixer.{path}")
        assert found.span is not None
        assert found.span.line == line

    def test_a_part_refuses_what_stands_inside_a_record(self):
        composer = self.composer()
        use = node("mixer", "mean", 9)
        made = composer.options(self.listed(of=(Record({"size": 1, "use": use}, Span("made.xc.yaml", 8, 1, 8, 2)),)))

        whole, inside = (composer.finding(made, PartError("no", option=o)) for o in ("of.0", "of.0.use"))

        assert [(f.path, f.span and f.span.line) for f in (whole, inside)] == [
            ("model.mixer.of.0", 8), ("model.mixer.of.0.use", 9),
        ]  # fmt: skip
