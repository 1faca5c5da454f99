"""A page for each component, made from its card, its options and the specs that use it."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import site_cards
import site_examples
import site_pictures

from xcompose import registry
from xcompose.compose.build import plan_model
from xcompose.compose.model import Model
from xcompose.cost.count import counts, parameters
from xcompose.diagnostics import SpecError
from xcompose.diagnostics.sources import SOURCES
from xcompose.registry import Component
from xcompose.schema import KINDS, OptionSchema, ValueType
from xcompose.spec import load, load_text
from xcompose.spec.model import Layer, Node, Section
from xcompose.spec.values import format_bytes, format_flops

SPECS = Path(__file__).parents[2] / "specs"
COUNTED = ("pattern", "score", "memory", "recurrence", "mixer")
"""Kinds whose work is counted on the example."""
DRAWN = ("pattern", "memory", "recurrence", "mixer")
"""Kinds that decide who reads whom."""
THROUGH_SLOTS = ("memory", "recurrence")
"""Kinds whose keys are no tokens: where slots let a query reach every token, a picture of tokens says nothing."""
OPERATORS = {"union": "|", "intersection": "&", "difference": " - "}
PLURALS = {"memory": "memories", "ffn": "feed-forward networks", "task": "tasks", "strategy": "strategies"}
WORDS = {
    "model": "What a whole model is: which stacks it has, what they read, and whether they look ahead.",
    "mixer": "What moves information between positions: attention, and ways to join several.",
    "pattern": "Which keys a query may read. Patterns are joined by `|`, `&` and `-`.",
    "score": "How a query weighs the keys that it may read.",
    "memory": "Keys and values that stand for many tokens, beside the tokens or instead of them.",
    "recurrence": "What a segment keeps of those before it.",
    "position": "How order enters: at the embedding, on queries and keys, or in the logits.",
    "ffn": "What happens to each row by itself, behind the mixer.",
    "norm": "How rows are brought to one scale.",
    "residual": "How sub-layers are added to the stream.",
    "embedding": "From what a model reads to rows.",
    "output": "From rows to what a model says.",
    "init": "How weights start.",
    "addon": "Changes of a built model: sharing, adapters, fewer bits, distillation.",
    "task": "Data by name, a loss, a metric.",
    "optimizer": "How weights follow their gradients.",
    "schedule": "How the learning rate moves.",
    "strategy": "How a search draws its candidates.",
}


SAMPLE = ("window", "heads", "linformer", "favor", "decoder", "adapter")
"""Names whose pages are made for a quick look at the site."""
SAMPLE_SPECS = ("window-then-linear", "dense-12m", "linformer", "adapters")


@functools.cache
def components(sample: bool = False) -> tuple[Component, ...]:
    """What ships with xcompose, whatever else is installed here."""
    every = [c for c in registry.load().components() if not c.namespace]
    return tuple(c for c in every if not sample or c.name in SAMPLE)


def page_of(component: Component) -> str:
    """Where a component's page is, from the root of the site."""
    return f"components/{component.kind}/{component.name}.md"


def source_of(component: Component) -> Path:
    """The file that its card is in."""
    return Path(sys.modules[component.options.__module__].__file__ or "").resolve()


def title_of(kind: str) -> str:
    return PLURALS.get(kind, f"{kind}s").replace("addons", "add-ons").replace("inits", "initial weights").capitalize()


def pages(sample: bool = False) -> dict[str, str]:
    """Every page about components, by its place."""
    found = {"components/index.md": _overview(sample)}
    for kind in KINDS:
        found[f"components/{kind}/index.md"] = _kind_page(kind, sample)
    for component in components(sample):
        found[page_of(component)] = page(component, sample)
    return found


def navigation(sample: bool = False) -> list[Any]:
    """The pages about components, by kind."""
    tree: list[Any] = ["components/index.md"]
    for kind in KINDS:
        members = [{c.name: page_of(c)} for c in components(sample) if c.kind == kind]
        tree.append({title_of(kind): [f"components/{kind}/index.md", *members]})
    return tree


def _overview(sample: bool) -> str:
    rows = []
    for kind in KINDS:
        names = [f"[{c.name}]({c.kind}/{c.name}.md)" for c in components(sample) if c.kind == kind]
        rows.append(f"## [{title_of(kind)}]({kind}/index.md)\n\n{WORDS[kind]}\n\n{' · '.join(names)}\n")
    said = (
        f"{len(components(sample))} components ship with xcompose, each with formula, shapes, costs and limits. "
        "`xcompose list` and `xcompose show NAME` print the same for what is installed where you are."
    )
    return "# Components\n\n" + said + "\n\n" + "\n".join(rows)


def _kind_page(kind: str, sample: bool) -> str:
    rows = [f"| [`{c.name}`]({c.name}.md) | {_cell(c.summary)} |" for c in components(sample) if c.kind == kind]
    table = "\n".join(["| name | what it is |", "|---|---|", *rows])
    return f"# {title_of(kind)}\n\n{WORDS[kind]}\n\n{table}\n"


def page(component: Component, sample: bool = False) -> str:
    """The page of a component, as Markdown with HTML inside."""
    card, schema = site_cards.card_of(component.card), component.schema
    names = [o.name for o in schema.options if o.type.name in ("count", "length", "real", "width")]
    model = example_model(component)
    parts = [f"# {component.name}", _facts(component), f"{_prose(card.summary)}\n{{ .xc-lead }}"]
    picture = _picture(component, model)
    parts += ["## Who reads whom", picture] if picture else []
    parts += ["## Maths", site_cards.maths(card.blocks["Maths"], names)]
    parts += ["## Options", _options(component)] if schema.options else []
    parts += ["## Example", _example(component)]
    parts += ["## Cost", site_cards.prose(card.blocks["Cost"], names), _counted(component, model)]
    parts += ["## Limits", site_cards.prose(card.blocks["Limits"], names)]
    parts += ["## Shapes", site_cards.shapes(card.blocks["Shapes"]), "[What the letters mean](../../notation.md)"]
    used = [f"[{name}](../../specs/{name}.md)" for name in uses(sample).get((component.kind, component.name), ())]
    parts += ["## Used in", " · ".join(used)] if used else []
    parts += ["## Paper", site_cards.papers(card.blocks["Paper"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(component: Component) -> str:
    facts = [f"[{component.kind}](index.md)", f"version {component.version}", f"in {component.distribution}"]
    if component.also:
        facts.append(f"elsewhere called {', '.join(component.also)}")
    return f"{' · '.join(facts)}\n{{ .xc-facts }}"


def _prose(text: str) -> str:
    """Text for Markdown: what would be emphasis or a link is a sign."""
    return re.sub(r"([*_\[\]<>])", r"\\\1", text) if "`" not in text else text


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _options(component: Component) -> str:
    rows = ["| option | type | default | what it is |", "|---|---|---|---|"]
    for one in component.schema.options:
        mark = f"`{one.name}`" + (" ▸" if one.main else "")
        said = _cell(one.note) + _bounds(one)
        rows.append(f"| {mark} | {_type(one.type)} | {_default(one)} | {said} |")
    main = component.schema.main
    below = ""
    if main is not None:
        below = f"\n\n▸ `{main.name}` needs no name: `{_call(component, main)}`.\n{{ .xc-note }}"
    return "\n".join(rows) + below


def _call(component: Component, main: OptionSchema) -> str:
    written = site_examples.expression(component.schema)
    if written.startswith(f"{component.name}("):
        return written
    samples = {"component": "...", "list": "a, b", "real": "0.1", "width": "4x", "word": main.type.words[:1]}
    sample = samples.get(main.type.name, "4")
    return f"{component.name}({sample if isinstance(sample, str) else sample[0]})"


def _type(value: ValueType) -> str:
    """A type of the language in words; kinds lead to their pages."""
    match value.name:
        case "component":
            return f"[{value.kind}](../{value.kind}/index.md)"
        case "word":
            return " or ".join(f"`{word}`" for word in value.words)
        case "list" | "map" if value.of is not None:
            return f"{'list' if value.name == 'list' else 'names'} of {_type(value.of)}"
        case "record":
            return f"mapping with {', '.join(f'`{field.name}`' for field in value.fields)}"
    words = {"count": "whole number", "real": "number", "flag": "`true` or `false`", "width": "width, `2048` or `4x`"}
    return words.get(value.name, value.name)


def _default(one: OptionSchema) -> str:
    if one.inherited:
        return "the layer's"
    if one.required:
        return "required"
    if one.default is None:
        return "none"
    if isinstance(one.default, bool):
        return f"`{str(one.default).lower()}`"
    if isinstance(one.default, tuple):
        return f"`[{', '.join(map(str, one.default))}]`"
    return f"`{one.default:g}`" if isinstance(one.default, int | float) else f"`{_cell(str(one.default))}`"


def _bounds(one: OptionSchema) -> str:
    bounds = {"at least": one.at_least, "above": one.above, "at most": one.at_most}
    said = ", ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    return f" *({said})*" if said else ""


def example_model(component: Component, kind: str = "") -> Model | None:
    """The model of a component's example on the meta device; of another type, if one is named and takes it."""
    text = site_examples.example(component.schema)
    if kind:
        text = re.sub(r"^  type: .*$", f"  type: {kind}", text, count=1, flags=re.MULTILINE)
    folder = SPECS / "beyond"
    try:
        spec = load_text(text, "example", catalogue=registry.load().catalogue, folder=folder)
        return plan_model(spec)
    except SpecError:
        if not kind:
            raise
        return None


def _picture(component: Component, model: Model | None) -> str:
    drawn = site_pictures.of_component(component)
    if drawn or component.kind not in DRAWN or model is None:
        return drawn
    models = [("decoder" if model.decodes else "encoder", model)]
    other = example_model(component, "encoder" if model.decodes else "decoder")
    if other is not None and other.decodes != model.decodes:
        models.append(("decoder" if other.decodes else "encoder", other))
    if component.kind in THROUGH_SLOTS and not site_pictures.tell(models):
        return ""
    return f"The layers of the [example](#example).\n\n{site_pictures.of_models(models)}"


def _example(component: Component) -> str:
    text = site_examples.example(component.schema)
    beside = [
        f"It stands beside [{name}](../../specs/{name}.md)." for name in site_examples.BESIDE if Path(name).name in text
    ]
    return f'```yaml title="example.xc.yaml"\n{text}```' + "".join(f"\n\n{said}" for said in beside)


def _counted(component: Component, model: Model | None) -> str:
    """What the example costs, as `xcompose cost` counts it."""
    if component.kind not in COUNTED or model is None:
        return ""
    longest = model.options.length or 1024
    lengths = (longest // 4, longest)
    found = [counts(model, n) for n in lengths]
    mixers = " | ".join(format_flops(c.attention) for c in found)
    head = " | ".join(f"n = {n:,}" for n in lengths)
    rows = [
        f"| counted on the example, {parameters(model).total:,} parameters | {head} |", "|---|---|---|",
        f"| work of its mixers beside projections, as tiles are run | {mixers} |",
        f"| work in all | {' | '.join(format_flops(c.forward) for c in found)} |",
    ]  # fmt: skip
    if model.decodes:
        rows.append(f"| decode state | {' | '.join(format_bytes(c.state) for c in found)} |")
    return "\n".join(rows)


@functools.cache
def uses(sample: bool = False) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """The shipped specs that name a component, by its kind and name."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in spec_files(sample):
        name = spec_name(path)
        for key in named(path):
            found.setdefault(key, []).append(name)
    return {key: tuple(names) for key, names in found.items()}


def spec_files(sample: bool = False) -> list[Path]:
    every = sorted(SPECS.glob("*/*.xc.yaml"))
    return [path for path in every if not sample or path.name.startswith(SAMPLE_SPECS)]


def spec_name(path: Path) -> str:
    """`survey/bigbird-base`."""
    return path.relative_to(SPECS).as_posix().removesuffix(".xc.yaml")


def named(path: Path) -> Iterator[tuple[str, str]]:
    """The components that a spec writes, its defaults aside."""
    spec = load(str(path), catalogue=registry.load().catalogue)
    held = nodes([spec.model, spec.addons, spec.task, dict(spec.train), dict(spec.search)])
    yield from sorted({(node.kind, node.name) for node in held if _is_written(node)})


def _is_written(node: Node) -> bool:
    """Whether the place of a component holds its name, or the sign that stands for it."""
    span = node.span
    line = SOURCES.line(span.file, span.line) if span else None
    if span is None or line is None:
        return False
    said = line[span.column - 1 : span.end_column - 1 if span.end_line == span.line else None]
    return re.search(rf"(?<![\w/-]){re.escape(node.name)}(?![\w-])", said) is not None or (
        node.kind == "pattern" and OPERATORS.get(node.name, "?") in said
    )


def nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    if isinstance(value, Node | Section | Layer):
        value = value.options
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from nodes(one)
