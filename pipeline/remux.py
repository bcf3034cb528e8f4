"""What is carried over from the source untouched: sound, subtitles, attachments, chapters, metadata."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from .job import Plan

type AnyPacket = Packet[Stream]

_STALE_KEYS = frozenset(
    {
        "major_brand",
        "minor_version",
        "compatible_brands",
        "encoder",
        "duration",
        "timecode",
        "bps",
        "vendor_id",
    }
    | {"number_of_frames", "number_of_bytes"}
)
_QUICKTIME_LANGUAGES = {
    **{"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb", "mkd": "mac"},
    **{"hye": "arm", "kat": "geo", "bod": "tib", "mya": "bur", "msa": "may"},
}
"""ISO 639-2/T codes whose /B twin is the one in FFmpeg's QuickTime table; it writes others as undetermined."""
_PREROLL = Fraction(1, 10)
"""Seconds of sound that decoders may want before what is heard: Opus wants 80 ms, AAC a packet or two."""


def copied_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata without what described the old file: brands, encoder, statistics."""
    return {
        # QuickTime has it in two places, which FFmpeg puts together, and takes from nobody.
        key: value.partition(";")[0] if key == "creation_time" else value
        for key, value in metadata.items()
        if key.lower() not in _STALE_KEYS and not key.upper().startswith("_STATISTICS") and "-eng" not in key
    }


def stream_metadata(metadata: Mapping[str, str], muxer: str) -> dict[str, str]:
    """`copied_metadata` of a stream, with the language as the muxer knows it."""
    copied = copied_metadata(metadata)
    if muxer == "mov" and copied.get("language") in _QUICKTIME_LANGUAGES:
        copied["language"] = _QUICKTIME_LANGUAGES[copied["language"]]
    return copied


def held_streams(plan: Plan, source: InputContainer, muxer: str) -> tuple[list[Stream], list[str]]:
    """(streams that the container can hold, sentences on those that it cannot)."""
    held, warnings = [], []
    for info in plan.info.streams:
        stream = source.streams[info.index]
        if _is_remade(stream, source):
            continue
        if _can_hold(stream, muxer):
            held.append(stream)
        else:
            what = " ".join(filter(None, (info.type, "stream", f"#{info.index}", f"({info.codec or 'unknown codec'})")))
            warnings.append(f"{what} is left out: {_why_not(stream, plan.target.suffix)}")
    return held, warnings


def _why_not(stream: Stream, suffix: str) -> str:
    if stream.type != "video":
        return f"{suffix} cannot hold it"
    return "cover art is not carried over" if stream.disposition & Disposition.attached_pic else "one is converted"


def _is_remade(stream: Stream, source: InputContainer) -> bool:
    """Timecode and chapter tracks: the muxer makes them anew from metadata."""
    if stream.type != "data":
        return False
    return "timecode" in stream.metadata or (bool(source.chapters()) and _codec_name(stream) in ("bin_data", ""))


def _codec_name(stream: Stream) -> str:
    return stream.codec_context.name if stream.codec_context else ""


def _can_hold(stream: Stream, muxer: str) -> bool:
    if stream.type == "attachment":
        return muxer == "matroska"
    if stream.type not in ("audio", "subtitle"):
        return False
    try:
        # Some muxers accept a codec by name and refuse it in the header, so a header is tried.
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            add_copy(trial, stream)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def add_copy(out: OutputContainer, stream: Stream) -> Stream:
    """A stream of `out` for the packets of `stream`."""
    copy = out.add_stream_from_template(stream)
    if isinstance(copy, AudioStream) and copy.codec_context.layout.name == f"{copy.codec_context.channels} channels":
        # AVI and Matroska do not say which is where, as FFmpeg has it. Muxers that ask refuse that in their trailer.
        copy.codec_context.layout = f"{copy.codec_context.channels}c"
    return copy


def shifted_chapters(plan: Plan, source: InputContainer) -> list[Any]:
    """The source's chapters on the film's time; of an excerpt those that lie in it."""
    origin, (begin, end), kept = plan.timeline.origin, excerpt_bounds(plan), []
    for chapter in source.chapters():
        base = chapter["time_base"]
        first, last = (chapter[key] * base for key in ("start", "end"))
        if plan.is_excerpt:
            first, last = max(begin, first), min(end, last)
            if last <= first:
                continue
        kept.append({**chapter, "start": round((first - origin) / base), "end": round((last - origin) / base)})
    return kept


def excerpt_bounds(plan: Plan) -> tuple[Fraction, Fraction]:
    """(first, end) of the plan's frames in seconds of the source."""
    info = plan.info
    end = info.pts[plan.stop] if plan.stop < len(info.pts) else info.end_pts
    return info.pts[plan.start] * info.time_base, end * info.time_base


def source_packets(plan: Plan, source: InputContainer, copies: Mapping[int, Stream]) -> Iterator[AnyPacket]:
    """Sound and subtitle packets of the source, each on the stream that it is copied to."""
    origin, end = excerpt_bounds(plan)
    wanted = [source.streams[index] for index, copy in copies.items() if copy.type in ("audio", "subtitle")]
    for packet in source.demux(wanted):
        when = packet.pts if packet.pts is not None else packet.dts
        if not packet.size or when is None:
            continue
        begins, on_screen = when * packet.time_base, Fraction(0)
        if packet.stream.type == "subtitle":
            on_screen = (packet.duration or 0) * packet.time_base
        if plan.is_excerpt and (begins >= end or (begins < origin and begins + on_screen <= origin)):
            continue
        if plan.in_matroska and packet.is_discard and begins < plan.timeline.origin - _PREROLL:
            continue  # it has no edit list to hide it
        # One that nobody has ended lasts for weeks in some files, longer than .mp4 and .mov can say.
        if on_screen and (plan.is_excerpt or on_screen > end - origin):
            _cut(packet, max(begins, origin), min(begins + on_screen, end))
        if shift := round(plan.timeline.origin / packet.time_base):
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = copies[packet.stream.index]
        yield packet


def _cut(packet: AnyPacket, first: Fraction, last: Fraction) -> None:
    """Leaves of a subtitle what lies between two times of the source, in seconds."""
    packet.pts = packet.dts = round(first / packet.time_base)
    packet.duration = max(1, round(last / packet.time_base) - packet.pts)
