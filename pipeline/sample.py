"""A small SDR clip to try things on: a sunset with a clipped sun, and a tone."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .color.spec import Matrix, Primaries, Range, Transfer
from .errors import OutputError, write_error
from .receipts import delete

WIDTH, HEIGHT, FRAMES, RATE = 256, 144, 24, 24
_SAMPLE_RATE = 48000


def make_sample(path: Path) -> None:
    """Write one second of 256x144 H.264 (BT.709, limited range, 4:2:0) with stereo AAC sound.

    Raises OutputError where the folder or the extension will not do.
    """
    if not os.path.isdir(path.parent):
        raise OutputError(f"the folder {path.parent} does not exist", f"mkdir -p {path.parent}")
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder", f"Name a file in it: --make-sample {path / 'sample.mp4'}")
    temporary = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        with av.open(f"file:{temporary.absolute()}", "w") as container:
            video = container.add_stream("libx264", rate=RATE, options={"crf": "20"})
            sound = container.add_stream("aac", rate=_SAMPLE_RATE, layout="stereo")
            assert isinstance(video, VideoStream)
            assert isinstance(sound, AudioStream)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            context = video.codec_context
            context.color_primaries, context.color_trc = Primaries.BT709, Transfer.BT709
            context.colorspace, context.color_range = Matrix.BT709, Range.LIMITED
            for number in range(FRAMES):
                container.mux(video.encode(_picture(number)))
            container.mux(video.encode(None))
            container.mux(sound.encode(_tone()))
            container.mux(sound.encode(None))
        temporary.replace(path)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        delete(temporary)
        raise write_error(error, path) from None


def _picture(number: int) -> VideoFrame:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] / HEIGHT
    sun = np.hypot(columns - 0.6 - 0.02 * number, rows - 0.45)
    glow = 1.6 * np.exp(-((sun / 0.22) ** 2)) + 0.6 * np.exp(-((sun / 0.6) ** 2))
    sky = 0.45 - 0.3 * rows
    ground = rows > 0.75 + 0.04 * np.sin(9 * columns)
    shade = np.where(ground, 0.08 + 0.1 * glow, sky + glow)
    tint = np.stack([shade * 1.05, shade * 0.8 + 0.02, shade * 0.55 + 0.1 * (1 - rows)])
    signal = np.clip(tint, 0, 1) ** 0.8
    red, green, blue = signal
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    planes = [16 + 219 * luma]
    for difference, scale in ((blue - luma, 1.8556), (red - luma, 1.5748)):
        halved = difference.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean((1, 3))
        planes.append(128 + 224 * halved / scale)
    packed = np.concatenate([np.round(plane).astype(np.uint8).reshape(-1, WIDTH) for plane in planes])
    frame = VideoFrame.from_ndarray(packed, format="yuv420p")
    frame.pts, frame.time_base = number, Fraction(1, RATE)
    return frame


def _tone() -> AudioFrame:
    time = np.arange(_SAMPLE_RATE * FRAMES // RATE) / _SAMPLE_RATE
    wave = (0.1 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    frame = AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
    frame.sample_rate = _SAMPLE_RATE
    return frame
