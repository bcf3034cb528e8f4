"""What lossy coding leaves of pictures: JPEG and WebP through Pillow, H.264 and HEVC through PyAV.

Pictures are (H, W, 3), R'G'B', uint8 in, float32 0..1 out. Video is BT.709 limited range, 4:2:0 with chroma on the
left, and is decoded by the code that decodes users' video, so that training sees what the network is given later.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch

from ..color.chroma import downsample_chroma
from ..color.convert import to_signal
from ..color.planes import quantize, ycbcr_from_rgb
from ..color.spec import ChromaLocation, ColorSpec, Matrix, Primaries, Range, Transfer, pixel_format
from ..frame import Frame
from .images import Floats

Bytes = npt.NDArray[np.uint8]
_BT709 = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaLocation.LEFT)
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
_OPTIONS = {
    # With its macroblock tree x264 gives different bits for the same small pictures from call to call, in one thread.
    "h264": {"x264-params": "mbtree=0"},
    "hevc": {"x265-params": "log-level=none:pools=none:frame-threads=1:info=0"},
}


def still(picture: Bytes, kind: str, quality: int) -> Floats:
    """JPEG or WebP at a quality of 1..100, 4:2:0."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, kind.upper(), quality=quality)
    buffer.seek(0)
    with Image.open(buffer) as decoded:
        return np.asarray(decoded.convert("RGB")).astype(np.float32) / np.float32(255)


def subsampled(picture: Bytes) -> Floats:
    """8-bit Y'CbCr 4:2:0 and back, without a codec."""
    return _decoded(_planes(picture))


def video(pictures: Sequence[Bytes], codec: str, crf: float, preset: str) -> list[Floats]:
    """The pictures, of one size, as frames of an H.264 (`h264`) or HEVC (`hevc`) stream, decoded."""
    rows, columns = pictures[0].shape[:2]
    # x265 writes beyond its memory where a side is below its block of 64.
    padding = [(0, max(-side % 16, 64 - side)) for side in (rows, columns)]
    pictures = [np.pad(picture, (*padding, (0, 0)), mode="edge") for picture in pictures]
    height, width = pictures[0].shape[:2]
    encoder: Any = av.CodecContext.create(_ENCODERS[codec], "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 24), Fraction(24)
    encoder.thread_count = 1
    encoder.options = {"crf": f"{crf:.2f}", "preset": preset, **_OPTIONS[codec]}
    packets = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, samples in zip(frame.planes, _planes(picture), strict=True):
            lines = np.zeros((plane.height, plane.line_size), np.uint8)
            lines[:, : plane.width] = samples
            plane.update(lines.tobytes())
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create(codec, "r")
    decoder.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    if len(frames) != len(pictures):
        raise RuntimeError(f"{codec} gave {len(frames)} of {len(pictures)} frames back")
    return [_decoded([_samples(plane) for plane in frame.planes])[:rows, :columns] for frame in frames]


def _planes(picture: Bytes) -> list[Bytes]:
    """Y', Cb and Cr of an even-sized picture; chroma lies on the left, between two rows, as video has it."""
    rgb = torch.from_numpy(picture.astype(np.float32)).div_(255).permute(2, 0, 1).unsqueeze(0)
    luma, chroma = ycbcr_from_rgb(rgb, Matrix.BT709)
    halved = downsample_chroma(chroma, (1, 0))
    halved = (halved[:, 0::2] + halved[:, 1::2]) / 2
    planes = [quantize(luma, 8, Range.LIMITED)] + [quantize(each, 8, Range.LIMITED, chroma=True) for each in halved]
    return [plane.numpy() for plane in planes]


def _samples(plane: Any) -> Bytes:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width].copy()


def _decoded(planes: Sequence[Bytes]) -> Floats:
    format_ = pixel_format("yuv420p")
    assert format_ is not None
    frame = Frame(tuple(torch.from_numpy(plane) for plane in planes), format_, _BT709)
    return to_signal(frame)[0].permute(1, 2, 0).contiguous().numpy()
