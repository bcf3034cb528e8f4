"""NVIDIA's video units, where they are asked for: NVDEC by `--decoder nvdec`, NVENC by presets whose encoder is its.

Both are tried before any work begins. NVDEC need not give the bits of the software decoder where a standard leaves
freedom (MPEG-2's transform, concealment of errors), so that one stays the default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction

import av
import av.error
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .errors import UsageError
from .media import OPEN_OPTIONS, open_media, video_stream
from .probe import VideoInfo

DECODERS = ("software", "nvdec")
DECODED = {
    **dict.fromkeys(("yuv420p", "yuvj420p", "nv12"), "nv12"),
    **dict.fromkeys(("yuv420p10le", "p010le"), "p010le"),
    **dict.fromkeys(("yuv420p12le", "p012le"), "p012le"),
}
"""Pixel formats of the software decoders -> those of NVDEC's pictures once they are on the host."""
_HINT = "Leave out --decoder: software decoding takes everything, and is exact."


def is_nvenc(codec: str) -> bool:
    """True for encoders that need the hardware."""
    return codec.endswith("_nvenc")


@contextmanager
def open_to_decode(
    info: VideoInfo, decoder: str = "software", frame_threads: bool = True, device: str = "auto"
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A probed file and its picture, ready to decode. Raises InputError, and UsageError where `nvdec` cannot.

    device: `nvdec` is that of cuda:N, and of the first GPU where another device is named.
    """
    software = decoder == "software"
    with open_media(info.path) if software else _open_for_nvdec(info, device) as container:
        yield container, video_stream(container, info.path, frame_threads and software)


def decoded_format(info: VideoInfo, decoder: str) -> str:
    """FFmpeg's name of the pixel format that a decoder's pictures have."""
    return info.format.name if decoder == "software" else DECODED[info.format.name]


def check_decoder(info: VideoInfo, decoder: str, deinterlace: str, device: str = "auto") -> None:
    """Raise UsageError where `nvdec` cannot decode this file on this device: its first frame is tried."""
    if decoder not in DECODERS:
        raise UsageError(f"unknown decoder {decoder!r}", f"There are {', '.join(DECODERS)}.")
    if decoder == "software":
        return
    if deinterlace != "off":
        raise UsageError("--decoder nvdec does not go with deinterlacing", _HINT)
    if info.format.name not in DECODED:
        raise UsageError(f"--decoder nvdec takes 4:2:0 video, and {info.path} is {info.format.name}", _HINT)
    with open_to_decode(info, decoder, device=device) as (container, stream):
        try:
            frame = next(container.decode(stream), None)
        except (av.error.FFmpegError, OSError) as error:
            raise _no_nvdec(info, error) from None
    if not isinstance(frame, VideoFrame) or frame.format.name != DECODED[info.format.name]:
        given = frame.format.name if isinstance(frame, VideoFrame) else "no picture"
        raise UsageError(f"--decoder nvdec gives {given} for {info.path}, not {DECODED[info.format.name]}", _HINT)


def check_encoder(codec: str, pixel_format: str, options: Mapping[str, str], width: int, height: int) -> None:
    """Raise UsageError where an encoder of NVENC does not start on this machine, or not for pictures of this size."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    # The writer makes sides even.
    context.width, context.height = width + width % 2, height + height % 2
    context.pix_fmt, context.time_base, context.options = pixel_format, Fraction(1, 24), dict(options)
    try:
        context.open()
    except (av.error.FFmpegError, ValueError) as error:
        raise UsageError(
            f"the encoder {codec} does not start here for {width}x{height}: {_reason(error)}",
            "It needs an NVIDIA GPU with NVENC (most data-centre GPUs have none); -p hdr10 encodes on the CPU.",
        ) from None


@contextmanager
def _open_for_nvdec(info: VideoInfo, device: str) -> Iterator[InputContainer]:
    gpu = device.removeprefix("cuda:") if device.startswith("cuda:") else "0"
    try:
        # Pictures come back to the host: the way from there on is that of software decoding.
        accelerator = HWAccel("cuda", gpu, allow_software_fallback=False)
        container = av.open(f"file:{info.path.absolute()}", options=dict(OPEN_OPTIONS), hwaccel=accelerator)
    except (av.error.FFmpegError, OSError, RuntimeError, ValueError) as error:
        raise _no_nvdec(info, error) from None
    with container:
        yield container


def _no_nvdec(info: VideoInfo, error: Exception) -> UsageError:
    return UsageError(f"--decoder nvdec cannot decode {info.path} ({info.codec}) here: {_reason(error)}", _HINT)


def _reason(error: Exception) -> str:
    # What FFmpeg says where the driver is missing, or does not answer.
    if isinstance(error, PermissionError):
        return "there is no NVIDIA GPU that it can use"
    return getattr(error, "strerror", None) or str(error)
