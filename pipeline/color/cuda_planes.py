"""The Triton kernels that make coded planes of a signal, as tone.to_nits and convert.to_planes; launched by `cuda`."""
# A kernel is written in Triton's language, which has no types for Python's checkers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"

from __future__ import annotations

import triton
import triton.language as tl

from .cuda_curves import (
    bt2390_eetf,
    display_light,
    hlg_oetf,
    hlg_scene,
    kernel,
    largest_of,
    pixels,
    pq_inverse_eotf,
    scaled,
)
from .dither import TILE_SIZE

_TILE = tl.constexpr(TILE_SIZE)


@kernel
def to_planes(
    signal,
    source,
    first,
    second,
    third,
    noise,
    parts,
    matrix,
    height,
    width,
    top,
    bottom,
    left,
    right,
    display_gamma,
    strength,
    peak,
    source_peak,
    high,
    goal,
    knee,
    white,
    red,
    blue,
    scale,
    offset,
    chroma_scale,
    chroma_offset,
    lowest,
    highest,
    TRANSFER: tl.constexpr,
    YUV: tl.constexpr,
    ROLL_OFF: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Planes of a signal (3, height, width), and what `finish` makes the report of.

    source: the signal of which the light has a share of 1 - strength. matrix: (3, 3), from linear R, G, B to nits of
    BT.2020. high, goal: PQ of source_peak and peak. TRANSFER: `pq`, `hlg` or `linear`. red, blue: Kr and Kb. second,
    third: float32 where they are for `finish` to halve. noise: (3, 64, 64). parts: (3, programs) float32: the largest
    max(R, G, B), their sum over the active picture (rows top to bottom, columns left to right), and 1 where the signal
    is finite, of each program.
    """
    program = tl.program_id(0)
    pixel, row, column, inside = pixels(program, height, width, BLOCK)
    plane = height.to(tl.int64) * width
    values = _three(signal + pixel, plane, inside)
    light = display_light(values, display_gamma)
    if source is not None:
        own = display_light(_three(source + pixel, plane, inside), display_gamma)
        light = (
            strength * light[0] + (1.0 - strength) * own[0],
            strength * light[1] + (1.0 - strength) * own[1],
            strength * light[2] + (1.0 - strength) * own[2],
        )
    nits = _row(matrix, light), _row(matrix + 3, light), _row(matrix + 6, light)
    # One gain for R, G and B keeps the hue; most blocks have no pixel that needs one.
    brightest = tl.maximum(largest_of(nits), 1e-6)
    gain = tl.full(brightest.shape, 1.0, tl.float32)
    if tl.max(brightest, 0) > knee:
        if ROLL_OFF:
            gain = bt2390_eetf(brightest, source_peak, high, goal) / brightest
        else:
            gain = tl.minimum(brightest, peak) / brightest
    nits = scaled(nits, gain)
    nits = tl.minimum(nits[0], peak), tl.minimum(nits[1], peak), tl.minimum(nits[2], peak)

    brightest = tl.where(inside, largest_of(nits), 0.0)
    active = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    finite = _is_finite(values[0]) & _is_finite(values[1]) & _is_finite(values[2])
    programs = tl.num_programs(0)
    tl.store(parts + program, tl.max(brightest, 0))
    tl.store(parts + programs + program, tl.sum(tl.where(active, brightest, 0.0), 0))
    tl.store(parts + 2 * programs + program, tl.min(tl.where(finite, 1.0, 0.0), 0))

    if first is not None:
        coded = _coded(nits, white, red, blue, TRANSFER, YUV)
        _store(first, pixel, coded[0], inside, scale, offset, lowest, highest, noise, row, column, 0)
        _store(second, pixel, coded[1], inside, chroma_scale, chroma_offset, lowest, highest, noise, row, column, 1)
        _store(third, pixel, coded[2], inside, chroma_scale, chroma_offset, lowest, highest, noise, row, column, 2)


@triton.jit
def _coded(nits, white, red, blue, TRANSFER: tl.constexpr, YUV: tl.constexpr):
    """Light as the components of planes, not quantised."""
    if TRANSFER == "linear":
        coded = nits[0] / white, nits[1] / white, nits[2] / white
    elif TRANSFER == "hlg":
        scene = hlg_scene(nits)
        coded = hlg_oetf(scene[0]), hlg_oetf(scene[1]), hlg_oetf(scene[2])
    else:
        coded = pq_inverse_eotf(nits[0]), pq_inverse_eotf(nits[1]), pq_inverse_eotf(nits[2])
    if YUV:
        luma = red * coded[0] + (1.0 - red - blue) * coded[1] + blue * coded[2]
        coded = luma, (coded[2] - luma) / (2.0 * (1.0 - blue)), (coded[0] - luma) / (2.0 * (1.0 - red))
    return coded


@triton.jit
def _three(places, plane, inside):
    """R, G and B; outside of the picture 0."""
    red = tl.load(places, mask=inside, other=0.0)
    green = tl.load(places + plane, mask=inside, other=0.0)
    return red, green, tl.load(places + 2 * plane, mask=inside, other=0.0)


@triton.jit
def _row(weights, light):
    """A row of a matrix times R, G, B; negative results as 0."""
    total = tl.load(weights) * light[0] + tl.load(weights + 1) * light[1] + tl.load(weights + 2) * light[2]
    return tl.maximum(total, 0.0)


@triton.jit
def _is_finite(values):
    return tl.abs(values) < float("inf")


@triton.jit
def _store(plane, place, values, inside, scale, offset, lowest, highest, noise, row, column, INDEX: tl.constexpr):
    """To a plane of floats, or as integers: rounded half up, after noise in codes is added."""
    kind: tl.constexpr = plane.dtype.element_ty
    if not kind.is_floating():
        values = values * scale + (offset + 0.5)
        if noise is not None:
            values += tl.load(noise + INDEX * _TILE * _TILE + row % _TILE * _TILE + column % _TILE)
        values = tl.minimum(tl.maximum(values, lowest), highest).to(tl.int32)
    tl.store(plane + place, values.to(kind), mask=inside)


@kernel
def finish(
    parts,
    report,
    programs,
    count,
    second,
    third,
    halved_second,
    halved_third,
    noise,
    height,
    width,
    scale,
    offset,
    lowest,
    highest,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """report (3,) float64 of the parts of `programs` programs: the largest max(R, G, B), its mean over `count` pixels,
    and 1 where the signal was finite. Then, in the programs after the first, chroma at every ROWS-th row and
    COLUMNS-th column, by the half-band filter (-1 0 9 16 9 0 -1) / 32. height, width: before that."""
    if tl.program_id(0) == 0:
        _report(parts, report, programs, count, BLOCK)
    elif second is not None:
        small_width = (width + (COLUMNS - 1)) // COLUMNS
        block = tl.program_id(0) - 1
        pixel, row, column, inside = pixels(block, (height + (ROWS - 1)) // ROWS, small_width, BLOCK)
        values = _halved(second, row, column, inside, height, width, ROWS, COLUMNS)
        _store(halved_second, pixel, values, inside, scale, offset, lowest, highest, noise, row, column, 1)
        values = _halved(third, row, column, inside, height, width, ROWS, COLUMNS)
        _store(halved_third, pixel, values, inside, scale, offset, lowest, highest, noise, row, column, 2)


@triton.jit
def _report(parts, report, programs, count, BLOCK: tl.constexpr):
    largest, total = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float64)
    finite = tl.full((BLOCK,), 1.0, tl.float32)
    for start in range(0, programs, BLOCK):
        part = start + tl.arange(0, BLOCK)
        there = part < programs
        largest = tl.maximum(largest, tl.load(parts + part, mask=there, other=0.0))
        total += tl.load(parts + programs + part, mask=there, other=0.0).to(tl.float64)
        finite = tl.minimum(finite, tl.load(parts + 2 * programs + part, mask=there, other=1.0))
    tl.store(report, tl.max(largest, 0).to(tl.float64))
    tl.store(report + 1, tl.sum(total, 0) / count.to(tl.float64))
    tl.store(report + 2, tl.min(finite, 0).to(tl.float64))


@triton.jit
def _halved(plane, row, column, inside, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    total = tl.zeros(inside.shape, tl.float32)
    for i in tl.static_range(1 if ROWS == 1 else 5):
        start = plane + _near(row, i, height, ROWS) * width
        along = tl.zeros(inside.shape, tl.float32)
        for j in tl.static_range(1 if COLUMNS == 1 else 5):
            near = tl.load(start + _near(column, j, width, COLUMNS), mask=inside, other=0.0)
            along += _half_band(j, COLUMNS) * near
        total += _half_band(i, ROWS) * along
    return total


@triton.jit
def _near(index, TAP: tl.constexpr, count, FACTOR: tl.constexpr):
    """Row or column of a tap; edges are replicated."""
    if FACTOR == 1:
        return index
    # -3, -1, 0, 1 and 3 from the middle.
    away: tl.constexpr = TAP - 2 + (TAP == 4) - (TAP == 0)
    return tl.minimum(tl.maximum(index * FACTOR + away, 0), count - 1)


@triton.jit
def _half_band(TAP: tl.constexpr, FACTOR: tl.constexpr):
    """Weight of a tap; of one row or column alone it is 1."""
    return 1.0 if FACTOR == 1 else 0.5 if TAP == 2 else -1 / 32 if TAP == 0 or TAP == 4 else 9 / 32
