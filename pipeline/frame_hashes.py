"""SHA-256 of every coded frame of a file: the same in a segment and, after the join, in the film."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import av.error

from hdrunet_video.presets import Preset

from .errors import PlanError
from .light_level_patch import patch_av1_packet, patch_hevc_packet

_PLACEHOLDER = (1, 1)
"""MaxCLL and MaxFALL of segments: the join writes the film's, which are taken out again here."""
_PATCHES: dict[str, Callable[[bytes, int, int], bytes]] = {"hevc": patch_hevc_packet, "av1": patch_av1_packet}


def frame_hashes(path: Path, preset: Preset) -> Iterator[str]:
    """Hashes in the order of the file: of the first video stream's packets, or of the files of a folder.

    Raises PlanError where the file cannot be read.
    """
    if path.is_dir():
        # A number may outgrow the digits that its name has for it.
        for part in sorted(path.iterdir(), key=lambda file: (len(file.name), file.name)):
            yield hashlib.sha256(part.read_bytes()).hexdigest()
        return
    patch = _PATCHES.get(preset.static_metadata) if preset.transfer == "pq" else None
    try:
        with av.open(f"file:{path.absolute()}") as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    yield hashlib.sha256(_without_levels(bytes(packet), patch)).hexdigest()
    except (av.error.FFmpegError, OSError, IndexError, ValueError) as error:
        raise PlanError(f"{path} cannot be read: {error}", "It is damaged, or is not a film.") from None


def _without_levels(packet: bytes, patch: Callable[[bytes, int, int], bytes] | None) -> bytes:
    if patch is None:
        return packet
    try:
        return patch(packet, *_PLACEHOLDER)
    except (IndexError, struct.error):
        return packet  # damaged: its hash is no good either way
