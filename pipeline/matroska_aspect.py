"""The sample aspect ratio of a finished Matroska file (RFC 9559, DisplayWidth and DisplayHeight).

PyAV has no way to give a copied stream's ratio to this muxer. So the file is written with a placeholder behind the
video track's name, and the track's header is then rebuilt in its place with the ratio in the placeholder's room.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

PLACEHOLDER = " (aspect ratio goes here)"
"""To be appended to the video stream's title before the header is written."""

_SEGMENT, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_NAME, _CRC, _VOID = 0x536E, 0xBF, 0xEC
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_HEADER_BYTES = 1 << 16


def write_aspect(path: Path, width: int, height: int, ratio: Fraction) -> None:
    """Put `ratio` into the header of a file whose video track, `width` x `height`, has a name with PLACEHOLDER."""
    with path.open("r+b") as file:
        start = bytearray(file.read(_HEADER_BYTES))
        (segment,) = (at for name, at, _ in _elements(start, 0, len(start)) if name == _SEGMENT)
        at, end = next(found[1:] for found in _elements(start, segment, len(start)) if found[0] == _TRACKS)
        tracks = _rebuilt_tracks(bytes(start[at:end]), _display_size(width, height, ratio))
        assert len(tracks) == end - at, "the placeholder gives exactly the room that is needed"
        file.seek(at)
        file.write(tracks)


def _display_size(width: int, height: int, ratio: Fraction) -> tuple[int, int]:
    """Display width and height with exactly this ratio where they fit, else the nearest width."""
    exact = width * ratio
    if exact.numerator < 1 << 20 and height * exact.denominator < 1 << 20:
        return exact.numerator, height * exact.denominator
    return max(1, round(exact)), height


def _rebuilt_tracks(tracks: bytes, display: tuple[int, int]) -> bytes:
    rebuilt, start, checksum = bytearray(), 0, False
    for name, at, end in _elements(tracks, 0, len(tracks)):
        header, content = tracks[start:at], tracks[at:end]
        start = end
        if name == _CRC:
            checksum = True
            continue
        if name == _TRACK and PLACEHOLDER.encode() in content:
            content = _rebuilt_track(content, display)
        rebuilt += header + content
    if not checksum:
        return bytes(rebuilt)
    return bytes([_CRC, 0x84]) + zlib.crc32(rebuilt).to_bytes(4, "little") + bytes(rebuilt)


def _rebuilt_track(track: bytes, display: tuple[int, int]) -> bytes:
    """The track with its own name again, the display size in its video header, and as long as before."""
    rebuilt = bytearray()
    for name, at, end in _elements(track, 0, len(track)):
        content = track[at:end]
        if name == _NAME:
            content = content.replace(PLACEHOLDER.encode(), b"")
            if not content:
                continue
        if name == _VIDEO:
            kept = [found for found in _elements(content, 0, len(content)) if found[0] not in _DISPLAY]
            content = b"".join(_element(each, content[first:last]) for each, first, last in kept)
            content += _element(_DISPLAY_WIDTH, display[0].to_bytes(3, "big"))
            content += _element(_DISPLAY_HEIGHT, display[1].to_bytes(3, "big"))
        rebuilt += _element(name, content)
    left = len(track) - len(rebuilt)
    return bytes(rebuilt) + bytes([_VOID, 0x80 | left - 2]) + bytes(left - 2)


_DISPLAY = (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)


def _elements(data: bytes | bytearray, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """(id, start of the content, its end) of each element; the last may reach beyond `stop`."""
    while at + 2 <= stop:
        length = 9 - data[at].bit_length()
        name = int.from_bytes(data[at : at + length], "big")
        at += length
        length = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + length], "big") & ~(1 << 7 * length)
        at += length
        yield name, at, at + size
        at += size


def _element(name: int, content: bytes) -> bytes:
    identifier = name.to_bytes((name.bit_length() + 7) // 8, "big")
    length = 1
    while len(content) >= (1 << 7 * length) - 1:
        length += 1
    return identifier + (len(content) | 1 << 7 * length).to_bytes(length, "big") + content
