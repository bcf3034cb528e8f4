"""Whether a file ends before its container says it does: half a download, or a recording that was broken off.

Demuxers read a cut file to its end and say nothing, so the sizes that its outermost boxes declare are compared with
the file's own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from .index import Index

_EBML, _MATROSKA_SEGMENT = 0x1A45DFA3, 0x18538067


def damage(path: Path, container: InputContainer, stream: VideoStream, index: Index) -> str:
    """Signs that the file is not whole. Decoders conceal a cut file, so the container is asked instead."""
    if missing := missing_bytes(path, container.format.name):
        return f"{missing} bytes are missing at its end"
    if index.corrupt:
        return f"{index.corrupt} of its packets are corrupt"
    if "mov" in container.format.name and stream.frames > index.packets:
        return f"its header promises {stream.frames} frames but only {index.packets} are there"
    declared = container.duration / av.time_base if container.duration else 0.0
    # Matroska's counts from zero, others' from their first packet.
    start = 0.0 if "matroska" in container.format.name else (container.start_time or 0) / av.time_base
    # Only containers that store the duration can show a cut; others estimate it from what is there.
    stored = any(name in container.format.name for name in ("mov", "matroska", "avi"))
    if stored and declared and index.end_seconds < start + declared - max(0.5, 0.01 * declared):
        return f"its header promises {declared:.1f} s but the data ends at {index.end_seconds - start:.1f} s"
    return ""


def missing_bytes(path: Path, demuxer: str) -> int:
    """How many bytes the container declares beyond the end of the file; 0 where it is whole or does not say."""
    ends: dict[str, Callable[[BinaryIO, int], int]] = {"mov": _mov_end, "matroska": _matroska_end, "avi": _avi_end}
    for name, declared_end in ends.items():
        if name in demuxer:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                return max(0, declared_end(file, size) - size)
    return 0


def _mov_end(file: BinaryIO, length: int) -> int:
    """ISO/IEC 14496-12, 4.2: boxes of a 32-bit size and a type; size 1 means a 64-bit one, 0 up to the end."""
    position = 0
    while position < length:
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            break
        size, kind = struct.unpack(">I4s", header[:8])
        if size == 1 and len(header) == 16:
            (size,) = struct.unpack(">Q", header[8:])
        # Cameras append what is no box at all: only those that hold the film are believed.
        if size < 8 or kind not in (b"ftyp", b"mdat", b"moov", b"moof", b"free", b"skip", b"wide", b"sidx", b"styp"):
            break
        position += size
    return position


def _matroska_end(file: BinaryIO, length: int) -> int:
    """RFC 8794, sections 5 and 6: the EBML header, then the Segment; a size of all ones is not known yet."""
    position = 0
    for expected in (_EBML, _MATROSKA_SEGMENT):
        if position > length:
            break
        file.seek(position)
        kind, first = int.from_bytes(file.read(4)), file.read(1)
        if kind != expected or not first or not first[0]:
            return 0
        more = 8 - first[0].bit_length()
        unknown = (1 << 7 * (more + 1)) - 1
        size = int.from_bytes(first + file.read(more)) & unknown
        if size == unknown:
            return 0
        position = file.tell() + size
    return position


def _avi_end(file: BinaryIO, length: int) -> int:
    """RIFF chunks, one after the other since OpenDML; a size of 0 was never filled in."""
    position = 0
    while position < length:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8 or header[:4] != b"RIFF":
            break
        size = int.from_bytes(header[4:], "little")
        if not size:
            break
        position += 8 + size
    return position
