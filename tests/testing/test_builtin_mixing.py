"""Built-in scores, memories, recurrences, positions and mixers keep the contract that other people's are held to."""

from __future__ import annotations

import pytest

from xcompose.testing import MemoryContract, MixerContract, PositionContract, RecurrenceContract, ScoreContract

pytestmark = pytest.mark.filterwarnings("ignore:.* is not tried in models of type")  # each as its card says


class TestScores(ScoreContract):
    examples = 4
    expressions = ("softmax", "linear", "favor(16)", "favor(8, kernel=exp)")


class TestScoresWithoutContent(ScoreContract):
    examples = 4
    expressions = ("synthesizer(dense)", "synthesizer(random, dense)")
    model = {"length": 40, "position": "none"}


class TestMemories(MemoryContract):
    examples = 4
    expressions = ("conv(3)", "conv(4, null=learned)", "pool(3)", "pool(4, by=max, of=rows)", "all(conv(3), pool(5))")


class TestMemoriesOfEncoders(MemoryContract):
    examples = 4
    types = ("encoder",)
    expressions = ("linformer(5)", "inducing(4)", "reread(first(2))")
    model = {"length": 40}


class TestSorted(MemoryContract):
    examples = 4
    types = ("encoder",)
    expressions = ("sinkhorn(8)",)
    model = {"length": 40}


class TestRecurrences(RecurrenceContract):
    examples = 4
    expressions = ("segments(8, memory=8)", "segments(6, memory=9, same_length=true)", "none")


class TestCompressive(RecurrenceContract):
    examples = 4
    expressions = ("compressive(8, memory=8, compressed=4, rate=2)",)


class TestPositions(PositionContract):
    examples = 4
    expressions = ("rotary", "alibi", "sinusoidal", "none", "relative(4)", "transformer-xl", "all(sinusoidal, alibi)")


class TestPositionsOfTables(PositionContract):
    examples = 4
    expressions = ("learned",)
    model = {"length": 40}


class TestPositionsOfGrids(PositionContract):
    examples = 4
    expressions = ("axial([5, 8])",)
    model = {"grid": [5, 8]}


class TestMixers(MixerContract):
    examples = 4
    expressions = (
        "attention", "chain(attention, attention(pattern=window(3)))", "gate(attention, attention(pattern=window(3)))",
        "heads(attention(pattern=window(3)), attention)", "sum(attention, attention(pattern=strided(3)))",
    )  # fmt: skip


class TestRows(MixerContract):
    examples = 4
    types = ("encoder",)
    expressions = ("rows",)
    layer = {
        "mixer": {"type": "THIS", "of": [
            {"rows": "first(2)", "use": "attention"}, {"use": "attention(pattern=window(3))"},
        ]}
    }  # fmt: skip
