"""What a file holds: its tags, its exact list of frame times, and whether it is whole. No frame is converted here.

Headers lie: `stream.frames` counts frames that an edit list hides, and durations are guesses. The index is therefore
made from the packets themselves, once, and everything else (segments, progress, the check at the end) follows it.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.rational import AVRational
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .color.spec import ChromaLocation as Chroma
from .color.spec import ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer, pixel_format
from .cut_off import damage
from .errors import InputError
from .index import INTERLACED, Index, index_frames, index_packets
from .media import check_is_a_file, open_media, video_stream

_LOOKED_AT = 12
"""So many frames tell whether a film is interlaced: the first may be a title that is not."""


@dataclass(frozen=True)
class StreamInfo:
    """A stream that is not the picture: copied into the result where the container can hold it."""

    index: int
    type: str
    """FFmpeg's media type: `audio`, `subtitle`, `data`, `attachment`, or `video` of one that is not converted."""
    codec: str
    language: str


@dataclass(frozen=True)
class VideoInfo:
    """Facts of the best video stream of a file. Tags are as found; UNSPECIFIED where the file says nothing."""

    path: Path
    container: str
    """FFmpeg's name of the demuxer."""
    codec: str
    width: int
    height: int
    format: PixelFormat
    color: ColorSpec
    sample_aspect_ratio: Fraction
    display_matrix: tuple[int, ...]
    """How the picture is turned or mirrored when it is shown: FFmpeg's nine numbers; none where it is not."""
    frame_rate: Fraction
    time_base: Fraction
    pts: array[int]
    """Presentation time of every frame that is shown, ascending, in `time_base`."""
    positions: array[int]
    """Byte of the file at which each frame's packet lies, where pictures are known by that; else empty."""
    end_pts: int
    """When the last frame ends, in `time_base`."""
    clock_start: Fraction
    """Second at which the clock of a transport or program stream begins; 0 where times are those of the film."""
    seekable: bool
    """False where frames are counted, as in elementary streams, and not found by their times."""
    interlaced: bool
    field_order: int
    """AVFieldOrder."""
    mastering_display: bool
    dolby_vision: bool
    timecode: str
    streams: tuple[StreamInfo, ...]
    sound_goes_back: bool
    """True where a film was put together from several recordings, each with times of its own."""
    doubts: tuple[str, ...]
    """Sentences on what the file leaves open, and what was assumed."""
    damage: str
    """Empty, or a sentence that says what shows that the file is cut or broken."""
    size: int
    mtime_ns: int

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame to the end of the last."""
        return (self.end_pts - self.pts[0]) * self.time_base


def probe(source: str | os.PathLike[str]) -> VideoInfo:
    """Read the facts of `source`: every packet is looked at once, the first frames are decoded.

    Raises InputError (65) where there is no video, no frame can be decoded, or the format is one we do not read.
    """
    path = check_is_a_file(source)
    facts = path.stat()
    with open_media(path) as container:
        stream = video_stream(container, path, frame_threads=False)
        first, flags = _first_frames(container, stream, path)
    format = pixel_format(first.format.name)
    if format is None or format.depth > 16:  # floats are only written
        raise InputError(
            f"{path} has pixel format {first.format.name}, which is not supported",
            "Convert it first: yuv420p to yuv444p, gbrp, gray, nv12, yuyv422 and rgb24 are read, with more bits too.",
        )
    with open_media(path) as container:
        index = index_packets(container, video_stream(container, path))
    if not index.exact:
        with open_media(path) as container:
            index = index_frames(container, video_stream(container, path, not index.corrupt), index)
    with open_media(path) as container:
        return _describe(path, container, video_stream(container, path), first, flags, format, index, facts)


def _first_frames(container: InputContainer, stream: VideoStream, path: Path) -> tuple[VideoFrame, list[bool]]:
    """(the first frame, whether each of the first few is flagged as interlaced)."""
    first: VideoFrame | None = None
    flags: list[bool] = []
    for frame in islice(_decoded(container, stream), _LOOKED_AT):
        first = first or frame
        flags.append(bool(frame.interlaced_frame))
    if first is None:
        raise InputError(f"{path} holds no frame that can be decoded", "`ffprobe` on the file says more.")
    return first, flags


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    try:
        for packet in container.demux(stream):
            try:
                yield from (frame for frame in packet.decode() if isinstance(frame, VideoFrame))
            except av.error.FFmpegError:
                continue  # decoders differ in what they call a broken picture: png says ExternalError
    except (av.error.FFmpegError, ValueError):
        pass


def _describe(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    first: VideoFrame,
    flags: list[bool],
    format: PixelFormat,
    index: Index,
    facts: os.stat_result,
) -> VideoInfo:
    context = stream.codec_context
    # The guess is made from times, also from those few that are there.
    rates = (stream.average_rate, stream.guessed_rate) if index.doubt else (stream.guessed_rate, stream.average_rate)
    rate = _fraction(rates[0]) or _fraction(rates[1]) or Fraction(25)
    time_base = 1 / rate if index.synthetic else _fraction(stream.time_base) or Fraction(1, 90000)
    if not index.pts:
        raise InputError(f"{path} holds no frame that is shown", "Its edit list may hide all of them.")
    step = max(1, round(1 / (rate * time_base)))
    if index.synthetic or index.end_pts <= index.pts[-1]:
        index.end_pts = index.pts[-1] + step
    side_data = {str(kind).lower() for kind in context.coded_side_data}
    side_data |= {str(kind.type.name).lower() for kind in first.side_data.values()} if first.side_data else set()
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=context.name,
        width=first.width,
        height=first.height,
        format=format,
        color=_tags(first, context),
        sample_aspect_ratio=_fraction(stream.sample_aspect_ratio) or Fraction(1),
        display_matrix=_display_matrix(first),
        frame_rate=rate,
        time_base=time_base,
        pts=index.pts,
        positions=index.positions,
        end_pts=index.end_pts,
        clock_start=_clock_start(container, index.pts[0] * time_base),
        seekable=not index.counted,
        interlaced=any(flags) or context.field_order in INTERLACED,
        field_order=int(context.field_order),
        mastering_display=any("mastering" in kind for kind in side_data),
        dolby_vision=any("dovi" in kind or "dolby" in kind for kind in side_data),
        timecode=stream.metadata.get("timecode", container.metadata.get("timecode", "")),
        streams=tuple(_other_streams(container, stream)),
        sound_goes_back=index.sound_goes_back,
        doubts=tuple(filter(None, (index.doubt, _mixed(flags), _alpha(format)))),
        damage=damage(path, container, stream, index),
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
    )


def _display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    found = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    return struct.unpack("=9i", bytes(found)) if found else ()


def _alpha(format: PixelFormat) -> str:
    has_alpha = any(component.is_alpha for component in av.VideoFormat(format.name).components)
    return "transparency: left out, every pixel is taken as opaque" if has_alpha else ""


def _mixed(flags: list[bool]) -> str:
    if all(flags) or not any(flags):
        return ""
    return f"interlaced: {sum(flags)} of the first {len(flags)} frames are flagged so, all are taken for it"


def _fraction(value: AVRational | Fraction | None) -> Fraction | None:
    """None where FFmpeg's rational is unset, 0/1."""
    return Fraction(value.numerator, value.denominator) if value else None


def _clock_start(container: InputContainer, first: Fraction) -> Fraction:
    """When the first of all streams begins, at the latest with the `first` frame, where they follow MPEG's clock."""
    if container.format.name not in ("mpegts", "mpeg") or container.start_time is None:
        return Fraction(0)
    # FFmpeg states it in microseconds, which tell the ticks of 90 kHz apart.
    return min(first, Fraction(round(Fraction(container.start_time * 90_000, av.time_base)), 90_000))


def _tags(frame: VideoFrame, context: av.VideoCodecContext) -> ColorSpec:
    def known[E: (Matrix, Primaries, Transfer, Range, Chroma)](kind: type[E], *numbers: int, unset: E) -> E:
        for number in numbers:
            if number in kind.__members__.values() and number != unset:
                return kind(number)
        return unset

    return ColorSpec(
        matrix=known(Matrix, int(frame.colorspace), int(context.colorspace), unset=Matrix.UNSPECIFIED),
        primaries=known(
            Primaries, int(frame.color_primaries), int(context.color_primaries), unset=Primaries.UNSPECIFIED
        ),
        transfer=known(Transfer, int(frame.color_trc), int(context.color_trc), unset=Transfer.UNSPECIFIED),
        range=known(Range, int(frame.color_range), int(context.color_range), unset=Range.UNSPECIFIED),
        chroma_location=known(Chroma, int(frame.chroma_location), unset=Chroma.UNSPECIFIED),
    )


def _other_streams(container: InputContainer, video: VideoStream) -> Iterator[StreamInfo]:
    for stream in container.streams:
        if stream.index != video.index and stream.type in ("audio", "subtitle", "data", "attachment", "video"):
            codec = stream.codec_context.name if stream.codec_context else ""
            yield StreamInfo(stream.index, stream.type, codec, stream.metadata.get("language", ""))
