from __future__ import annotations

import math

import pytest
import torch

from hdrunet_video.metrics.exposed import dark_noise, exposed_stops
from hdrunet_video.metrics.light import pq_codes


def test_stops() -> None:
    reference = 0.2 + 0.5 * torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    source = reference.clamp(max=1.0)
    brighter = reference * 2.0 ** (0.25 / 2.24)
    assert exposed_stops(reference, reference, source) == 0.0
    assert exposed_stops(brighter, reference, source) == pytest.approx(0.25, abs=1e-5)
    assert exposed_stops(reference, brighter, source) == pytest.approx(-0.25, abs=1e-5)
    # What clips in the source has no part in it, nor has the dark.
    for value in (1.0, 0.02):
        half = source.clone()
        half[:, :8] = value
        changed = brighter.clone()
        changed[:, :8] *= 3.0
        assert exposed_stops(changed, reference, half) == pytest.approx(0.25, abs=1e-5)
    assert math.isnan(exposed_stops(reference, reference, torch.ones_like(source)))


def test_dark_noise_counts_the_dark_and_no_shift() -> None:
    reference = torch.full((3, 64, 64), 0.1)
    noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.001
    one_step = (pq_codes(reference + 0.001) - pq_codes(reference)).mean().item()
    assert dark_noise(reference + noise, reference) == pytest.approx(one_step, rel=0.05)
    assert dark_noise(reference + 0.01, reference) == pytest.approx(0.0, abs=1e-6)
    assert math.isnan(dark_noise(reference + 1.0, reference + 1.0))
