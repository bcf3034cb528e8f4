"""Join: segments and the source's sound, subtitles, chapters and metadata -> one file. Nothing is re-encoded."""

from __future__ import annotations

import heapq
import logging
import math
from array import array
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from hdrunet_video.presets.schema import MUXERS

from .errors import PlanError, write_error
from .job import Plan
from .light_level_patch import patch_av1_packet, patch_hevc_extradata, patch_hevc_packet
from .mastering import StaticMetadata, carrier
from .matroska_aspect import PLACEHOLDER, write_aspect
from .media import open_media, video_stream
from .receipts import delete
from .remux import AnyPacket, add_copy, copied_metadata, held_streams, shifted_chapters, source_packets, stream_metadata
from .timeline import timecode_after, timecode_of_fields

logger = logging.getLogger(__name__)


def join(plan: Plan, segments: list[Path], metadata: StaticMetadata | None, target: Path) -> list[str]:
    """Write `segments` (all of the plan's, in order) to `target`; returns sentences on what could not be kept.

    Raises PlanError where a segment does not hold the plan's frames, OutputError or RetryError where writing fails.
    The file is complete but not yet synced when this returns.
    """
    name = MUXERS[plan.target.suffix.lower()]
    options = {"fflags": "+bitexact"}
    if name == "mp4":
        options["movflags"] = "+faststart"  # players on the web start before the last byte
    with open_media(plan.info.path) as source, carrier(segments[0], metadata) as template:
        streams, warnings = held_streams(plan, source, name)
        size = template.width, template.height
        try:
            with av.open(f"file:{target.absolute()}", "w", format=name, options=options) as out:
                video = _add_video(plan, out, template, metadata)
                video.metadata.update(_video_metadata(plan, source, name))
                copies = _add_copies(out, source, streams)
                out.metadata.update(metadata_wanted := copied_metadata(source.metadata))
                out.set_chapters(shifted_chapters(plan, source))
                out.start_encoding()
                _mux(plan, out, _video_packets(plan, segments, video, metadata), source, copies)
            if _needs_aspect(plan, name):
                write_aspect(target, *size, plan.info.sample_aspect_ratio)
            if not has_planned_times(plan, target):
                raise PlanError(
                    f"{plan.target.name} would not hold the {len(plan.timeline.pts)} frames of the plan at their times",
                    f"Another container may. Please report what ffprobe -show_packets says of {plan.info.path}.",
                )
            return warnings + _lost_metadata(plan, target, metadata_wanted)
        except BaseException as error:
            delete(target)
            if isinstance(error, (av.error.FFmpegError, OSError)):
                raise write_error(error, target) from None
            raise


def _add_video(plan: Plan, out: OutputContainer, template: VideoStream, metadata: StaticMetadata | None) -> VideoStream:
    video = out.add_stream_from_template(template, opaque=True)
    assert isinstance(video, VideoStream)
    if "matroska" not in out.format.name:
        # The muxer would choose a tag of its own: 4444 XQ became 422 HQ.
        video.codec_context.codec_tag = plan.preset.codec_tag or template.codec_context.codec_tag
    video.time_base = plan.timeline.time_base
    if plan.timeline.is_constant or plan.info.timecode:  # which QuickTime counts at a rate
        video.codec_context.framerate = plan.timeline.frame_rate
    video.codec_context.sample_aspect_ratio = plan.info.sample_aspect_ratio
    if metadata and plan.preset.static_metadata == "hevc" and template.codec_context.extradata:
        video.codec_context.extradata = patch_hevc_extradata(
            template.codec_context.extradata, metadata.max_cll, metadata.max_fall
        )
    if plan.info.display_matrix:
        video.set_display_matrix(plan.info.display_matrix)
    return video


def _video_metadata(plan: Plan, source: InputContainer, muxer: str) -> dict[str, str]:
    found = stream_metadata(video_stream(source, plan.info.path).metadata, muxer)
    if plan.info.timecode:
        timecode = timecode_after(plan.info.timecode, plan.start, plan.info.frame_rate)
        found["timecode"] = timecode if plan.outputs_per_frame == 1 else timecode_of_fields(timecode)
    if _needs_aspect(plan, muxer):
        found["title"] = found.get("title", "") + PLACEHOLDER
    return found


def _add_copies(out: OutputContainer, source: InputContainer, streams: list[Stream]) -> dict[int, Stream]:
    copies = {}
    for stream in streams:
        copy = add_copy(out, stream)
        copy.metadata.update(stream_metadata(stream.metadata, out.format.name))
        copy.disposition = stream.disposition
        copies[stream.index] = copy
    return copies


def _mux(
    plan: Plan,
    out: OutputContainer,
    video: Iterator[AnyPacket],
    source: InputContainer,
    copies: dict[int, Stream],
) -> None:
    packets = [_timed(video)]
    if any(stream.type in ("audio", "subtitle") for stream in copies.values()):
        packets.append(_timed(source_packets(plan, source, copies)))
    last: dict[int, int] = {}
    for _, packet in heapq.merge(*packets, key=lambda timed: timed[0]):
        index = packet.stream.index
        if packet.dts is not None:
            earliest = _earliest(packet, last[index], out.format.name) if index in last else packet.dts
            if packet.dts < earliest:
                packet.dts = earliest
                packet.pts = max(packet.pts or 0, earliest)
            last[index] = packet.dts
        out.mux(packet)


def _earliest(packet: AnyPacket, last: int, muxer: str) -> int:
    """The first time that a muxer takes after the last one: some sources repeat a time, which is refused for sound,
    but by Matroska's. A tick of the result is nothing that could be heard."""
    if packet.stream.type != "audio" or "matroska" in muxer:
        return last
    tick = packet.stream.time_base
    assert tick is not None
    return last + max(1, math.ceil(Fraction(tick.numerator, tick.denominator) / packet.time_base))


def _timed(packets: Iterator[AnyPacket]) -> Iterator[tuple[float, AnyPacket]]:
    for packet in packets:
        when = packet.dts if packet.dts is not None else packet.pts
        yield float((when or 0) * packet.time_base), packet


def _video_packets(
    plan: Plan, segments: list[Path], video: VideoStream, metadata: StaticMetadata | None
) -> Iterator[AnyPacket]:
    """Coded packets of all segments in coding order, with the times of the plan instead of the segment's own."""
    timeline, extradata = plan.timeline, b""
    delay = max(_reorder_delay(path, timeline.frame_rate) for path in segments)
    for segment, path in zip(plan.segments, segments, strict=True):
        first, last = plan.output_frames(segment)
        seen = bytearray(last - first)
        with av.open(f"file:{path.absolute()}") as container:
            stream = container.streams.video[0]
            extradata = _same_extradata(stream, extradata, path)
            for count, packet in enumerate(_coded(container, stream)):
                shown = first + _display_number(packet, count, timeline.frame_rate, container.format.name)
                if not first <= shown < last or seen[shown - first]:
                    raise PlanError(f"{path} does not hold frames {first} to {last - 1} of the film", "")
                seen[shown - first] = 1
                packet = _restamped(plan, packet, shown, first + count - delay, video, metadata)
                if first + count + 1 == len(timeline.pts) and not plan.in_matroska:
                    # The last one in coding order is where these say when the film ends.
                    rest = timeline.end_pts - (packet.dts or 0) - delay * max(1, timeline.duration(0))
                    packet.duration = max(timeline.duration(shown), rest)
                yield packet
        if not all(seen):
            raise PlanError(f"{path} does not hold all of frames {first} to {last - 1} of the film", "")


def _coded(container: InputContainer, stream: Stream) -> Iterator[AnyPacket]:
    return (packet for packet in container.demux(stream) if packet.size)


def _display_number(packet: AnyPacket, count: int, rate: Fraction, container: str) -> int:
    if "matroska" in container:
        return count  # times are rounded to 1 ms, and only codecs without reordering are written there
    return round((packet.pts or 0) * packet.time_base * rate)


def _reorder_delay(path: Path, rate: Fraction) -> int:
    """How many frames a segment's coding order runs ahead of its display order (B-frames)."""
    with av.open(f"file:{path.absolute()}") as container:
        first = next(_coded(container, container.streams.video[0]))
        return 0 if first.dts is None else max(0, round(-first.dts * first.time_base * rate))


def _same_extradata(stream: VideoStream, expected: bytes, path: Path) -> bytes:
    found = stream.codec_context.extradata or b""
    if expected and found != expected:
        raise PlanError(f"{path} was encoded with other settings than the segments before it", "")
    return found


def _restamped(
    plan: Plan, packet: AnyPacket, shown: int, decoded: int, video: VideoStream, metadata: StaticMetadata | None
) -> AnyPacket:
    timeline = plan.timeline
    if metadata and plan.preset.static_metadata == "hevc" and packet.is_keyframe:
        packet = _replaced(packet, patch_hevc_packet(bytes(packet), metadata.max_cll, metadata.max_fall))
    elif metadata and plan.preset.static_metadata == "av1" and packet.is_keyframe:
        packet = _replaced(packet, patch_av1_packet(bytes(packet), metadata.max_cll, metadata.max_fall))
    packet.time_base = timeline.time_base
    packet.pts = timeline.pts[shown]
    # Before the first frame, decoding times run backwards at the pace of that frame.
    early = min(decoded, 0) * max(1, timeline.duration(0))
    packet.dts = timeline.pts[max(decoded, 0)] + early
    packet.duration = timeline.duration(shown)
    packet.stream = video
    return packet


def _replaced(packet: AnyPacket, data: bytes) -> AnyPacket:
    copy = Packet(data)
    copy.is_keyframe = packet.is_keyframe
    return copy


def _needs_aspect(plan: Plan, muxer: str) -> bool:
    return muxer == "matroska" and plan.info.sample_aspect_ratio != 1


def _lost_metadata(plan: Plan, target: Path, wanted: dict[str, str]) -> list[str]:
    with av.open(f"file:{target.absolute()}") as container:
        held = {key.lower() for key in container.metadata}
    lost = sorted(key for key in wanted if key.lower() not in held)
    return [f"metadata is left out: {plan.target.suffix} cannot hold {', '.join(lost)}"] if lost else []


def has_planned_times(plan: Plan, target: Path) -> bool:
    """Whether a file has every frame of the plan at its time (Matroska rounds to 1 ms)."""
    with av.open(f"file:{target.absolute()}") as container:
        stream = container.streams.video[0]
        shown = (packet for packet in _coded(container, stream) if not packet.is_discard)
        found = array("q", sorted(packet.pts for packet in shown if packet.pts is not None))
        assert stream.time_base is not None
        time_base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
    timeline = plan.timeline
    tolerance = Fraction(1, 1000) if plan.in_matroska else Fraction(1, 20000)
    return len(found) == len(timeline.pts) and all(
        abs(time * time_base - planned * timeline.time_base) <= tolerance
        for time, planned in zip(found, timeline.pts, strict=True)
    )
