"""The Triton kernel that makes a signal of coded planes, as convert.to_signal; launched by `cuda`."""
# A kernel is written in Triton's language, which has no types for Python's checkers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"

from __future__ import annotations

import triton
import triton.language as tl

from .cuda_curves import kernel, pixels


@kernel
def to_signal(
    first,
    second,
    third,
    signal,
    height,
    width,
    chroma_height,
    chroma_width,
    scale,
    offset,
    chroma_scale,
    chroma_offset,
    down,
    across,
    red,
    green_of_blue,
    green_of_red,
    blue,
    YUV: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """signal (3, height, width) of planes Y, Cb, Cr, or R, G, B, clipped to 0..1. down, across: the row and the column
    of luma where the first chroma sample lies, of which one stands for ROWS x COLUMNS. red, blue: of Cr and Cb what R
    and B have beside Y; green_of_red, green_of_blue: what G has of them."""
    pixel, row, column, inside = pixels(tl.program_id(0), height, width, BLOCK)
    plane = height.to(tl.int64) * width
    luma = (_component(first + pixel, inside, 0.0) - offset) / scale
    if YUV:
        rows, columns = _around(row, down, ROWS), _around(column, across, COLUMNS)
        near_blue = _upsampled(second, rows, columns, chroma_height, chroma_width, inside, ROWS, COLUMNS)
        near_red = _upsampled(third, rows, columns, chroma_height, chroma_width, inside, ROWS, COLUMNS)
        near_blue, near_red = (near_blue - chroma_offset) / chroma_scale, (near_red - chroma_offset) / chroma_scale
        channels = (
            luma + red * near_red,
            luma + green_of_blue * near_blue + green_of_red * near_red,
            luma + blue * near_blue,
        )
    else:
        others = _component(second + pixel, inside, 0.0), _component(third + pixel, inside, 0.0)
        channels = luma, (others[0] - offset) / scale, (others[1] - offset) / scale
    for channel in tl.static_range(3):
        clipped = tl.minimum(tl.maximum(channels[channel], 0.0), 1.0)
        tl.store(signal + channel * plane + pixel, clipped, mask=inside)


@triton.jit
def _component(places, inside, LOWEST: tl.constexpr):
    """Coded values in float32; what is no number is 0, and what is infinite 1 or LOWEST."""
    values = tl.load(places, mask=inside, other=0)
    if values.dtype.is_floating():
        values = values.to(tl.float32)
        values = tl.where(values == values, values, 0.0)
        values = tl.where(values == float("inf"), 1.0, values)
        values = tl.where(values == float("-inf"), LOWEST, values)
    return values.to(tl.float32)


@triton.jit
def _around(index, phase, FACTOR: tl.constexpr):
    """Of rows or columns of luma: the chroma sample before each, and how far behind it it lies (0..1)."""
    place = (index.to(tl.float32) - phase) / FACTOR
    before = tl.floor(place)
    return before.to(tl.int32), place - before


@triton.jit
def _upsampled(plane, rows, columns, height, width, inside, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Coded chroma at each pixel, by Catmull-Rom interpolation of the samples around it."""
    total = tl.zeros(inside.shape, tl.float32)
    # Of one row or column alone is the second weight 1.
    for i in tl.static_range(1 if ROWS == 1 else 0, 2 if ROWS == 1 else 4):
        start = plane + _sample(rows[0], i, height) * width
        along = tl.zeros(inside.shape, tl.float32)
        for j in tl.static_range(1 if COLUMNS == 1 else 0, 2 if COLUMNS == 1 else 4):
            along += _cubic(columns[1], j) * _component(start + _sample(columns[0], j, width), inside, -1.0)
        total += _cubic(rows[1], i) * along
    return total


@triton.jit
def _sample(before, TAP: tl.constexpr, count):
    """Index of the sample of a tap; edges are replicated."""
    return tl.minimum(tl.maximum(before + (TAP - 1), 0), count - 1)


@triton.jit
def _cubic(part, TAP: tl.constexpr):
    """Catmull-Rom weight of the samples at -1, 0, 1 and 2 for a value at `part` (0..1)."""
    if TAP == 0:
        weight = ((2 - part) * part - 1) * part / 2
    elif TAP == 1:
        weight = ((3 * part - 5) * part * part + 2) / 2
    elif TAP == 2:
        weight = ((4 - 3 * part) * part + 1) * part / 2
    else:
        weight = (part - 1) * part * part / 2
    return weight
