"""Where the picture is inside its black bars: MaxFALL is the mean over the active picture (CTA-861.3 annex P)."""

from __future__ import annotations

import av.error
import torch
from torch import Tensor

from .color.spec import ColorSpec, Range
from .media import open_media, video_stream
from .picture import component_planes
from .probe import VideoInfo

Rectangle = tuple[int, int, int, int]
"""(top, bottom, left, right), half-open, in rows and columns."""

_SAMPLES = 12
_BLACK_TOLERANCE = 4


def active_picture(info: VideoInfo, color: ColorSpec, start: int, stop: int) -> Rectangle:
    """The rectangle inside letterbox or pillarbox bars, from key frames spread over frames `start` to `stop`.

    Bars count only where they are on two opposite sides, equally wide, and leave at least half of the picture: a
    dark scene is not a bar. One rectangle holds for the whole film.
    """
    top, bottom, left, right = info.height, 0, info.width, 0
    black = _BLACK_TOLERANCE + (16 if color.range is Range.LIMITED and info.format.model != "rgb" else 0)
    for plane in _sampled_luma(info, start, stop):
        lit = plane > (black << (info.format.depth - 8))
        rows, columns = lit.any(1).nonzero(), lit.any(0).nonzero()
        if len(rows):
            top, bottom = min(top, int(rows[0])), max(bottom, int(rows[-1]) + 1)
            left, right = min(left, int(columns[0])), max(right, int(columns[-1]) + 1)
    letterbox = _are_bars(top, info.height - bottom, info.height)
    pillarbox = _are_bars(left, info.width - right, info.width)
    if letterbox and not left and right == info.width:
        return top, bottom, 0, info.width
    if pillarbox and not top and bottom == info.height:
        return 0, info.height, left, right
    return 0, info.height, 0, info.width


def _are_bars(before: int, after: int, size: int) -> bool:
    return before > 0 and after > 0 and abs(before - after) <= 4 and before + after <= size // 2


def _sampled_luma(info: VideoInfo, start: int, stop: int) -> list[Tensor]:
    planes = []
    with open_media(info.path) as container:
        stream = video_stream(container, info.path)
        for number in range(_SAMPLES if info.seekable else 1):
            try:
                if info.seekable:
                    target = info.pts[start + (stop - start) * number // _SAMPLES]
                    container.seek(target, stream=stream, backward=True)
                frame = next(container.decode(stream))
            except (av.error.FFmpegError, StopIteration):
                continue
            if frame.format.name == info.format.name:
                planes.append(_brightness(component_planes(frame, info.format), info.format.model))
    return planes


def _brightness(planes: tuple[Tensor, ...], model: str) -> Tensor:
    return torch.stack(planes).int().amax(0) if model == "rgb" else planes[0].int()
