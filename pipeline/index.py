"""The exact list of frame times, made from the packets themselves: headers and durations are guesses."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

INTERLACED = frozenset({2, 3, 4, 5})
"""AVFieldOrder TT, BB, TB, BT."""
_MOST_BACK = 1
"""Seconds that sound may go back in time by mistake, and be put right."""


@dataclass
class Index:
    """What the packets, or else the frames, of a file tell."""

    pts: array[int]
    end_pts: int = 0
    end_seconds: float = 0.0
    """When the last packet of any stream ends."""
    packets: int = 0
    exact: bool = True
    """False where packets do not tell which frames are shown, and when."""
    untimed: bool = False
    """True where the times of packets are missing, or FFmpeg has made them up."""
    positions: array[int] = field(default_factory=lambda: array("q"))
    """Where in the file each frame lies, for those that are not found by their times; else empty."""
    counted: bool = False
    """True where frames are found by counting them from the first."""
    synthetic: bool = False
    """True where the file has no times at all: those of frames are their numbers."""
    doubt: str = ""
    """Empty, or a sentence on times that are not in the file and were assumed."""
    sound_goes_back: bool = False
    """True where a sound's times go back by more than a second."""
    corrupt: int = 0
    """Packets that could not be read or decoded."""


def index_packets(container: InputContainer, stream: VideoStream) -> Index:
    """Look at every packet once; nothing is decoded."""
    index = Index(array("q"))
    # VP8 stores frames that are never shown, and a transport stream may carry each field as its own packet.
    fields = stream.codec_context.field_order in INTERLACED and "mov" not in container.format.name
    index.exact = stream.codec_context.name != "vp8" and not fields
    # AVI says when a packet is due, not when its picture is shown: FFmpeg counts H.264 in coding order.
    decoding_order = "avi" in container.format.name
    heard: dict[int, int] = {}
    for packet in _demuxed(container, index):
        when = packet.pts if packet.pts is not None else packet.dts
        if packet.dts is not None and packet.stream.type == "audio":
            back = heard.get(packet.stream.index, packet.dts) - packet.dts
            index.sound_goes_back |= back > 0 and back * packet.time_base > _MOST_BACK
            heard[packet.stream.index] = packet.dts
        if when is not None and packet.time_base:
            end = float((when + (packet.duration or 0)) * packet.time_base)
            index.end_seconds = max(index.end_seconds, end)
        if packet.stream.index != stream.index:
            continue
        index.packets += 1
        index.corrupt += packet.is_corrupt
        if packet.pts is None or (decoding_order and packet.pts != packet.dts):
            index.exact, index.untimed = False, True
        elif not packet.is_discard:
            index.pts.append(packet.pts)
            index.end_pts = max(index.end_pts, packet.pts + (packet.duration or 0))
    index.pts = array("q", sorted(index.pts))
    if len(set(index.pts)) != len(index.pts) or not index.pts:
        index.exact = False
    return index


def _demuxed(container: InputContainer, index: Index) -> Iterator[Packet[Stream]]:
    """All packets that can be read; where the container breaks off, that is counted as one corrupt packet."""
    try:
        yield from (packet for packet in container.demux() if packet.size)
    except av.error.FFmpegError:
        index.corrupt += 1


def index_frames(container: InputContainer, stream: VideoStream, packets: Index) -> Index:
    """The index of streams whose packets do not tell it: decode everything and look at the frames."""
    index, by_packet = replace(packets, pts=array("q")), packets.untimed
    times = _times_by_packet(container, stream, index) if by_packet else [*_decoded(container.demux(stream), index)]
    known = [(number, time) for number, time in enumerate(times) if time is not None]
    ascending = all(before < after for (_, before), (_, after) in pairwise(known))
    found = bool(index.positions) if by_packet else len(known) == len(times)
    index.counted = not (known and ascending and found)
    if index.counted:
        index.positions = array("q")
    if not ascending:
        index.doubt = "times: those in the file do not ascend, counted from the first by the frame rate"
        known, index.end_pts = known[:1], 0
    elif len(known) < len(times) and (known or stream.start_time is not None):
        missing = len(times) - len(known)
        index.doubt = f"times: {missing} of {len(times)} frames have none, assumed from the frames around them"
        known = known or [(0, stream.start_time or 0)]
    index.synthetic = not known
    index.pts = _filled(known, len(times), Fraction(1) if index.synthetic else _frame_ticks(stream))
    return index


def _frame_ticks(stream: VideoStream) -> Fraction:
    """How long a frame is shown, in ticks of the time base."""
    # Where times are missing, FFmpeg guesses a rate from those that are there.
    rate, base = stream.average_rate or stream.guessed_rate, stream.time_base
    return (
        Fraction(base.denominator * rate.denominator, base.numerator * rate.numerator) if rate and base else Fraction(1)
    )


def _filled(known: Sequence[tuple[int, int]], count: int, step: Fraction) -> array[int]:
    """Times of `count` frames: the (number, time) that are known, and evenly spaced ones in between and around."""
    (first, start), (last, end) = (known[0], known[-1]) if known else ((0, 0), (0, 0))
    if first < last:
        step = Fraction(end - start, last - first)
    times = array("q", (start - round((first - number) * step) for number in range(first)))
    for (number, time), (following, until) in pairwise(known):
        gap = Fraction(until - time, following - number)
        times.extend(time + round(skipped * gap) for skipped in range(following - number))
    times.extend(end + round(beyond * step) for beyond in range(count - last))
    return times


def _times_by_packet(container: InputContainer, stream: VideoStream, index: Index) -> Sequence[int | None]:
    """When each frame is shown, from the packet that it was decoded from; `index` is told where that lies."""
    seen: list[tuple[int | None, int | None, int | None]] = []

    def numbered() -> Iterator[Packet[VideoStream]]:
        for packet in container.demux(stream):
            seen.append((packet.pts, packet.dts, packet.pos))
            packet.pts = len(seen) - 1  # decoders hand it on to the picture
            yield packet

    shown = [number for number in _decoded(numbered(), index) if number is not None]
    positions = [position for position in (seen[number][2] for number in shown) if position is not None]
    if len(set(positions)) == len(shown):
        index.positions = array("q", positions)
    if "avi" in container.format.name:
        # The slot of a packet is a frame's time; a frame that was dropped leaves its slot empty.
        index.end_pts = 0
        return sorted(slot for slot in (seen[number][1] for number in shown) if slot is not None)
    return [seen[number][0] for number in shown]


def _decoded(packets: Iterator[Packet[VideoStream]], index: Index) -> Iterator[int | None]:
    """Times of all frames that can be decoded, in the order in which they are shown."""
    try:
        for packet in packets:
            try:
                yield from (frame.pts for frame in packet.decode())
            except av.error.FFmpegError:
                index.corrupt += 1
    except av.error.FFmpegError:
        index.corrupt += 1
