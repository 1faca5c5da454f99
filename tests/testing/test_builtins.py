from __future__ import annotations

from xcompose.testing import (
    AddonContract,
    MemoryContract,
    MixerContract,
    ModelContract,
    OptimizerContract,
    PatternContract,
    PositionContract,
    RecurrenceContract,
    ScoreContract,
    StrategyContract,
    TaskContract,
)


class TestPatterns(PatternContract):
    expressions = ("window(5)",)


class TestMem(MemoryContract):
    expressions = ("pool(4)",)


class TestMix(MixerContract):
    expressions = ("gate(attention, attention(pattern=window(3)))",)


class TestS(ScoreContract):
    expressions = ("linear",)


class TestP(PositionContract):
    expressions = ("rotary",)


class TestO(OptimizerContract):
    expressions = ("adam",)


class TestSt(StrategyContract):
    expressions = ("random",)


class TestM(ModelContract):
    expressions = ("encoder-decoder", "decoder")


class TestA(AddonContract):
    expressions = ("lora(4)",)


class TestT(TaskContract):
    expressions = ("copy(5)",)


class TestR(RecurrenceContract):
    expressions = ("segments(8, memory=8)",)
