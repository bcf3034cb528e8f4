"""`--strength`: the source's light and the network's, mixed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from hdrunet_video.baselines import MODELS
from hdrunet_video.color.convert import Target
from hdrunet_video.color.light import LightMapping, checked_mapping
from hdrunet_video.color.spec import ColorSpec, Matrix, Primaries, Range, Transfer, pixel_format
from hdrunet_video.color.tone import blend, to_nits
from hdrunet_video.engine import Engine
from hdrunet_video.errors import UsageError
from hdrunet_video.frame import Frame

Array = npt.NDArray[Any]
NO_ROLL_OFF = 10000.0
RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL)
SHAPE = (1, 3, 2, 5)
SOURCES = hnp.arrays(np.float32, SHAPE, elements=st.floats(0.0, 1.0, width=32))
OUTPUTS = hnp.arrays(np.float32, SHAPE, elements=st.floats(-0.5, 5.0, width=32))


def linear(signal: Array, gamma: float) -> Array:
    return np.asarray(np.maximum(signal.astype(np.float64), 0.0) ** gamma)


@given(SOURCES, OUTPUTS, st.floats(0.0, 1.0), st.sampled_from([1.0, 2.24, 2.4]))
@settings(deadline=None)
def test_light_is_the_weighted_mean_of_both_lights(source: Array, output: Array, strength: float, gamma: float) -> None:
    mapping = LightMapping(display_gamma=gamma, strength=strength)
    made = blend(torch.from_numpy(source), torch.from_numpy(output), mapping).numpy()
    dark, bright = linear(source, gamma), linear(output, gamma)
    np.testing.assert_allclose(linear(made, gamma), (1 - strength) * dark + strength * bright, rtol=1e-5, atol=1e-9)


@given(SOURCES, OUTPUTS, st.lists(st.floats(0.0, 1.0), min_size=3, max_size=6))
@settings(deadline=None)
def test_light_goes_one_way_from_the_source_to_the_network(source: Array, output: Array, steps: list[float]) -> None:
    strengths = [0.0, *sorted(steps), 1.0]
    ways = [
        to_nits(
            blend(torch.from_numpy(source), torch.from_numpy(output), LightMapping(strength=each)),
            Primaries.BT709,
            LightMapping(peak=NO_ROLL_OFF),
        ).double()
        for each in strengths
    ]
    direction = (ways[-1] - ways[0]).sign()
    for before, after in pairwise(ways):
        assert ((after - before) * direction >= -1e-5 * (1.0 + after.abs() + before.abs())).all()


def doubled(signal: Tensor) -> Tensor:
    return signal * 2.0 - 0.25


def frame() -> Frame:
    planes = torch.randint(0, 256, (3, 12, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    found = pixel_format("gbrp")
    assert found is not None
    return Frame(tuple(planes), found, RGB)


def made(model: Any, strength: float, transfer: Transfer = Transfer.PQ, **mapping: float) -> Frame:
    format = pixel_format("gbrp16le" if transfer is Transfer.PQ else "gbrpf32le")
    assert format is not None
    target = Target(ColorSpec(Matrix.RGB, Primaries.BT2020, transfer, Range.FULL), format)
    return Engine(model, LightMapping(strength=strength, **mapping), target, device="cpu")(frame())


@pytest.mark.parametrize("transfer", [Transfer.PQ, Transfer.LINEAR, Transfer.BT709])
def test_none_is_the_source_to_the_bit(transfer: Transfer) -> None:
    plain, none = made(MODELS["identity"](), 1.0, transfer), made(doubled, 0.0, transfer)
    assert plain.light == none.light
    assert all(map(torch.equal, plain.planes, none.planes))


def test_none_does_not_ask_the_network() -> None:
    def network(signal: Tensor) -> Tensor:
        raise AssertionError("asked")

    assert made(network, 0.0).light is not None


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.9])
def test_frame_has_the_mean_light_before_the_roll_off(strength: float) -> None:
    low, high = (made(doubled, each, Transfer.LINEAR, peak=NO_ROLL_OFF) for each in (0.0, 1.0))
    between = made(doubled, strength, Transfer.LINEAR, peak=NO_ROLL_OFF)
    for one, other, result in zip(low.planes, high.planes, between.planes, strict=True):
        wanted = (1 - strength) * one.double() + strength * other.double()
        torch.testing.assert_close(result.double(), wanted, rtol=1e-5, atol=1e-6)


def test_signal_is_that_of_the_mean_light() -> None:
    between = made(doubled, 0.5, Transfer.BT709)
    source = np.stack([plane.numpy() for plane in frame().planes]) / 255.0
    wanted = ((linear(source, 2.24) + linear(source * 2.0 - 0.25, 2.24)) / 2) ** (1 / 2.24)
    np.testing.assert_allclose(np.stack([plane.numpy() for plane in between.planes]), wanted, rtol=1e-5, atol=1e-5)
    assert made(doubled, 1.0, Transfer.BT709).planes[0].min() < 0  # the network's own is left as it is


@pytest.mark.parametrize("strength", [-0.1, 1.001, float("nan"), float("inf")])
def test_strengths_that_cannot_be(strength: float) -> None:
    with pytest.raises(UsageError, match=r"--strength .* is out of range") as caught:
        checked_mapping(203.0, 2.24, None, Transfer.PQ, strength)
    assert caught.value.exit_code == 2
    assert caught.value.hint
