"""What a probe has found, as JSON: a task does not have to read the whole source again to know its frames."""

from __future__ import annotations

from array import array
from dataclasses import asdict, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..color.spec import ChromaLocation, ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from ..probe import StreamInfo, VideoInfo

_FRACTIONS = ("sample_aspect_ratio", "frame_rate", "time_base", "clock_start")


def video_as_json(info: VideoInfo) -> dict[str, Any]:
    """All facts but the path, which differs from machine to machine."""
    facts = {each.name: getattr(info, each.name) for each in fields(VideoInfo) if each.name != "path"}
    return {
        **facts,
        **{name: str(facts[name]) for name in _FRACTIONS},
        "format": asdict(info.format),
        "color": {name: int(value) for name, value in asdict(info.color).items()},
        "pts": list(info.pts),
        "positions": list(info.positions),
        "streams": [asdict(stream) for stream in info.streams],
    }


def video_from_json(facts: dict[str, Any], path: Path) -> VideoInfo:
    """The facts of `path`, as they were where it was probed."""
    color, format = facts["color"], facts["format"]
    return VideoInfo(
        **{
            **facts,
            **{name: Fraction(facts[name]) for name in _FRACTIONS},
            "path": path,
            "format": PixelFormat(**{**format, "chroma_shift": tuple(format["chroma_shift"])}),
            "color": ColorSpec(
                Matrix(color["matrix"]),
                Primaries(color["primaries"]),
                Transfer(color["transfer"]),
                Range(color["range"]),
                ChromaLocation(color["chroma_location"]),
            ),
            "pts": array("q", facts["pts"]),
            "display_matrix": tuple(facts["display_matrix"]),
            "positions": array("q", facts["positions"]),
            "doubts": tuple(facts["doubts"]),
            "streams": tuple(StreamInfo(**stream) for stream in facts["streams"]),
        }
    )
