"""Frames of each kind, and targets of each kind, for the tests of the colour path's kernels."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from hdrunet_video.color.convert import Target
from hdrunet_video.color.spec import ChromaLocation, ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from hdrunet_video.frame import Frame
from tests.engines import LINEAR, PQ, SDR, known

DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
HLG = replace(PQ, transfer=Transfer.HLG)
RGB = {"matrix": Matrix.RGB, "range": Range.FULL}
SIGNAL = replace(LINEAR, primaries=Primaries.BT709, transfer=Transfer.BT709)
FLOATS = {
    "RGBS": PixelFormat("RGBS", "rgb", 32, is_float=True),
    "RGBH": PixelFormat("RGBH", "rgb", 16, is_float=True),
    "GRAYS": PixelFormat("GRAYS", "gray", 32, is_float=True),
    "YUV420PS": PixelFormat("YUV420PS", "yuv", 32, (1, 1), is_float=True),
}


def named(name: str) -> PixelFormat:
    return FLOATS.get(name) or known(name)


KINDS = [
    *(("yuv420p", replace(SDR, chroma_location=each)) for each in ChromaLocation if each),
    *((name, SDR) for name in ("yuv444p", "yuv422p", "yuv440p", "yuv411p", "yuv410p", "yuv420p10le", "gray")),
    *((name, replace(SDR, range=Range.FULL)) for name in ("yuv420p", "gray10le")),
    *((name, replace(SDR, **RGB)) for name in ("gbrp", "gbrp16le", "yuv444p", "RGBS", "RGBH")),
    *((name, SDR) for name in ("YUV420PS", "GRAYS")),
]
TARGETS = {
    "pq 420": Target(PQ, named("yuv420p10le")),
    "pq 420 dithered": Target(PQ, named("yuv420p12le"), dither=True),
    "pq 422": Target(PQ, named("yuv422p10le")),
    "pq 422 dithered": Target(PQ, named("yuv422p10le"), dither=True),
    "pq 444": Target(replace(PQ, range=Range.FULL), named("yuv444p12le"), dither=True),
    "pq rgb": Target(replace(PQ, **RGB), named("gbrp16le")),
    "pq rgb 10": Target(replace(PQ, matrix=Matrix.RGB), named("gbrp10le"), dither=True),
    "pq 420 float": Target(PQ, PixelFormat("YUV420PS", "yuv", 32, (1, 1), is_float=True)),
    "hlg 420": Target(HLG, named("yuv420p10le"), dither=True),
    "hlg rgb": Target(replace(HLG, **RGB), named("gbrp16le")),
    "hlg rgb float": Target(replace(HLG, **RGB), FLOATS["RGBS"]),
    "linear": Target(LINEAR, named("gbrpf32le"), white=100.0),
    "signal": Target(SIGNAL, named("gbrpf32le")),
}


def frame_of(name: str, color: ColorSpec, width: int, height: int) -> Frame:
    """Everything that a component can be."""
    format, generator, planes = named(name), torch.Generator().manual_seed(width), []
    for shape in format.plane_shapes(width, height):
        if format.is_float:
            plane = torch.rand(shape, generator=generator) * 1.4 - 0.4
            for value in (math.nan, math.inf, -math.inf):
                plane[torch.rand(shape, generator=generator) < 0.1] = value
            plane = plane.to(torch.float16 if format.depth == 16 else torch.float32)
        else:
            plane = torch.randint(0, 1 << format.depth, shape, generator=generator)
            plane = plane.to(torch.uint8 if format.depth == 8 else torch.uint16)
        planes.append(plane.to(DEVICE))
    return Frame(tuple(planes), format, color)
