"""Folders of real SDR clips, whose HDR nobody knows: how steady models are on them, along the clips' own motion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...color.convert import to_signal
from ...errors import InputError
from ...metrics.flow import flicker_along, motions
from ...probe import probe
from ...reader import Reader
from ...source_color import check_is_sdr, source_color
from .layouts import scene_of
from .measure import Measure, Row
from .models import Model

EXTENSIONS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".ts", ".mxf", ".mpg", ".ogv", ".flv")
FRAMES = 24
"""Of the middle of a clip."""
WIDTH, HEIGHT = 960, 540
"""Of the middle of a frame, at most: a network takes seconds for a large frame on a CPU."""
LEAST = 32
"""Side of the smallest frame: OpenCV's flow reads beyond smaller ones."""

MEASURES = (
    Measure("flow_added", "added along motion", "codes", 3, "low"),
    Measure("flow_p99", "added, 99 %", "codes", 2, "low"),
    Measure("flow_ratio", "flicker along motion", "of source", 2, "low"),
    Measure("detail", "detail", "of source", 2, "high"),
    Measure("pumping", "added pumping", "codes", 3, "low"),
)


@dataclass(frozen=True)
class Clip:
    """A video file that has not been read yet."""

    path: Path
    name: str
    scene: str

    def load(self) -> list[Tensor]:
        """Frames of its middle, signals (3, h, w), float32, 0..1. Raises InputError."""
        info = probe(self.path)
        check_is_sdr(info, assume_sdr=False)
        color, _ = source_color(info, "", "", "", "")
        count = min(FRAMES, len(info.pts))
        if count < 3:
            raise InputError(f"{self.path} has {count} frames, and flicker needs three", "Take it out of the folder.")
        if min(info.width, info.height) < LEAST:
            size = f"{info.width}x{info.height}"
            raise InputError(f"{self.path} is {size}, too small for optical flow", "Take it out of the folder.")
        start = (len(info.pts) - count) // 2
        top, left = max(info.height - HEIGHT, 0) // 2, max(info.width - WIDTH, 0) // 2
        deinterlace = "frame" if info.interlaced else "off"
        with Reader(info, color, start, start + count, deinterlace) as frames:
            return [to_signal(frame)[0, :, top : top + HEIGHT, left : left + WIDTH].contiguous() for frame in frames]


def clip_items(folder: Path) -> list[Clip]:
    """The video files of a folder, by name. Raises InputError."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of clips", "Name a folder that holds SDR video.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    if not paths:
        raise InputError(f"{folder} has no clips", f"It needs files that end in {', '.join(EXTENSIONS)}.")
    return [Clip(path, path.name, scene_of(path.stem)) for path in paths]


@torch.inference_mode()
def measure_clips(clips: Sequence[Clip], models: Sequence[Model]) -> Iterator[Row]:
    """A row of MEASURES for each clip and model. Raises InputError, and ModuleNotFoundError without OpenCV."""
    for clip in clips:
        frames = clip.load()
        back = motions(frames)
        for model in models:
            found = flicker_along(model, frames, back)
            values = {"flow_added": found.added, "flow_p99": found.added_p99, "flow_ratio": found.ratio}
            yield Row(model.label, clip.name, clip.scene, values | {"detail": found.detail, "pumping": found.pumping})
