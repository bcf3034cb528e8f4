"""Frames -> one segment file (PyAV). The tags come from the preset's ColorSpec, the same one that made the pixels."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import torch
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from hdrunet_video.presets import Preset

from .color.spec import ChromaLocation, PixelFormat
from .errors import HdrunetError, OutputError, PresetError, write_error
from .frame import Frame
from .host import without_real_time
from .receipts import delete, sync

_EVEN = {"libx265": (32, 2), "hevc_nvenc": (2, 2), "libsvtav1": (16, 1)}
"""(smallest side, multiple) of encoders that refuse other sizes; the last column and row are repeated to get there."""
_ODD_SIZES = {"prores": "prores_ks"}
"""Encoders that refuse odd widths, and the slower one that writes the same format at any size."""
_SMALL_SIDE = 72
_SMALL_X265 = "ctu=16:cutree=0"
"""x265 writes past its buffers where a side is 64 or less: other bytes at every run, or a crash. Not with these."""
_UNORDERED = 2
"""Frames that are too few to be coded out of order. x265 gives them decoding times from uninitialised memory."""


@dataclass(frozen=True)
class WriterSpec:
    """What all segments of a film have in common."""

    preset: Preset
    width: int
    height: int
    sample_aspect_ratio: Fraction
    frame_rate: Fraction
    peak: float
    """Brightest luminance that was allowed, cd/m2: the mastering display's maximum."""
    field_order: int = 1
    """AVFieldOrder of the result: 1, progressive, unless interlaced material passed through."""


def coded_size(spec: WriterSpec) -> tuple[int, int]:
    """(width, height) that the encoder gets: the picture's own, enlarged where the encoder cannot take it."""
    smallest, multiple = _EVEN.get(spec.preset.codec, (1, 1))
    if spec.preset.format.chroma_shift == (0, 0):
        multiple = 1
    width, height = (max(smallest, -(-side // multiple) * multiple) for side in (spec.width, spec.height))
    return width, height


class Writer:
    """Writes the frames of one segment to `path`, numbered from 0; the join puts the film's times on them.

    `close` completes the file, `abandon` removes it; one of them ends every writer. Raises OutputError (73), or
    RetryError (75) where the disk is full.
    """

    def __init__(self, path: Path, spec: WriterSpec) -> None:
        self._path, self._spec, self._count = path, spec, 0
        self._size = coded_size(spec)
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints its settings to stderr otherwise
        try:
            # Without bitexact, Matroska files carry random ids and no two runs give the same bytes.
            self._container: OutputContainer = av.open(
                f"file:{path.absolute()}",
                "w",
                format=spec.preset.segment_container,
                options={"fflags": "+bitexact"},
            )
            self._stream = self._add_stream()
            with without_real_time():
                self._container.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            self.abandon()
            raise _encoder_error(error, path, spec) from None

    def _add_stream(self) -> VideoStream:
        spec, preset, color = self._spec, self._spec.preset, self._spec.preset.color
        codec = _ODD_SIZES.get(preset.codec, preset.codec) if self._size[0] % 2 else preset.codec
        stream = self._container.add_stream(codec, rate=spec.frame_rate, options=encoder_options(spec))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = self._size
        stream.pix_fmt = preset.pixel_format
        context = stream.codec_context
        context.time_base = stream.time_base = 1 / spec.frame_rate
        context.color_primaries, context.color_trc = color.primaries, color.transfer
        context.colorspace, context.color_range = color.matrix, color.range
        if preset.format.chroma_shift[1]:
            context.chroma_sample_location = color.chroma_location
        context.sample_aspect_ratio = spec.sample_aspect_ratio
        context.field_order = spec.field_order
        if preset.codec_tag:
            context.codec_tag = preset.codec_tag
        return stream

    def write(self, frame: Frame) -> None:
        """Encode one frame."""
        picture = to_picture(frame, self._size)
        picture.pts, picture.time_base = self._count, 1 / self._spec.frame_rate
        self._count += 1
        try:
            for packet in self._stream.encode(picture):
                self._container.mux(packet)
        except (av.error.FFmpegError, OSError) as error:
            raise write_error(error, self._path) from None

    def close(self) -> None:
        """Complete the file and force it to the disk. It may be called from another thread than `write`."""
        try:
            for packet in self._stream.encode(None):
                if self._count <= _UNORDERED:
                    packet.dts = packet.pts
                self._container.mux(packet)
            self._container.close()
            sync(self._path)
        except (av.error.FFmpegError, OSError) as failure:
            self.abandon()
            raise write_error(failure, self._path) from None

    def abandon(self) -> None:
        """Give the segment up and remove its file."""
        container = getattr(self, "_container", None)
        if container is not None:
            with suppress(av.error.FFmpegError, OSError):  # the file goes anyway
                container.close()
        delete(self._path)


def encoder_options(spec: WriterSpec) -> dict[str, str]:
    """The preset's options, with the mastering display (P3-D65, ST 2086) where the codec carries it itself.

    MaxCLL and MaxFALL are 1 here and replaced at the join, when the whole film has been measured.
    """
    options, preset = dict(spec.preset.options), spec.preset
    if preset.codec == "libx265" and min(coded_size(spec)) < _SMALL_SIDE:
        options["x265-params"] = ":".join(filter(None, (options.get("x265-params"), _SMALL_X265)))
    if preset.codec == "ffv1" and min(coded_size(spec)) < 4:
        options.pop("slices", None)  # 16 of them do not fit in three rows or columns
    if preset.transfer != "pq":
        return options
    if preset.static_metadata == "hevc":
        display = f"G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L({round(spec.peak * 10000)},1)"
        extra = f"master-display={display}:max-cll=1,1"
        options["x265-params"] = ":".join(filter(None, (options.get("x265-params"), extra)))
    if preset.static_metadata == "av1":
        display = f"G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L({spec.peak:.4f},0.0001)"
        extra = f"mastering-display={display}:content-light=1,1"
        options["svtav1-params"] = ":".join(filter(None, (options.get("svtav1-params"), extra)))
    return options


def to_picture(frame: Frame, size: tuple[int, int]) -> VideoFrame:
    """FFmpeg's frame of `size` (width, height) with the planes and tags of `frame`, edges repeated to fill it."""
    format, color = frame.format, frame.color
    picture = VideoFrame(size[0], size[1], format.name)
    shapes = format.plane_shapes(*size)
    if format.name.startswith("rgb48"):
        packed = torch.stack(tuple(_enlarged(plane, shapes[0]) for plane in frame.planes), dim=-1)
        _fill(picture, 0, packed.flatten(1), format)
    elif format.name.startswith("p0"):
        luma, *chroma = (_enlarged(plane, shape) for plane, shape in zip(frame.planes, shapes, strict=True))
        _fill(picture, 0, luma, format)
        _fill(picture, 1, torch.stack(chroma, dim=-1).flatten(1), format)
    else:
        stored = (1, 2, 0) if format.model == "rgb" else range(len(shapes))  # gbrp is stored G, B, R
        for number, component in enumerate(stored):
            _fill(picture, number, _enlarged(frame.planes[component], shapes[component]), format)
    picture.color_primaries, picture.color_trc = color.primaries, color.transfer
    picture.colorspace, picture.color_range = color.matrix, color.range
    if color.chroma_location is not ChromaLocation.UNSPECIFIED and format.chroma_shift[1]:
        picture.chroma_location = color.chroma_location
    return picture


def _enlarged(plane: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(plane.shape) == shape:
        return plane
    rows = torch.arange(shape[0]).clamp(max=plane.shape[0] - 1)
    columns = torch.arange(shape[1]).clamp(max=plane.shape[1] - 1)
    return plane[rows][:, columns]


def _fill(picture: VideoFrame, number: int, values: Tensor, format: PixelFormat) -> None:
    plane = picture.planes[number]
    dtype = ">u2" if format.name.endswith("be") else "<u2"
    stored = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // 2)
    codes = values.numpy()
    if format.name.startswith("p0"):  # P010 keeps its bits at the top of the 16
        codes = codes << (16 - format.depth)
    stored[: values.shape[0], : values.shape[1]] = codes


def _encoder_error(error: Exception, path: Path, spec: WriterSpec) -> HdrunetError:
    if isinstance(error, OSError) and not isinstance(error, av.error.ArgumentError):
        return write_error(error, Path("the segment"))
    preset = spec.preset
    if preset.options and _starts(path, replace(spec, preset=replace(preset, options={}))):
        return PresetError(
            f"the encoder {preset.codec} refuses the options {dict(preset.options)}",
            f"Check --set video.options, or [video.options] of the preset: `ffmpeg -h encoder={preset.codec}`.",
        )
    return OutputError(
        f"the encoder {preset.codec} refuses {spec.width}x{spec.height} {preset.pixel_format} with the options "
        f"{encoder_options(spec)}",
        "Take another --preset (ffv1 and png16 write any size), or check --set video.options.",
    )


def _starts(path: Path, spec: WriterSpec) -> bool:
    try:
        Writer(path, spec).abandon()
    except HdrunetError:
        return False
    return True
