"""A decoded picture's components, one plane each, as FFmpeg stores them."""

from __future__ import annotations

import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from torch import Tensor

from .color.spec import PixelFormat

_CHANNELS = {
    "rgb24": (3, "rgb"),
    "bgr24": (3, "bgr"),
    "rgba": (4, "rgb"),
    "rgb0": (4, "rgb"),
    "bgra": (4, "bgr"),
    "bgr0": (4, "bgr"),
    "argb": (4, "xrgb"),
    "0rgb": (4, "xrgb"),
    "abgr": (4, "xbgr"),
    "0bgr": (4, "xbgr"),
    "rgb48le": (3, "rgb"),
    "rgb48be": (3, "rgb"),
    "rgba64le": (4, "rgb"),
    "rgba64be": (4, "rgb"),
    "ya8": (2, "y"),
}


def component_planes(picture: VideoFrame, format: PixelFormat) -> tuple[Tensor, ...]:
    """Views of a decoded picture, one (rows, columns) tensor for each component in the order of Frame.planes.

    Nothing is copied where FFmpeg stores one component a plane; packed components are strided views.
    """
    name = picture.format.name
    shapes = format.plane_shapes(picture.width, picture.height)
    if name == "pal8":
        return _palette_planes(picture)
    if name in _CHANNELS:
        count, order = _CHANNELS[name]
        packed = _plane(picture.planes[0], picture.width * count, format, name).reshape(picture.height, -1, count)
        channels = "y" if format.model == "gray" else "rgb"
        return tuple(packed[:, :, order.index(channel)] for channel in channels)
    if name in ("yuyv422", "uyvy422"):
        columns = shapes[1][1] * 4
        packed = _plane(picture.planes[0], columns, format, name)
        luma = 0 if name == "yuyv422" else 1
        return packed[:, luma::2][:, : picture.width], packed[:, 1 - luma :: 4], packed[:, 3 - luma :: 4]
    if name.startswith(("nv", "p0")):
        chroma = _plane(picture.planes[1], shapes[1][1] * 2, format, name)
        first = 1 if name == "nv21" else 0
        planes = (
            _plane(picture.planes[0], picture.width, format, name),
            chroma[:, first::2],
            chroma[:, 1 - first :: 2],
        )
        # P010 and P012 keep their bits at the top of the 16.
        return tuple(_shifted_down(plane, format.depth) for plane in planes) if name[0] == "p" else planes
    stored_at = (2, 0, 1) if format.model == "rgb" else range(len(shapes))  # gbrp is stored G, B, R
    return tuple(
        _plane(picture.planes[stored], shape[1], format, name) for stored, shape in zip(stored_at, shapes, strict=False)
    )


def _plane(plane: VideoPlane, columns: int, format: PixelFormat, name: str) -> Tensor:
    """(rows, columns) uint8 or uint16 view of a plane without the padding at the end of its lines."""
    if name.endswith("be"):
        stored = np.frombuffer(plane, ">u2").reshape(-1, plane.line_size // 2)
        return torch.from_numpy(stored[: plane.height, :columns].astype(np.uint16))
    dtype = np.uint16 if format.depth > 8 else np.uint8
    stored = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // np.dtype(dtype).itemsize)
    return torch.from_numpy(stored[: plane.height, :columns])


def _shifted_down(plane: Tensor, depth: int) -> Tensor:
    return (plane.to(torch.int32) >> (16 - depth)).to(torch.uint16)


def _palette_planes(picture: VideoFrame) -> tuple[Tensor, ...]:
    indices = np.frombuffer(picture.planes[0], np.uint8).reshape(-1, picture.planes[0].line_size)
    # The palette is 256 native-endian words 0xAARRGGBB.
    words = np.frombuffer(picture.planes[1], np.uint32)[:256]
    shown = words[indices[: picture.height, : picture.width]]
    return tuple(torch.from_numpy(((shown >> shift) & 255).astype(np.uint8)) for shift in (16, 8, 0))
