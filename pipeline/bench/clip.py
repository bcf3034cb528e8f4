"""A film to decode: made on the spot, so that every machine has the same."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..color.spec import ChromaLocation, ColorSpec, Matrix, Primaries, Range, Transfer

SDR = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaLocation.LEFT)
"""What its integers mean."""
RATE = 24
_CELL, _STEP = 16, 4


def make_clip(path: Path, width: int, height: int, frames: int) -> None:
    """Write H.264, 8-bit 4:2:0, BT.709, limited range: a still texture that moves to the side, with some grain."""
    random = np.random.default_rng(0)
    across, down = -(-width // 2), -(-height // 2)
    cells = (2 * down // _CELL + 1, (2 * across + _STEP * frames) // _CELL + 1)
    coarse = random.integers(40, 200, cells, np.uint8).repeat(_CELL, 0).repeat(_CELL, 1)
    texture = coarse + random.integers(0, 16, coarse.shape, np.uint8)
    with av.open(f"file:{path.absolute()}", "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": "veryfast"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 2 * across, 2 * down, "yuv420p"
        context = stream.codec_context
        context.color_primaries, context.color_trc = SDR.primaries, SDR.transfer
        context.colorspace, context.color_range = SDR.matrix, SDR.range
        chroma = np.full((down, 2 * across), 120, np.uint8)
        for number in range(frames):
            luma = texture[: 2 * down, _STEP * number : _STEP * number + 2 * across]
            picture = VideoFrame.from_ndarray(np.concatenate([luma, chroma]), format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
