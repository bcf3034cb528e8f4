"""Chroma planes at the size of luma and back, with every sample where the format says that it lies.

Sources: Rec. ITU-T H.273 (chroma_sample_loc_type), Rec. ITU-R BT.2020 table 5 and BT.2100 table 6 (4:2:0
co-sited both ways). Edges are replicated. All is linear, so coded and signal values serve alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .spec import ChromaLocation

_BETWEEN_COLUMNS = (ChromaLocation.CENTER, ChromaLocation.TOP, ChromaLocation.BOTTOM)
_ON_TOP_ROW = (ChromaLocation.TOP_LEFT, ChromaLocation.TOP)
_ON_BOTTOM_ROW = (ChromaLocation.BOTTOM_LEFT, ChromaLocation.BOTTOM)


def upsample_chroma(chroma: Tensor, size: tuple[int, int], shift: tuple[int, int], location: ChromaLocation) -> Tensor:
    """Chroma at every luma sample, by cubic (Catmull-Rom) interpolation at the phases of `location`.

    chroma: (N, h, w), float32. size: (H, W) of luma. shift: log2 of the (horizontal, vertical) subsampling,
    the order of PixelFormat. Returns (N, H, W), float32; next to an edge it may overshoot the
    range of `chroma`.
    """
    across, down = phases(shift, location)
    # Columns first: there are fewer of them to do before the rows are doubled.
    chroma = _upsample_axis(chroma, -1, size[1], 1 << shift[0], across)
    return _upsample_axis(chroma, -2, size[0], 1 << shift[1], down)


def downsample_chroma(chroma: Tensor, shift: tuple[int, int]) -> Tensor:
    """Chroma at the even columns (4:2:2) or the even columns and rows (4:2:0 top-left) of luma.

    chroma: (N, H, W), float32. shift: log2 of the (horizontal, vertical) subsampling, 0 or 1 each. Returns
    (N, h, w), float32, odd sizes rounded up. The filter is the half-band (-1 0 9 16 9 0 -1) / 32.
    """
    if max(shift) > 1:
        raise ValueError(f"chroma cannot be made {1 << max(shift)} times smaller")
    if shift[1]:
        chroma = _halve_axis(chroma, -2)
    if shift[0]:
        chroma = _halve_axis(chroma, -1)
    return chroma


def phases(shift: tuple[int, int], location: ChromaLocation) -> tuple[float, float]:
    """Column and row of luma where the first chroma sample lies, counted from 0: (0, 0.5) for 4:2:0 left."""
    columns, rows = (1 << shift[0]) - 1, (1 << shift[1]) - 1
    across = columns / 2 if location in _BETWEEN_COLUMNS else 0.0
    if location in _ON_TOP_ROW:
        return across, 0.0
    return across, float(rows) if location in _ON_BOTTOM_ROW else rows / 2


def _upsample_axis(chroma: Tensor, axis: int, size: int, factor: int, phase: float) -> Tensor:
    if factor == 1:
        return chroma
    shape = list(chroma.shape)
    shape[axis] = size
    result = chroma.new_empty(shape)
    padded = _replicate(chroma, axis, 2)
    for first in range(min(factor, size)):
        target = _every(result, axis, first, factor)
        count = target.shape[axis]
        whole, part = divmod(first - phase, factor)
        target.zero_()
        for tap, weight in enumerate(_cubic(part / factor)):
            if weight:
                target.add_(padded.narrow(axis, int(whole) + 1 + tap, count), alpha=weight)
    return result


def _cubic(part: float) -> tuple[float, float, float, float]:
    """Catmull-Rom weights of the samples at -1, 0, 1 and 2 for a value at `part` (0..1)."""
    return (
        ((2 - part) * part - 1) * part / 2,
        ((3 * part - 5) * part * part + 2) / 2,
        ((4 - 3 * part) * part + 1) * part / 2,
        (part - 1) * part * part / 2,
    )


def _halve_axis(chroma: Tensor, axis: int) -> Tensor:
    count = (chroma.shape[axis] + 1) // 2
    padded = _replicate(chroma, axis, 3)
    taps = [_every(padded, axis, first, 2).narrow(axis, 0, count) for first in (0, 2, 3, 4, 6)]
    result = taps[2] * (16 / 32)
    result.add_(taps[1], alpha=9 / 32).add_(taps[3], alpha=9 / 32)
    return result.add_(taps[0], alpha=-1 / 32).add_(taps[4], alpha=-1 / 32)


def _every(planes: Tensor, axis: int, first: int, step: int) -> Tensor:
    """View of every `step`-th column (axis -1) or row (axis -2) from `first` on."""
    return planes[..., first::step] if axis == -1 else planes[..., first::step, :]


def _replicate(planes: Tensor, axis: int, count: int) -> Tensor:
    """`planes` with the first and the last sample of an axis repeated `count` times."""
    shape = list(planes.shape)
    shape[axis] = count
    first = planes.narrow(axis, 0, 1).expand(shape)
    last = planes.narrow(axis, -1, 1).expand(shape)
    return torch.cat((first, planes, last), dim=axis)
