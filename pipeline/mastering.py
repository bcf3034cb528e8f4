"""HDR10 static metadata (SMPTE ST 2086, CTA-861.3) in containers: mdcv and clli boxes, handed on by a carrier.

PyAV has no setter for a stream's side data, but it reads the boxes and every muxer writes what was read. So the first
packet of a segment is muxed in memory, the boxes are put in, and the streams of the result are made from that file.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from .frame import LightLevels

# Display P3 in ST 2086's order green, blue, red, and D65; in units of 0.00002.
_PRIMARIES = ((13250, 34500), (7500, 3000), (34000, 16000), (15635, 16450))


@dataclass(frozen=True)
class StaticMetadata:
    """What a display is told about the whole film."""

    peak: float
    """Brightest luminance of the mastering display, cd/m2."""
    max_cll: int
    """Maximum content light level, cd/m2."""
    max_fall: int
    """Maximum frame-average light level, cd/m2."""

    def boxes(self) -> bytes:
        """The mdcv and clli boxes of ISO/IEC 23001-17 and CTA-861.3, big-endian."""
        display = b"".join(struct.pack(">HH", *point) for point in _PRIMARIES)
        display += struct.pack(">II", round(self.peak * 10000), 1)
        return _box(b"mdcv", display) + _box(b"clli", struct.pack(">HH", self.max_cll, self.max_fall))


def static_metadata(light: LightLevels, peak: float) -> StaticMetadata:
    """Measured levels in the whole cd/m2 of the standards: MaxCLL is rounded up, so that nothing lies above it."""
    max_cll = min(math.ceil(light.max_nits - 1e-3), 65535)
    return StaticMetadata(peak, max_cll, min(round(light.average_nits), 65535))


@contextmanager
def carrier(segment: Path, metadata: StaticMetadata | None) -> Iterator[VideoStream]:
    """A template stream like that of `segment`, with `metadata` as its side data."""
    with av.open(f"file:{segment.absolute()}") as source:
        if metadata is None:
            yield source.streams.video[0]
            return
        memory = _with_boxes(_first_packet(source), metadata.boxes())
    with av.open(io.BytesIO(memory)) as container:
        assert isinstance(container, InputContainer)
        yield container.streams.video[0]


def _first_packet(source: InputContainer) -> bytes:
    """A QuickTime or MP4 file in memory that holds one packet of `source`."""
    stream = source.streams.video[0]
    buffer = io.BytesIO()
    name = "mov" if stream.codec_context.name in ("prores", "png") else "mp4"
    with av.open(buffer, "w", format=name) as container:
        copy = container.add_stream_from_template(stream, opaque=True)
        if "matroska" not in source.format.name:
            copy.codec_context.codec_tag = stream.codec_context.codec_tag
        copy.time_base = stream.time_base
        packet = next(packet for packet in source.demux(stream) if packet.size)
        packet.stream = copy
        container.mux(packet)
    return buffer.getvalue()


def _box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), name) + payload


def _with_boxes(file: bytes, extra: bytes) -> bytes:
    """Insert boxes into the visual sample entry; every box around it grows. moov is last, so no offset moves."""
    found = bytearray(file)
    path = [_child(found, b"moov", 0, len(found))]
    for name in (b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        start, size = path[-1]
        path.append(_child(found, name, start + 8, start + size))
    entry = path[-1][0] + 16  # after the header, version and count of stsd
    entry_size = int.from_bytes(found[entry : entry + 4], "big")
    end = _end_of_children(found, entry + 86, entry + entry_size)
    found[end:end] = extra
    for start in (*(start for start, _ in path), entry):
        size = int.from_bytes(found[start : start + 4], "big")
        found[start : start + 4] = (size + len(extra)).to_bytes(4, "big")
    return bytes(found)


def _child(file: bytearray, name: bytes, start: int, stop: int) -> tuple[int, int]:
    while start + 8 <= stop:
        size = int.from_bytes(file[start : start + 4], "big")
        if file[start + 4 : start + 8] == name:
            return start, size
        start += max(size, 8)
    raise AssertionError(f"FFmpeg's muxer wrote no {name.decode()} box")


def _end_of_children(file: bytearray, start: int, stop: int) -> int:
    """Where the sample entry's boxes end: QuickTime may close them with four zero bytes."""
    while start + 8 <= stop:
        size = int.from_bytes(file[start : start + 4], "big")
        if size < 8:
            break
        start += size
    return start
