"""Flicker along motion, on clips whose motion and flicker are known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle

import numpy as np
import pytest
import torch
from torch import Tensor

from hdrunet_video.metrics import flow
from hdrunet_video.metrics.flow import flicker_along, follow, motions, optical_flow

STEP = (3, -2)
"""Columns and rows that the picture moves by in a frame."""


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth noise that flow can hold on to, 0.1..0.9, (3, H, W)."""
    noise = torch.randn(1, 3, height // 4 + 2, width // 4 + 2, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, (height, width), mode="bicubic")[0]
    return 0.5 + 0.4 * torch.tanh(smooth)


def moving(frames: int = 5, height: int = 96, width: int = 128) -> list[Tensor]:
    """A window over a texture, so placed that what it shows moves by STEP from frame to frame."""
    large = texture(height + 2 * frames * 3, width + 2 * frames * 3)
    first = frames * 3
    starts = [(first - n * STEP[1], first - n * STEP[0]) for n in range(frames)]
    return [large[:, y : y + height, x : x + width].contiguous() for y, x in starts]


def exact(frame: Tensor, other: Tensor) -> Tensor:
    """The motion of `moving` between neighbours, in either direction: whichever fits."""
    step = torch.tensor(STEP, dtype=torch.float32)
    ways = [sign * step[:, None, None].expand(2, *frame.shape[-2:]) for sign in (1.0, -1.0)]
    inner = (slice(None), slice(8, -8), slice(8, -8))
    return min(ways, key=lambda way: float((follow(other, way) - frame)[inner].abs().mean()))


class Breathing:
    """Every other frame is brighter by a factor."""

    def __init__(self, factor: float) -> None:
        self.gains: Iterator[float] = cycle((1.0, factor))

    def __call__(self, signal: Tensor) -> Tensor:
        return signal * next(self.gains)


def pq(light: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """SMPTE ST 2084 in 10-bit codes of limited range, of light in cd/m2."""
    power = (light / 10000) ** (2610 / 16384)
    signal = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    return np.asarray(signal * 876)


def test_known_motion_and_known_flicker() -> None:
    # Grey, which has the same R, G and B in BT.2020.
    frames = [frame.mean(dim=0).expand(3, -1, -1).contiguous() for frame in moving()]
    back = motions(frames, exact)
    none = flicker_along(lambda signal: signal, frames, back)
    assert none.added == none.added_p99 == 0.0
    assert none.result < 1e-3
    assert none.detail == 1.0
    found = flicker_along(Breathing(1.02), frames, back)
    # A frame's codes, bright less dark, without what has come into view. All frames have nearly the same pixels.
    shown = frames[1][0, : -abs(STEP[1]), abs(STEP[0]) :].double().numpy()
    wanted = np.abs(pq(203 * (shown * 1.02) ** 2.24) - pq(203 * shown**2.24)).mean()
    assert found.result == pytest.approx(wanted, rel=0.03)
    assert found.added == pytest.approx(found.result, abs=1e-3)
    assert found.added_p99 >= found.added
    assert 1.0 < found.detail < 1.02
    plain, breathing = (
        [
            pq(203 * (frame[0].double().numpy() * gain) ** 2.24).mean()
            for frame, gain in zip(frames, gains, strict=False)
        ]
        for gains in ([1.0] * 5, [1.0, 1.02, 1.0, 1.02, 1.0])
    )
    jerks = [np.abs(np.diff(means, 2)).mean() for means in (breathing, plain)]
    assert found.pumping == pytest.approx(jerks[0] - jerks[1], rel=1e-3)
    assert none.pumping == 0.0


def test_what_comes_into_view_is_left_out() -> None:
    (motion,) = motions(moving(2), exact)
    assert motion.seen[:-2, 3:].all()
    assert not motion.seen[-2:].any()
    assert not motion.seen[:, :3].any()

    def torn(frame: Tensor, other: Tensor) -> Tensor:
        """A square of 16 pixels moves on by 4 columns."""
        found = torch.zeros(2, 48, 64)
        if frame is first:
            found[0, 16:32, 20:36] = 4.0
        else:
            found[0, 16:32, 24:40] = -4.0
        return found

    first, second = texture(48, 64), texture(48, 64)
    (motion,) = motions([first, second], torn)
    assert not motion.seen[20:28, 20:23].any()  # uncovered: nothing in the frame before goes there
    assert motion.seen[20:28, 26:38].all()
    assert motion.seen[:12].all()


def test_cuts_are_left_out() -> None:
    def lost(frame: Tensor, other: Tensor) -> Tensor:
        return torch.full((2, *frame.shape[-2:]), 1000.0)

    frames = moving(3)
    back = motions(frames, lost)
    assert all(motion.is_cut for motion in back)
    found = flicker_along(Breathing(2.0), frames, back)
    assert math.isnan(found.result)
    assert math.isnan(found.added)
    assert math.isnan(found.pumping)


def test_follow_is_bilinear() -> None:
    ramp = torch.arange(20.0).expand(1, 10, 20).contiguous()
    half = torch.zeros(2, 10, 20)
    half[0] = 0.5
    torch.testing.assert_close(follow(ramp, half)[0, :, :-1], ramp[0, :, :-1] + 0.5)
    assert (follow(ramp, half)[0, :, -1] == 19.0).all()


@pytest.mark.skipif(not flow.is_installed(), reason="OpenCV is not installed")
class TestOpenCV:
    def test_flow_finds_the_motion(self) -> None:
        before, frame = moving(2)
        back = optical_flow(frame, before)
        error = (back - torch.tensor([-STEP[0], -STEP[1]], dtype=torch.float32)[:, None, None]).square().sum(0).sqrt()
        assert error[8:-8, 8:-8].mean() < 0.1

    def test_flicker_with_its_flow(self) -> None:
        frames = moving()
        back = motions(frames)
        none = flicker_along(lambda signal: signal, frames, back)
        assert none.added == 0.0
        assert none.ratio == 1.0
        known = flicker_along(Breathing(1.05), frames, motions(frames, exact))
        found = flicker_along(Breathing(1.05), frames, back)
        assert found.result == pytest.approx(known.result, rel=0.1)
        assert all(0.8 < float(motion.seen.float().mean()) < 1 for motion in back)

    @pytest.mark.parametrize("seed", [1, 3, 5])
    def test_a_cut_is_found(self, seed: int) -> None:
        (motion,) = motions([texture(96, 128, seed), texture(96, 128, seed + 1)])
        assert motion.is_cut
