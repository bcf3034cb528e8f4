"""What a preset's TOML may hold, and what of it goes together."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from hdrunet_video.color.spec import Transfer
from hdrunet_video.errors import PresetError

MUXERS = {".mov": "mov", ".mp4": "mp4", ".mkv": "matroska"}
"""FFmpeg's muxer of a film with this extension."""
TRANSFERS = {"pq": Transfer.PQ, "hlg": Transfer.HLG, "linear": Transfer.LINEAR}
_TOP = {"name": str, "description": str, "extensions": list}
_TABLES: dict[str, dict[str, type]] = {
    "video": {
        **dict.fromkeys(("codec", "pixel_format", "codec_tag", "static_metadata"), str),
        "bits_per_pixel": float,
        "options": dict,
    },
    "color": {"transfer": str, "dither": bool},
    "segment": {"container": str, "frames": int},
}
_ALLOWED: dict[str, tuple[str, ...]] = {
    "color.transfer": tuple(TRANSFERS),
    "video.static_metadata": ("container", "hevc", "av1"),
    "segment.container": ("mov", "mp4", "matroska", "exr"),
    "video.pixel_format": (
        *(f"yuv{chroma}p{depth}le" for chroma in ("420", "422", "444") for depth in (10, 12)),
        *("p010le", "yuv444p16le", "gbrp10le", "gbrp12le", "gbrp16le", "rgb48be", "gbrpf32le"),
    ),
}
_METADATA_ENCODERS = {"hevc": "libx265", "av1": "libsvtav1"}
"""Who writes static metadata where the join finds it again."""
_REQUIRED = (
    *("name", "description", "extensions", "video.codec", "video.pixel_format", "color.transfer"),
    *("segment.container", "segment.frames"),
)
_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number like 3.5",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def check(document: Mapping[str, Any], source: str) -> None:
    """Raise PresetError, which names the key of `source` and what is allowed."""
    known = {
        **_TOP,
        **{f"{table}.{key}": kind for table, keys in _TABLES.items() for key, kind in keys.items()},
    }
    flat = _flatten(document, source)
    for key, value in flat.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(known)}."
            raise PresetError(f"{source}: unknown key {key!r}", hint)
        kind = known[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise PresetError(f"{source}: {key} must be {_KINDS[kind]}, not {value!r}", "")
        if key in _ALLOWED and value not in _ALLOWED[key]:
            raise PresetError(f"{source}: {key} cannot be {value!r}", f"Allowed: {', '.join(_ALLOWED[key])}.")
    for key in _REQUIRED:
        if key not in flat:
            raise PresetError(f"{source}: {key} is missing", "Copy a bundled preset: --show-preset hdr10 > mine.toml")
    if not 1 <= flat["segment.frames"] <= 1_000_000:
        raise PresetError(f"{source}: segment.frames must be from 1 to 1000000", "")
    _check_fits(flat, source)


def _check_fits(flat: Mapping[str, Any], source: str) -> None:
    linear, codec = flat["color.transfer"] == "linear", flat["video.codec"]
    others = (flat["video.pixel_format"] == "gbrpf32le", codec == "exr", flat["segment.container"] == "exr")
    if any(other != linear for other in others):
        raise PresetError(
            f"{source}: transfer 'linear', pixel format 'gbrpf32le', codec 'exr' and container 'exr' only go together",
            "Take the preset exr for linear light, or the transfers pq and hlg.",
        )
    extensions, known = flat["extensions"], (".exr",) if linear else tuple(MUXERS)
    if not extensions or any(each not in known for each in extensions):
        raise PresetError(f"{source}: extensions must be of {', '.join(known)}, not {extensions!r}", "")
    place = flat.get("video.static_metadata", "container")
    if codec != (encoder := _METADATA_ENCODERS.get(place, codec)):
        raise PresetError(
            f"{source}: static_metadata {place!r} needs the encoder {encoder}, not {codec}",
            "Give 'container': light levels are there in any case.",
        )


def _flatten(document: Mapping[str, Any], source: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if key not in _TABLES:
            flat[key] = value
        elif not isinstance(value, dict):
            raise PresetError(f"{source}: [{key}] must be a table", "")
        else:
            flat |= {f"{key}.{inner}": each for inner, each in value.items()}
    return flat
