"""What a plan will do, in words and as JSON: `--dry-run`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from hdrunet_video.presets.schema import MUXERS

from .color.spec import PixelFormat
from .engine import Engine
from .engines import make_engine
from .frame import Frame
from .job import Plan
from .media import open_media
from .remux import held_streams
from .segments import SegmentStore

_TRIAL = (640, 360)


def describe(plan: Plan) -> str:
    """A few lines for a person. Loads the engine and computes a small picture, to say how long it will take."""
    given = facts(plan)
    info, light = plan.info, given["light"]
    decoder = f", decoded by {plan.job.decoder}" if plan.job.decoder != "software" else ""
    strength = f", strength {light['strength']:g}" if light["strength"] != 1.0 else ""
    by = " by OpenVINO" if given["backend"] == "openvino" else ""
    rows = [
        (
            str(info.path),
            f"{given['width']}x{given['height']}, {given['frame_rate']:.6g} fps, {given['frames']} frames",
        ),
        ("", f"{info.codec} {info.format.name}, {_tags(plan)}{decoder}"),
        *(("  assumed", line) for line in plan.assumptions),
        *_other_streams(plan),
        ("preset", f"{plan.preset.name}: {plan.preset.description}"),
        (
            "light",
            f"white {light['white']:g} cd/m2, peak {light['peak']:g} cd/m2, gamma {light['display_gamma']:g}{strength}",
        ),
        ("engine", f"{plan.job.model}, {given['precision']} on {given['device']}{by}, {given['tile']}"),
        ("segments", f"{given['segments']} in {plan.work}, {given['segments_found']} found there"),
        (str(plan.target), f"would be written: {_duration(given['seconds'])} of film{_size(given)}"),
        ("", f"in about {_duration(given['estimated_seconds'])} on this machine"),
    ]
    if plan.deinterlace != "off":
        rows.insert(2, ("", f"interlaced: one frame for each {plan.deinterlace}, by bwdif"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in rows)


def _other_streams(plan: Plan) -> Iterator[tuple[str, str]]:
    """What is carried over beside the picture, and what is not, as the join will find."""
    if plan.is_sequence:
        return
    streams = {each.index: each for each in plan.info.streams}
    with open_media(plan.info.path) as source:
        held, left_out = held_streams(plan, source, MUXERS[plan.target.suffix.lower()])
        carried = [streams[stream.index] for stream in held]
    yield from (("  carried", f"{each.type} {each.codec} {each.language}".rstrip()) for each in carried)
    yield from (("", sentence) for sentence in left_out)


def facts(plan: Plan) -> dict[str, Any]:
    """The same for programs: numbers in pixels, frames, seconds, cd/m2 and bytes."""
    engine = make_engine(plan)
    info, store = plan.info, SegmentStore(plan)
    frames = len(plan.timeline.pts)
    bits = plan.preset.bits_per_pixel
    tile = engine.tiling.of(info.width, info.height)
    return {
        "input": str(info.path),
        "output": str(plan.target),
        "width": info.width,
        "height": info.height,
        "frames": frames,
        "frame_rate": float(plan.timeline.frame_rate),
        "seconds": round(plan.timeline.seconds, 3),
        "codec": info.codec,
        "pixel_format": info.format.name,
        "matrix": plan.color.matrix.name,
        "primaries": plan.color.primaries.name,
        "range": plan.color.range.name,
        "assumptions": list(plan.assumptions),
        "deinterlace": plan.deinterlace,
        "decoder": plan.job.decoder,
        "preset": plan.preset.name,
        "light": {key: getattr(plan.mapping, key) for key in ("white", "peak", "display_gamma", "strength")},
        "device": str(engine.device),
        "precision": engine.precision,
        "backend": engine.backend,
        "tile": "whole frame" if tile is None else f"tiles of {tile[0]}x{tile[1]}",
        "segments": len(plan.segments),
        "segments_found": sum(store.path(segment).exists() for segment in plan.segments),
        "estimated_seconds": round(frames * seconds_per_frame(engine, plan), 1),
        "estimated_bytes": None if not bits else round(bits / 8 * info.width * info.height * frames),
    }


def seconds_per_frame(engine: Engine, plan: Plan) -> float:
    """Time of a small picture on this engine, scaled to the plan's size; the network's time is linear in pixels."""
    width, height = min(_TRIAL[0], plan.info.width), min(_TRIAL[1], plan.info.height)
    picture = torch.full((height, width), 128, dtype=torch.uint8)
    frame = Frame((picture,) * 3, PixelFormat("yuv444p", "yuv", 8), plan.color)
    engine(frame)
    started = time.perf_counter()
    engine(frame)
    return (time.perf_counter() - started) * plan.info.width * plan.info.height / (width * height)


def _tags(plan: Plan) -> str:
    color = plan.color
    return f"{color.matrix.name}, {color.range.name.lower()} range"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _size(given: dict[str, Any]) -> str:
    size = given["estimated_bytes"]
    if size is None:
        return ""
    unit, scale = next(
        pair for pair in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1.0)) if size >= pair[1] or pair[1] == 1.0
    )
    return f", roughly {size / scale:.3g} {unit}"
