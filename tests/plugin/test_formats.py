"""Formats and sizes in and out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import vapoursynth as vs
from vapoursynth import core

from hdrunet_video.color.convert import Target
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.spec import ChromaLocation, ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from hdrunet_video.engine import Engine
from hdrunet_video.engines import load_model
from hdrunet_video.frame import Frame

from .conftest import blank, noise, planes, refusal, same

INPUTS = [
    *(vs.RGB24, vs.RGB30, vs.RGB48, vs.RGBH, vs.RGBS, vs.GRAY8, vs.GRAY16, vs.GRAYH, vs.GRAYS),
    *(vs.YUV420P8, vs.YUV422P8, vs.YUV444P8, vs.YUV410P8, vs.YUV411P8, vs.YUV440P8),
    *(vs.YUV420P10, vs.YUV422P12, vs.YUV444P16, vs.YUV420PS, vs.YUV444PH),
]
OUTPUTS = [
    *(vs.YUV420P10, vs.YUV422P10, vs.YUV444P10, vs.YUV420P12, vs.YUV420P16, vs.YUV444P16, vs.YUV444PS),
    *(vs.RGB30, vs.RGB36, vs.RGB48, vs.RGBH, vs.RGBS),
]


def expected(clip: vs.VideoNode, made: vs.VideoNode, n: int, transfer: Transfer = Transfer.PQ) -> list[torch.Tensor]:
    """The engine's planes for a frame, without any of the plugin's own code."""

    def format_of(video: vs.VideoFormat) -> PixelFormat:
        model = {vs.GRAY: "gray", vs.RGB: "rgb", vs.YUV: "yuv"}[video.color_family]
        shift = (video.subsampling_w, video.subsampling_h)
        return PixelFormat("", model, video.bits_per_sample, shift, video.sample_type == vs.FLOAT)

    given, target = format_of(clip.format), format_of(made.format)
    yuv, to_yuv = given.model == "yuv", target.model == "yuv"
    source = ColorSpec(
        Matrix.SMPTE170M if yuv else Matrix.RGB,
        Primaries.SMPTE170M if yuv else Primaries.BT709,
        Transfer.BT709,
        Range.FULL if given.model == "rgb" else Range.LIMITED,
    )
    result = ColorSpec(
        Matrix.BT2020_NCL if to_yuv else Matrix.RGB,
        Primaries.BT2020,
        transfer,
        Range.LIMITED if to_yuv else Range.FULL,
        ChromaLocation.TOP_LEFT if target.chroma_shift[1] else ChromaLocation.LEFT,
    )
    dither = not target.is_float and target.chroma_shift != (1, 1)
    peak = 10000.0 if transfer is Transfer.LINEAR else 1000.0
    engine = Engine(load_model("identity"), LightMapping(peak=peak), Target(result, target, dither), device="cpu")
    frame = Frame(tuple(map(torch.from_numpy, planes(clip.get_frame(n)))), given, source)
    out = tuple(torch.from_numpy(plane) for plane in planes(made.get_frame(n)))
    engine(frame, blank_like := tuple(torch.empty_like(plane) for plane in out))
    return list(blank_like)


@pytest.mark.parametrize("number", INPUTS, ids=lambda number: number.name)
def test_every_input(number: vs.PresetVideoFormat) -> None:
    clip = noise(number)
    made = core.hdrunet.Reconstruct(clip, model="identity")
    default = {vs.RGBH: vs.RGBH, vs.GRAYH: vs.RGBH, vs.YUV444PH: vs.RGBH}.get(
        number, vs.RGBS if clip.format.sample_type == vs.FLOAT else vs.RGB48
    )
    assert made.format.id == default
    assert (made.width, made.height, made.num_frames, made.fps) == (clip.width, clip.height, clip.num_frames, clip.fps)
    before = planes(clip.get_frame(5))
    assert same(planes(made.get_frame(5)), [plane.numpy() for plane in expected(clip, made, 5)])
    assert same(planes(clip.get_frame(5)), before)


@pytest.mark.parametrize("number", OUTPUTS, ids=lambda number: number.name)
@pytest.mark.parametrize("output", ["pq", "hlg"])
def test_every_output(number: vs.PresetVideoFormat, output: str) -> None:
    clip = noise(vs.RGB24)
    made = core.hdrunet.Reconstruct(clip, model="identity", format=number, output=output)
    assert made.format.id == number
    transfer = Transfer.PQ if output == "pq" else Transfer.HLG
    assert same(planes(made.get_frame(3)), [plane.numpy() for plane in expected(clip, made, 3, transfer)])


def test_linear_and_signal() -> None:
    clip = noise(vs.RGB24)
    linear = core.hdrunet.Reconstruct(clip, model="identity", output="linear")
    assert same(planes(linear.get_frame(0)), [plane.numpy() for plane in expected(clip, linear, 0, Transfer.LINEAR)])
    signal = core.hdrunet.Reconstruct(clip, model="identity", output="signal")
    coded = [(plane / np.float32(255)).astype(np.float32) for plane in planes(clip.get_frame(2))]
    assert same(planes(signal.get_frame(2)), coded)
    assert core.hdrunet.Reconstruct(clip, output="signal", format=vs.RGBH).format.id == vs.RGBH


@pytest.mark.parametrize(
    ("format", "output", "says"),
    [
        (vs.RGB24, "pq", "too few bits for HDR. Give format=vs.RGB48"),
        (vs.YUV420P8, "hlg", "Give format=vs.YUV420P10"),
        (vs.YUV410P16, "pq", "too little chroma"),
        (vs.GRAY16, "pq", "cannot hold. Give format=vs.RGB48"),
        (vs.RGB48, "linear", "unbounded. Give format=vs.RGBS"),
        (vs.YUV444PS, "signal", "unbounded. Give format=vs.RGBS"),
        (12345, "pq", "format 12345 is not one of VapourSynth's"),
        (-1, "pq", "is not one of VapourSynth's"),
        (1 << 40, "pq", "is not one of VapourSynth's"),
    ],
)
def test_outputs_that_cannot_be(format: int, output: str, says: str) -> None:
    text = refusal(lambda: core.hdrunet.Reconstruct(blank(vs.RGB24), format=format, output=output))
    assert text.startswith("Reconstruct: ")
    assert says in text


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (33, 17), (100, 64)])
def test_any_size(size: tuple[int, int]) -> None:
    clip = noise(vs.RGB24, *size, length=2)
    for options in ({}, {"output": "linear"}, {"format": vs.YUV444P16}):
        frame = core.hdrunet.Reconstruct(clip, **options).get_frame(1)
        assert (frame.width, frame.height) == size
        assert all(np.isfinite(plane).all() for plane in planes(frame))


def test_odd_sizes_have_no_half_chroma() -> None:
    text = refusal(lambda: core.hdrunet.Reconstruct(blank(vs.RGB24, 5, 4), format=vs.YUV420P10))
    assert text == (
        "Reconstruct: a picture of 5x4 cannot be YUV420P10, whose sides are even. "
        "Give format=vs.YUV444P10, or call core.std.Crop first"
    )
    assert core.hdrunet.Reconstruct(blank(vs.RGB24, 4, 5), format=vs.YUV422P10).height == 5


def test_clips_that_change_are_told_what_to_do() -> None:
    one, other = blank(vs.RGB24), blank(vs.YUV420P8, 64, 48)
    text = refusal(lambda: core.hdrunet.Reconstruct(core.std.Splice([one, other], mismatch=True)))
    assert text.startswith("Reconstruct: the format or the size of this clip changes from frame to frame. Make it ")
    assert "core.resize.Bicubic(clip, width=1920" in text
    same_format = core.std.Splice([one, blank(vs.RGB24, 64, 48)], mismatch=True)
    assert "changes" in refusal(lambda: core.hdrunet.Reconstruct(same_format))
    says = "GRAY32 has integers of more than 16 bits. Have what makes it make at most 16 bits, or floats"
    assert says in refusal(lambda: core.hdrunet.Reconstruct(blank(vs.GRAY32)))


def test_not_a_number_stays_where_it_is() -> None:
    """One bad pixel of a float clip must not reach as far as the network sees."""
    clip = blank(vs.RGBS, 8, 8, 1, color=[0.5, 0.5, 0.5])
    broken = core.std.FrameEval(clip, lambda n: core.std.Expr(clip, "x 0 / 0 *"))
    frame = core.hdrunet.Reconstruct(broken).get_frame(0)
    assert all(np.isfinite(plane).all() for plane in planes(frame))
