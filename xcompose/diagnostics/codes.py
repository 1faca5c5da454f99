"""Every code of a finding: what it means, the least that earns it, and how to mend that."""

from __future__ import annotations

import attrs


@attrs.frozen
class Code:
    """One kind of finding."""

    code: str
    title: str
    explanation: str
    bad: str = ""
    """The least spec, or command, that earns it; empty where it takes more than a few lines."""
    mend: str = ""
    """The same, mended."""


_TABLE = (
    # files and YAML
    Code(
        "XC001",
        "a file cannot be read",
        "There is nothing at that place, or a folder, or something that this user may not read.",
        bad="xcompose check mispelt.xc.yaml",
        mend="xcompose check mine.xc.yaml --stage schema",
    ),
    Code(
        "XC002",
        "a file's name is not that of a spec",
        "A spec's name ends in .xc.yaml, so that editors, hooks and this program find specs and nothing else.",
        bad=("mv mine.xc.yaml mine.yaml\nxcompose check mine.yaml"),
        mend=("mv mine.xc.yaml model.xc.yaml\nxcompose check model.xc.yaml --stage schema"),
    ),
    Code(
        "XC003",
        "not UTF-8 text",
        "A spec is UTF-8 text without characters that cannot be seen. A byte order mark and line ends of any "
        "system are fine.",
        bad=("printf 'xcompose: 1\\nname: caf\\xe9\\n' > latin.xc.yaml\nxcompose check latin.xc.yaml"),
        mend=(
            "printf 'xcompose: 1\\nabout: caf\\xc3\\xa9\\n' > latin.xc.yaml\n"
            "xcompose check latin.xc.yaml --stage schema"
        ),
    ),
    Code(
        "XC004",
        "YAML cannot read this",
        "The text is not well formed. The finding says where reading stopped, which may be a little behind "
        "the mistake.",
        bad=("xcompose: 1\nmodel:\n  type: decoder\n   dim: 256\n"),
        mend=("xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers: 4\n"),
    ),
    Code(
        "XC005",
        "a part of YAML that specs do not use",
        "Anchors, aliases, tags, merge keys, directives and second documents are refused: `let`, `blocks` and"
        " `extends` do the same, and a reader sees where a value comes from.",
        bad=(
            "xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers:\n    - &near {mixer: attention}\n    - *near\n"
        ),
        mend=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 256\n"
            "  blocks: {near: {mixer: attention}}\n"
            "  layers: near, near\n"
        ),
    ),
    Code(
        "XC006",
        "a key is written twice",
        "Two values for one key: only one of them could count, and nothing says which.",
        bad=("xcompose: 1\nmodel: {type: decoder, dim: 256, dim: 512, layers: 4}\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 512, layers: 4}\n"),
    ),
    Code(
        "XC007",
        "a key is not a text",
        "Left of a `:` stands one name.",
        bad=("xcompose: 1\n? [model]\n: {type: decoder, dim: 256, layers: 4}\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4}\n"),
    ),
    Code(
        "XC008",
        "too large, or nested too deep",
        "A spec has at most 1 MiB, 64 levels of YAML, 32 levels of an expression, 20,000 keys and values, and"
        " texts of 65,536 characters.",
        bad=("xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 2}\nx-notes: " + "[" * 64 + "]" * 64 + "\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 2}\nx-notes: []\n"),
    ),
    Code(
        "XC009",
        "a text ends too early, or is missing",
        "A colon with a blank behind it and a `#` with a blank before it end a plain text. A key with nothing"
        " behind it has no value at all.",
        bad=("xcompose: 1\nabout: Three layers: cheap\nmodel: {type: decoder, dim: 256, layers: 4}\n"),
        mend=('xcompose: 1\nabout: "Three layers: cheap"\nmodel: {type: decoder, dim: 256, layers: 4}\n'),
    ),
    # names and values
    Code(
        "XC010",
        "a comma or bracket inside { } or [ ] ends the value",
        "Inside braces and brackets YAML ends a value at the first comma or bracket. An expression that holds"
        " one goes on a line of its own, or in quotes.",
        bad=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 256\n"
            "  layers: 4\n"
            "  mixer: {type: attention, pattern: window(256, dilation=2)}\n"
        ),
        mend=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 256\n"
            "  layers: 4\n"
            "  mixer: attention(pattern=window(256, dilation=2))\n"
        ),
    ),
    Code(
        "XC011",
        "unknown option",
        "A section, a layer or a component has no key of this name. Unknown keys are never ignored; notes "
        "begin with `x-`.",
        bad=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4, hed: 8}\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4, heads: 8}\n"),
    ),
    Code(
        "XC012",
        "something required is missing",
        "An option without a default must be written.",
        bad=("xcompose: 1\nmodel: {type: decoder, layers: 4}\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4}\n"),
    ),
    Code(
        "XC013",
        "unknown component",
        "No installed plugin offers a component of this name for this place. It may be misspelt, of another "
        "kind, or in a plugin that is not installed or failed to load.",
        bad=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4, norm: lawyer}\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4, norm: layer}\n"),
    ),
    Code(
        "XC014",
        "a value of another type",
        "The place decides what a value is: a count, a length, a number, a flag, a word, a budget, a "
        "component. Quotes change nothing.",
        bad=("xcompose: 1\nmodel: {type: decoder, dim: wide, layers: 4}\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4}\n"),
    ),
    Code(
        "XC015",
        "a value outside its bounds",
        "The value has the right type, but is too small or too large for its option, or does not fit another "
        "number: heads must divide the width.",
        bad=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4, dropout: 2}\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4, dropout: 0.2}\n"),
    ),
    Code(
        "XC016",
        "an expression is not well formed",
        "An expression is a name with arguments in round brackets: `name(256, option=value)`. Unnamed "
        "arguments come first and go to the main option.",
        bad=("xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers: 4\n  mixer: attention(pattern=window(64)\n"),
        mend=(
            "xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers: 4\n  mixer: attention(pattern=window(64))\n"
        ),
    ),
    Code(
        "XC017",
        "this cannot stand here",
        "`|`, `&` and `-` join patterns; a number with `*` stands before layers and before groups of heads; "
        "brackets hold layers.",
        bad=("xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers: 4\n  ffn: mlp | gated\n"),
        mend=("xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers: 4\n  ffn: gated\n"),
    ),
    Code(
        "XC018",
        "layers are not well formed",
        "A layer is a mapping of layer keys, or an item of a sequence. `repeat` and `each` exclude each "
        "other; the lists of `each` have one length.",
        bad=("xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers: [{repeat: 2, each: {w: [1, 2]}}]\n"),
        mend=("xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers: [{repeat: 2}]\n"),
    ),
    Code(
        "XC019",
        "this may mean something else",
        "A hint or a warning: `4k` is 4000 and `4Ki` is 4096; a short name may become ambiguous when other "
        "plugins are installed.",
        bad=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4, length: 4k}\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4, length: 4Ki}\n"),
    ),
    # references, other specs, variants, overrides
    Code(
        "XC020",
        "a reference is not well formed",
        "A reference is a whole value or argument: `${name}`, `${model.dim / 8}`, with whole numbers, paths, "
        "+ - * / and brackets.",
        bad=("xcompose: 1\nlet: {w: 64}\nmodel:\n  type: decoder\n  dim: ${w * }\n  layers: 4\n"),
        mend=("xcompose: 1\nlet: {w: 64}\nmodel:\n  type: decoder\n  dim: ${w * 4}\n  layers: 4\n"),
    ),
    Code(
        "XC021",
        "a reference to nothing",
        "Looked up are the names of `each`, of `let`, then paths from the root.",
        bad=("xcompose: 1\nlet: {width: 256}\nmodel:\n  type: decoder\n  dim: ${widht}\n  layers: 4\n"),
        mend=("xcompose: 1\nlet: {width: 256}\nmodel:\n  type: decoder\n  dim: ${width}\n  layers: 4\n"),
    ),
    Code(
        "XC022",
        "references in a circle, or in a chain too long",
        "A value may refer to another one that refers to a third, sixteen times at most, and never back to itself.",
        bad=('xcompose: 1\nlet: {a: "${b}", b: "${a}"}\nmodel:\n  type: decoder\n  dim: ${a}\n  layers: 4\n'),
        mend=('xcompose: 1\nlet: {a: "${b}", b: 256}\nmodel:\n  type: decoder\n  dim: ${a}\n  layers: 4\n'),
    ),
    Code(
        "XC023",
        "arithmetic that does not come out whole",
        "References calculate with whole numbers; a division must leave no rest.",
        bad=("xcompose: 1\nlet: {w: 100}\nmodel:\n  type: decoder\n  dim: ${w / 3}\n  layers: 4\n"),
        mend=("xcompose: 1\nlet: {w: 768}\nmodel:\n  type: decoder\n  dim: ${w / 3}\n  layers: 4\n"),
    ),
    Code(
        "XC024",
        "one name for two things",
        "A name of `each` or `let` is also another's, so a reference to it could mean either.",
        bad=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 64\n"
            "  heads: 2\n"
            "  layers:\n"
            "    - each: {w: [4, 8]}\n"
            "      mixer: attention(pattern=window(${w}))\n"
            "let: {w: 16}\n"
        ),
        mend=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 64\n"
            "  heads: 2\n"
            "  layers:\n"
            "    - each: {near: [4, 8]}\n"
            "      mixer: attention(pattern=window(${near}))\n"
            "let: {w: 16}\n"
        ),
    ),
    Code(
        "XC025",
        "another spec cannot be built on",
        "The file that `extends` names is not there, lies outside the project, ends in another suffix, or "
        "comes back to this one.",
        bad=("xcompose: 1\nextends: nowhere.xc.yaml\n"),
        mend=("xcompose: 1\nextends: mine.xc.yaml\n"),
    ),
    Code(
        "XC026",
        "unknown variant",
        "Behind `@` stands a name of the spec's own `variants`; several are joined by `+`.",
        bad="xcompose check mine.xc.yaml@tiney",
        mend="xcompose check mine.xc.yaml@tiny",
    ),
    Code(
        "XC027",
        "a spec expands too far",
        "After expansion a spec has at most 5,000 components and 4,096 layers, and follows 10,000 references.",
        bad=("xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers: 5000\n"),
        mend=("xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers: 50\n"),
    ),
    Code(
        "XC028",
        "an override is not well formed",
        "`--set PATH=VALUE`: names and list positions joined by dots, and a value as it would be written in the spec.",
        bad="xcompose build mine.xc.yaml --set dim",
        mend="xcompose build mine.xc.yaml --set dim=256",
    ),
    Code(
        "XC029",
        "a path leads nowhere",
        "A path counts list items as they are written. When a value changes its type, a path into the old one"
        " leads nowhere.",
        bad=(
            "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4}\nvariants:\n  tiny: {model.mixer.patern: dense}\n"
        ),
        mend=(
            "xcompose: 1\n"
            "model: {type: decoder, dim: 256, layers: 4}\n"
            "variants:\n"
            "  tiny: {model.mixer.pattern: dense}\n"
        ),
    ),
    # composition
    Code(
        "XC030",
        "a part refuses its options",
        "Each option is well formed, but together they make no part: the plugin says why.",
        bad=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 64\n"
            "  heads: 2\n"
            "  layers: 2\n"
            "search: {choices: {model.heads: [1, 2]}, minimize: [params], budget: 200 steps}\n"
        ),
        mend=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 64\n"
            "  heads: 2\n"
            "  layers: 2\n"
            "search: {choices: {model.heads: [1, 2]}, minimize: [params], budget: 20 trials}\n"
        ),
    ),
    Code(
        "XC031",
        "a part cannot be used here",
        "The part is fine, but not in this place: its model, its layer, or the parts beside it rule it out. "
        "The label says why.",
        bad=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  length: 512\n"
            "  dim: 256\n"
            "  layers: 4\n"
            "  mixer: attention(pattern=none, memory=linformer(64))\n"
        ),
        mend=(
            "xcompose: 1\n"
            "model:\n"
            "  type: encoder\n"
            "  length: 512\n"
            "  dim: 256\n"
            "  layers: 4\n"
            "  mixer: attention(pattern=none, memory=linformer(64))\n"
        ),
    ),
    Code(
        "XC032",
        "layers that do not fit each other",
        "All layers of a stack carry the same from block to block and from segment to segment.",
        bad=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 256\n"
            "  layers:\n"
            "    - recurrence: segments(64, memory=64)\n"
            "    - recurrence: segments(32, memory=32)\n"
        ),
        mend=("xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  recurrence: segments(64, memory=64)\n  layers: 2\n"),
    ),
    Code(
        "XC033",
        "something a part needs is not said",
        "A part needs a fact that the spec does not state, for example the length of a sequence.",
        bad=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 64\n"
            "  heads: 2\n"
            "  layers: 2\n"
            "  mixer: attention(pattern=local([4, 4], memory=[2, 2]))\n"
        ),
        mend=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 64\n"
            "  heads: 2\n"
            "  layers: 2\n"
            "  mixer: attention(pattern=local([8], memory=[4]))\n"
        ),
    ),
    Code(
        "XC034",
        "add-ons in an order that does not work",
        "Add-ons stand in the order weights, numbers, storage, adapters; an earlier one would undo a later one.",
        bad=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 64\n"
            "  heads: 2\n"
            "  layers: 2\n"
            "addons: [adapter(8), share(all)]\n"
        ),
        mend=(
            "xcompose: 1\n"
            "model:\n"
            "  type: decoder\n"
            "  dim: 64\n"
            "  heads: 2\n"
            "  layers: 2\n"
            "addons: [share(all), adapter(8)]\n"
        ),
    ),
    # building
    Code(
        "XC040",
        "a model too large for this machine",
        "Before a tensor is made, parameters and their gradients are counted; what would not fit is refused.",
        bad=("xcompose: 1\nmodel: {type: decoder, dim: 1Mi, layers: 100}\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 1Ki, layers: 10}\n"),
    ),
    Code(
        "XC041",
        "a length that the model cannot take",
        "A mechanism takes lengths up to a limit, or multiples of a number.",
        bad="xcompose cost mine.xc.yaml --set length=64 --set position=learned --length 1Ki",
        mend="xcompose cost mine.xc.yaml --set length=64 --set position=learned --length 64",
    ),
    Code(
        "XC042",
        "weights that do not fit the model",
        "A file of weights has other names or shapes than the model; nothing was loaded.",
    ),
    # specs that outlive a version
    Code(
        "XC043",
        "an old name",
        "An option or a component has another name now. The spec is read as if the new one were written; "
        "`xcompose migrate` writes it, and leaves comments and layout as they are.",
    ),
    Code(
        "XC044",
        "a frozen spec does not mean what it meant",
        "A frozen spec says what it meant: which components of which versions, and what they built. Something of it "
        "is different now: the text was edited, a component has an option that was not there, or comes from elsewhere, "
        "or the tensors of the model have other names or shapes, or its mixers may read other rows. A warning says "
        "that a distribution has another version: what it computes otherwise is not compared. Freeze it again from its "
        "source, or install what it was frozen with.",
        bad=(
            "xcompose: 1\n"
            "model: {type: decoder, dim: 256, layers: 4}\n"
            "frozen: {language: 1, plugins: {}, meaning: 7a0c52}\n"
        ),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4}\n"),
    ),
    # plugins
    Code(
        "XC050",
        "a plugin could not be loaded",
        "It failed while it was imported or registered. Everything else works on; its components are missing. "
        "`xcompose plugin doctor` says where inside the plugin it failed, and what would mend it.",
        bad=("import triton  # where it is not installed, no component of this plugin is there\n"),
        mend=("def build(options, context):\n    import triton  # only a model that has this component needs it\n"),
    ),
    Code(
        "XC051",
        "two plugins claim one name",
        "Two installed plugins, of two distributions or of one, offer the same component. Neither wins silently.",
        bad=(
            "# acme-a and acme-b both own the namespace acme\n"
            'Component(kind="memory", name="mean", options=Mean)  # in acme-a\n'
            'Component(kind="memory", name="mean", options=Mean)  # in acme-b\n'
        ),
        mend=(
            'Component(kind="memory", name="mean", options=Mean)  # in acme-a\n'
            'Component(kind="memory", name="block-mean", options=Mean)  # in acme-b\n'
        ),
    ),
    Code(
        "XC052",
        "a misspelt hook",
        "A plugin implements a hook that xcompose does not have, with arguments that it does not take, or without "
        "`@hookimpl`, so it would never be called.",
        bad=("@hookimpl\ndef component():\n    return [Component(...)]\n"),
        mend=("@hookimpl\ndef components():\n    return [Component(...)]\n"),
    ),
    Code(
        "XC053",
        "a plugin breaks its contract",
        "What a plugin declares or returns is not what its kind promises.",
        bad=('@hookimpl\ndef components():\n    return Component(kind="memory", name="mean", options=Mean)\n'),
        mend=('@hookimpl\ndef components():\n    return [Component(kind="memory", name="mean", options=Mean)]\n'),
    ),
    Code(
        "XC054",
        "a plugin for another API version",
        "The entry-point group of a plugin names the version of the API that it is written for. One that is written "
        "for another version is not imported. A package may announce a plugin for each of several versions; xcompose "
        "takes its own and leaves the others alone.",
        bad=('[project.entry-points.xcompose]\nacme_mean = "acme_mean.mean"\n'),
        mend=('[project.entry-points."xcompose.v1"]\nacme_mean = "acme_mean.mean"\n'),
    ),
    Code(
        "XC055",
        "the environment names a plugin that is not installed",
        "`XCOMPOSE_PLUGINS` holds names of distributions or entry points, with commas between them, or `none` alone. "
        "Case and the kind of dash do not matter.",
        bad=("XCOMPOSE_PLUGINS=acme-maen xcompose check\n"),
        mend=("XCOMPOSE_PLUGINS=acme-mean xcompose check\n"),
    ),
    Code(
        "XC056",
        "a plugin that needs a look",
        "It works, and `xcompose plugin doctor` finds something doubtful: it was written for another version of "
        "xcompose, takes long to import, prints while it is imported, or leaves out what `xcompose show` would say.",
        bad=("import acme_kernels\n\nacme_kernels.compile_all()  # in every command, for minutes\n"),
        mend=("def build(options, context):\n    import acme_kernels  # only a model that has it compiles anything\n"),
    ),
    Code(
        "XC057",
        "a plugin that offers something else than before",
        "Its components are known from an earlier run, and its code is still the same, but what it offers is not: it "
        "depends on the environment, the time, or files outside its package. Put such a choice into an option of the "
        "component. With XCOMPOSE_CACHE=none nothing of an earlier run counts.",
        bad=('@hookimpl\ndef components():\n    return [Component(...)] if os.environ.get("ACME_FAST") else []\n'),
        mend=('class Options:\n    fast: bool = option(False)\n    """Whether the fast kernels compute it."""\n'),
    ),
    # expectations
    Code(
        "XC060",
        "an expectation that cannot be tested",
        "`expect` asks for something that this model has no measure for.",
        bad="xcompose train mine.xc.yaml --data text.txt --set train.goal.accuracy=0.5..",
        mend="xcompose train mine.xc.yaml --data text.txt --set train.goal.bits_per_byte=..9",
    ),
    Code(
        "XC061",
        "an expectation is not met",
        "The model does not keep what its own `expect` promises. The label says what was found instead.",
        bad=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4}\nexpect: {time: O(n)}\n"),
        mend=("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4}\nexpect: {time: O(n^2)}\n"),
    ),
    # certificates of definitions, joins and copies
    Code(
        "XC062",
        "an answer that is not its definition",
        "Attention by tiles, sorted rows or sums in chunks gave something else than one dense matrix of weights, made "
        "from the predicates and scores of its parts.",
    ),
    Code(
        "XC063",
        "a gradient through what is still",
        "A memory says that no gradient flows through its slots to the rows that they are made of, and one does.",
    ),
    Code(
        "XC064",
        "a stream that is dropped",
        "Behind a residual the stream does not depend on the stream before it, or not on what a sub-layer answered.",
    ),
    Code(
        "XC065",
        "sequences that know of each other",
        "The answer to a sequence depends on what else is in the batch, on a request that was answered meanwhile, or "
        "on the place of a sequence in the state.",
    ),
    Code(
        "XC066",
        "replicas that differ",
        "Two processes that train one model, with equal weights and gradients, answer differently or drift apart; or a "
        "copy of the model does not answer as the model.",
    ),
    Code(
        "XC068",
        "training diverged",
        "The loss is no longer a number, so further steps mean nothing. The last checkpoint is as it was.",
        bad="xcompose train mine.xc.yaml --data text.txt --set train.lr=1e30 --set train.clip=1e30 --budget '20 steps'",
        mend="xcompose train mine.xc.yaml --data text.txt",
    ),
    # certificates
    Code(
        "XC069",
        "not fit for bfloat16",
        "With 8 significant bits a part gives something else than rounding explains, or takes a softmax, a running sum "
        "or a choice of rounded numbers. An error where the spec asks for `precision(bf16)`, else a warning.",
    ),
    Code(
        "XC070",
        "an output depends on the future",
        "Changing a later token changed an earlier output of a causal model.",
    ),
    Code(
        "XC071",
        "a slot uses a row outside its span",
        "A memory's slot says which positions it stands for, but others change it.",
    ),
    Code(
        "XC072",
        "a visible position has no influence",
        "A position that a query may read changes nothing: a mask hides too much.",
    ),
    Code(
        "XC073",
        "padding changes an output",
        "Outputs at real positions differ with and without padding.",
    ),
    Code(
        "XC074",
        "decoding differs from the parallel pass",
        "Step by step, the model gives other outputs than all at once.",
    ),
    Code(
        "XC075",
        "a parameter without a gradient",
        "A parameter never takes part in the loss, so it would stay as it was made.",
    ),
    Code(
        "XC076",
        "the same seed gives another result",
        "Two builds or two evaluations from one seed differ.",
    ),
    Code(
        "XC077",
        "saving and loading changes the model",
        "The loaded model gives other outputs than the saved one.",
    ),
    Code(
        "XC078",
        "a size or cost that is not as declared",
        "Counted work, memory or state grows otherwise than the part declares.",
    ),
    Code(
        "XC079",
        "a model cannot be compiled or exported",
        "`torch.compile` or `torch.export` refuses the model as a whole.",
    ),
    # data, training, run folders
    Code(
        "XC080",
        "there is no such data",
        "The file or folder behind `--data` is not there or cannot be read.",
        bad="xcompose train mine.xc.yaml --data nowhere.txt",
        mend="xcompose train mine.xc.yaml --data text.txt",
    ),
    Code(
        "XC081",
        "there is nothing in the data",
        "The data is empty.",
        bad=("touch empty.txt\nxcompose train mine.xc.yaml --data empty.txt"),
        mend="xcompose train mine.xc.yaml --data text.txt",
    ),
    Code(
        "XC082",
        "the data is not text",
        "A task that reads text was given binary contents.",
        bad=("printf 'a\\x00b' > binary.txt\nxcompose train mine.xc.yaml --data binary.txt"),
        mend="xcompose train mine.xc.yaml --data text.txt",
    ),
    Code(
        "XC083",
        "no built-in data of this name",
        "The task names data that does not come with xcompose, and no file was given.",
        bad="xcompose train mine.xc.yaml --set 'task=lm(data=wikipedia)'",
        mend="xcompose train mine.xc.yaml --data text.txt",
    ),
    Code(
        "XC084",
        "too much data",
        "A corpus is held in memory, and this one is too large.",
    ),
    Code(
        "XC085",
        "too little data",
        "The data does not make one sequence of the wanted length.",
        bad=("printf 'short' > short.txt\nxcompose train mine.xc.yaml --data short.txt"),
        mend="xcompose train mine.xc.yaml --data text.txt",
    ),
    Code(
        "XC086",
        "the data has another form",
        "The task wants a folder with a folder for each class, images in files of a kind that it knows, or "
        "lines in two languages.",
        bad=(
            "xcompose train mine.xc.yaml --set type=encoder --set 'output=classify(2)' --set task=classify "
            "--data text.txt"
        ),
        mend="xcompose train mine.xc.yaml --data text.txt",
    ),
    Code(
        "XC087",
        "a run's folder, or its model, does not fit",
        "A run is already there, is not there, is finished, or belongs to a model of other classes.",
        bad=("xcompose train mine.xc.yaml --data text.txt\nxcompose train mine.xc.yaml --data text.txt"),
        mend=("xcompose train mine.xc.yaml --data text.txt\nxcompose train mine.xc.yaml --data text.txt --overwrite"),
    ),
    Code(
        "XC088",
        "the goal is missed",
        "Training ended, and its metric is outside `train.goal`.",
        bad="xcompose train mine.xc.yaml --data text.txt --set train.goal.bits_per_byte=..1",
        mend="xcompose train mine.xc.yaml --data text.txt --set train.goal.bits_per_byte=..9",
    ),
    Code(
        "XC089",
        "a file cannot be written",
        "The disk is full or the place is read-only. What was there before is untouched.",
    ),
    # the command line
    Code(
        "XC090",
        "a wrong use of a command",
        "Arguments that the command does not take, or too few.",
        bad="xcompose compare mine.xc.yaml --data text.txt",
        mend="xcompose compare mine.xc.yaml mine.xc.yaml@tiny --data text.txt --budget '2 steps'",
    ),
    Code(
        "XC091",
        "no specs found",
        "A search for specs that finds none is an error, so that an empty folder is never green.",
    ),
    Code(
        "XC092",
        "a spec has too many mistakes",
        "Reading stops after 200 mistakes, so that no spec can keep this program busy. Those found so far are shown.",
    ),
    Code(
        "XC093",
        "a name that files cannot have",
        "Folders of runs and pictures are called after a spec, so its name holds no slash and leads nowhere else.",
        bad=("xcompose: 1\nname: ../mine\nmodel: {type: decoder, dim: 256, layers: 4}\n"),
        mend=("xcompose: 1\nname: mine\nmodel: {type: decoder, dim: 256, layers: 4}\n"),
    ),
    Code(
        "XC095",
        "an optional package is missing",
        "The command needs a package that comes with an extra of xcompose.",
        bad="xcompose train mine.xc.yaml",
        mend=("pip install 'xcompose[train]'\nxcompose train mine.xc.yaml"),
    ),
    Code(
        "XC096",
        "a process that checked a spec died",
        "`xcompose check` takes several processes. One of them ended in the middle of a spec: most likely memory was "
        "short, or compiled code of a plugin failed. The other specs are checked all the same, and nothing is kept of "
        "this one. With fewer processes, or a smaller variant `tiny` to measure, there is more memory for each.",
    ),
    Code(
        "XC099",
        "a mistake of xcompose itself",
        "Please report it, with the command and the spec.",
    ),
)

CODES = {entry.code: entry for entry in _TABLE}
"""By code, in order."""
