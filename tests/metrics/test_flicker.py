from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from hdrunet_video.metrics.flicker import (
    PAN,
    STILL,
    align,
    flicker,
    make_clip,
    pumping,
    still_and_moving,
    unsteadiness,
)
from hdrunet_video.metrics.light import pq_codes


def _still() -> torch.Tensor:
    return 0.2 + 0.6 * torch.rand(3, 56, 64, generator=torch.Generator().manual_seed(0))


def _blur(signal: torch.Tensor) -> torch.Tensor:
    """Mean of 5 x 5, so a fifth of independent noise is left."""
    return F.avg_pool2d(F.pad(signal, (2, 2, 2, 2), mode="reflect"), 5, stride=1)


def _strided(signal: torch.Tensor) -> torch.Tensor:
    """Blocks of 4 x 4: what a network that samples at every fourth pixel can do at worst."""
    small = F.avg_pool2d(signal, 4, ceil_mode=True)
    return F.interpolate(small, scale_factor=4.0, mode="nearest")[..., : signal.shape[-2], : signal.shape[-1]]


def test_a_moving_window_fits_together() -> None:
    still = (_still() * 255).round() / 255
    clip = make_clip(still, PAN, noise=0.0)
    assert clip.shape == (len(PAN), 3, 56 - 8, 64 - 13)
    common = align(clip, PAN)
    assert torch.equal(common, common[:1].expand_as(common))
    assert torch.equal(common[0], still[:, 8:48, 13:51])
    assert torch.equal(make_clip(still, STILL), make_clip(still, STILL))
    assert not torch.equal(make_clip(still, STILL), make_clip(still, STILL, seed=1))


def test_identity_adds_nothing() -> None:
    found = still_and_moving(lambda signal: signal, _still())
    assert found["still"].ratio == found["pan"].ratio == 1.0
    assert found["still"].source > 1.0
    assert found["alias"].result == found["alias"].source == 0.0
    assert math.isnan(found["alias"].ratio)


def test_smoothing_takes_noise_away_and_a_stride_adds_aliasing() -> None:
    smooth, strided = still_and_moving(_blur, _still()), still_and_moving(_strided, _still())
    assert 0.15 < smooth["still"].ratio < 0.3
    assert 0.15 < smooth["pan"].ratio < 0.3
    assert smooth["alias"].result < 0.01
    assert strided["still"].ratio < 0.3
    assert strided["alias"].result > 1.0
    # Whole blocks move without any.
    by_fours = tuple((4 * step, 4 * step) for step in range(4))
    moving = make_clip(_still(), by_fours, noise=0.0)
    assert flicker(_strided, moving, by_fours, margin=4).result == pytest.approx(0.0, abs=1e-6)


def test_unsteadiness_is_a_standard_deviation_in_codes() -> None:
    frames = torch.stack([torch.full((3, 4, 4), value) for value in (0.4, 0.5)])
    low, high = (pq_codes(frame)[0, 0, 0].item() for frame in frames)
    assert unsteadiness(frames) == pytest.approx(torch.full((4, 4), (high - low) / 2**0.5, dtype=torch.float64))


def test_pumping() -> None:
    steady = [torch.full((3, 4, 4), 0.5)] * 5
    jumping = [torch.full((3, 4, 4), 0.5 + 0.1 * (index % 2)) for index in range(5)]
    assert pumping(steady, steady) == 0.0
    assert pumping(jumping, steady) > 10.0
    with pytest.raises(ValueError, match="three"):
        pumping(steady[:2], steady[:2])


def test_pictures_that_are_too_small() -> None:
    with pytest.raises(ValueError, match="no window"):
        make_clip(torch.zeros(3, 8, 8), PAN)
    with pytest.raises(ValueError, match="nothing in common"):
        align(torch.zeros(8, 3, 12, 12), PAN, margin=4)
