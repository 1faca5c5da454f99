"""Sound models pass every certificate, so that a finding means something."""

from __future__ import annotations

import pytest
from small_models import SOUND, BlockMeans, Windowed, subject

from xcompose.verify import alive, causal, decode, padding

CERTIFICATES = [causal, alive, padding, decode]


@pytest.mark.parametrize("certificate", CERTIFICATES, ids=lambda c: c.__name__.rpartition(".")[2])
@pytest.mark.parametrize("kind", ["strict", "none"])
def test_a_sound_model_has_no_finding(certificate, kind):
    assert certificate.certify(subject(*SOUND, causal=kind), seed=3) == []


@pytest.mark.parametrize("certificate", CERTIFICATES[:2], ids=lambda c: c.__name__.rpartition(".")[2])
def test_a_sound_memory_has_no_finding(certificate):
    assert certificate.certify(subject(mixers=lambda: [BlockMeans(), Windowed()]), seed=3) == []
