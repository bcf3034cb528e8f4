"""Frames of floats in, floats out: what the VapourSynth filter adds to the two ends of the colour path."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hdrunet_video.color.convert import Target, to_planes, to_signal
from hdrunet_video.color.spec import ChromaLocation, ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from hdrunet_video.frame import Frame

SDR = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED)
PQ = ColorSpec(Matrix.BT2020_NCL, Primaries.BT2020, Transfer.PQ, Range.LIMITED, ChromaLocation.TOP_LEFT)
RGB24 = PixelFormat("RGB24", "rgb", 8)
RGBS = PixelFormat("RGBS", "rgb", 32, is_float=True)
RGBH = PixelFormat("RGBH", "rgb", 16, is_float=True)
YUV420PS = PixelFormat("YUV420PS", "yuv", 32, (1, 1), is_float=True)
YUV420P16 = PixelFormat("YUV420P16", "yuv", 16, (1, 1))


@pytest.mark.parametrize("coded_range", [Range.LIMITED, Range.FULL])
def test_float_rgb_is_the_signal_whatever_its_range(coded_range: Range) -> None:
    coded = tuple(torch.randint(0, 256, (3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)))
    color = replace(SDR, matrix=Matrix.RGB, range=Range.FULL)
    expected = to_signal(Frame(coded, RGB24, color))
    planes = tuple(plane.to(torch.float32).div_(255) for plane in coded)
    assert torch.equal(to_signal(Frame(planes, RGBS, replace(color, range=coded_range))), expected)
    half = tuple(plane.half() for plane in planes)
    torch.testing.assert_close(to_signal(Frame(half, RGBH, color)), expected, atol=3e-4, rtol=0)


def test_what_is_not_a_number_is_black_and_all_is_clipped() -> None:
    plane = torch.tensor([[float("nan"), float("inf"), float("-inf"), -0.5, 1.5, 0.25]])
    signal = to_signal(Frame((plane,) * 3, RGBS, replace(SDR, matrix=Matrix.RGB)))
    assert signal[0, 0].tolist() == [[0.0, 1.0, 0.0, 0.0, 1.0, 0.25]]


def test_float_ycbcr_has_its_chroma_around_zero() -> None:
    coded = (torch.full((4, 4), 30000), torch.full((2, 2), 36000), torch.full((2, 2), 29000))
    expected = to_signal(Frame(tuple(plane.to(torch.uint16) for plane in coded), YUV420P16, SDR))
    luma = (coded[0] - 4096).float() / (219 * 256)
    chroma = tuple((plane - 32768).float() / (224 * 256) for plane in coded[1:])
    torch.testing.assert_close(to_signal(Frame((luma, *chroma), YUV420PS, SDR)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("transfer", [Transfer.PQ, Transfer.HLG])
@pytest.mark.parametrize("model", ["rgb", "yuv"])
def test_float_planes_are_integer_planes_before_rounding(transfer: Transfer, model: str) -> None:
    nits = torch.rand((1, 3, 6, 8), generator=torch.Generator().manual_seed(2)) * 1000
    color = replace(PQ, transfer=transfer, matrix=Matrix.RGB if model == "rgb" else Matrix.BT2020_NCL, range=Range.FULL)
    shift = (0, 0) if model == "rgb" else (1, 1)
    floats = to_planes(nits, Target(color, PixelFormat("f", model, 32, shift, is_float=True)))
    coded = to_planes(nits, Target(color, PixelFormat("i", model, 16, shift)))
    for index, (exact, rounded) in enumerate(zip(floats, coded, strict=True)):
        offset = 32768 if model == "yuv" and index else 0
        torch.testing.assert_close(exact * 65535 + offset, rounded.float(), atol=0.51, rtol=0)
