"""What the kernels in `cuda_kernels` are made of: 3x3 convolutions, 1x1 convolutions, modulations.

A 3x3 convolution is computed in one of two ways. In tiles, for any GPU and stride: nine products, each with what
lies a pixel further, which is loaded nine times. In strips, where a multiprocessor has room for all weights: a
program goes down some columns row by row, and each row serves the three rows that it is part of.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def matrix(weights, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr):
    """(INPUTS, OUTPUTS) numbers, one row after the other."""
    return tl.load(weights + tl.arange(0, INPUTS)[:, None] * OUTPUTS + tl.arange(0, OUTPUTS)[None, :])


@triton.jit
def vector(bias, OUTPUTS: tl.constexpr):
    """(1, OUTPUTS), for each pixel the same."""
    return tl.load(bias + tl.arange(0, OUTPUTS))[None, :]


@triton.jit
def product(values, weights, total=None):
    """total + values * weights. Three products of TF32 stand for one of float32; those of float16 are exact anyway."""
    return tl.dot(values, weights, total, input_precision="tf32x3")


@triton.jit
def linear(values, weights, bias, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr):
    """A 1x1 convolution."""
    return product(values, matrix(weights, INPUTS, OUTPUTS)) + vector(bias, OUTPUTS)


@triton.jit
def halves(values, E: tl.constexpr):
    """Float32 as a sum of two numbers of type E; where one is too large for it, neither is finite."""
    high = values.to(E)
    return high, (values - high.to(tl.float32)).to(E)


@triton.jit
def matrices(weights, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr):
    """Two halves of (INPUTS, OUTPUTS) numbers."""
    return matrix(weights, INPUTS, OUTPUTS), matrix(weights + INPUTS * OUTPUTS, INPUTS, OUTPUTS)


@triton.jit
def precise(values, weights):
    """values * weights, both in halves; the product of the low ones is less than float32 tells."""
    total = product(values[1], weights[0])
    total = product(values[0], weights[1], total)
    return product(values[0], weights[0], total)


@triton.jit
def refined(values, weights, bias, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, E: tl.constexpr):
    """A 1x1 convolution of float32, whose weights alone are rounded to E."""
    high, low = halves(values, E)
    weights = matrix(weights, INPUTS, OUTPUTS)
    return product(high, weights, product(low, weights)) + vector(bias, OUTPUTS)


@triton.jit
def leaky(values, SLOPE: tl.constexpr):
    """A ReLU with SLOPE 0, and nothing with 1. What is not a number stays so, because the engine looks for it."""
    if SLOPE == 1.0:
        return values
    below = 0.0 if SLOPE == 0.0 else values * SLOPE
    return tl.maximum(values, below, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def steering(weights, C: tl.constexpr, S: tl.constexpr):
    """The four matrices of a modulation: scale1, shift1 (S, S) each, scale2, shift2 (S, C)."""
    scale1, shift1 = matrix(weights, S, S), matrix(weights + S * S, S, S)
    return scale1, shift1, matrix(weights + 2 * S * S, S, C), matrix(weights + 2 * S * S + S * C, S, C)


@triton.jit
def modulate(values, condition, matrices, scale2_low, bias, C: tl.constexpr, S: tl.constexpr):
    """values * scale + shift, with matrices of `steering`; the bias of scale2 holds the 1 that the network adds.

    scale2_low: the lower half of scale2, so that the scale is not rounded; or None.
    """
    E: tl.constexpr = condition.dtype
    scale1, shift1, scale2, shift2 = matrices
    inner = leaky(product(condition, scale1) + vector(bias, S), 0.1)
    if scale2_low is not None:
        values *= precise(halves(inner, E), (scale2, scale2_low)) + vector(bias + 2 * S, C)
    else:
        values *= product(inner.to(E), scale2) + vector(bias + 2 * S, C)
    inner = leaky(product(condition, shift1) + vector(bias + S, S), 0.1).to(E)
    return product(inner, shift2, values) + vector(bias + 2 * S + C, C)


@triton.jit
def tile(height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Row and column of each pixel of this program's tile, (pixels, 1), and whether it is in the picture."""
    across = tl.cdiv(width, COLUMNS)
    tile = tl.program_id(0)
    pixel = tl.arange(0, ROWS * COLUMNS)[:, None]
    row = tile // across * ROWS + pixel // COLUMNS
    column = tile % across * COLUMNS + pixel % COLUMNS
    return row, column, (row < height) & (column < width)


@triton.jit
def at(base, row, column, width, C: tl.constexpr):
    """Where the C channels of each pixel lie. 64 bits for the row, because a frame can have 2**31 features; a strip's
    row is one number, so that only columns are counted for each pixel, in 32."""
    return base + row.to(tl.int64) * width * C + (column * C + tl.arange(0, C)[None, :])


@triton.jit
def convolution(
    source,
    weights,
    row,
    column,
    height,
    width,
    INPUTS: tl.constexpr,
    C: tl.constexpr,
    STRIDE: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """3x3 convolution of `source` (STRIDE times height and width) at row and column, without bias: (PIXELS, C)."""
    rows, columns = height * STRIDE, width * STRIDE
    center = at(source, row * STRIDE, column * STRIDE, columns, INPUTS)
    total = tl.zeros((PIXELS, C), tl.float32)
    for tap in range(9):
        down, right = tap // 3 - 1, tap % 3 - 1
        y, x = row * STRIDE + down, column * STRIDE + right
        inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        values = tl.load(center + (down * columns + right) * INPUTS, mask=inside, other=0.0)
        total = product(values, matrix(weights + tap * INPUTS * C, INPUTS, C), total)
    return total


@triton.jit
def strip(width, rows, COLUMNS: tl.constexpr):
    """The first row of this program's strip, `rows` high, and its columns, (COLUMNS, 1)."""
    across = tl.cdiv(width, COLUMNS)
    place = tl.program_id(0)
    return place // across * rows, place % across * COLUMNS + tl.arange(0, COLUMNS)[:, None]


@triton.jit
def taps(weights, INPUTS: tl.constexpr, C: tl.constexpr):
    """The three matrices of a row of weights."""
    left, center = matrix(weights, INPUTS, C), matrix(weights + INPUTS * C, INPUTS, C)
    return left, center, matrix(weights + 2 * INPUTS * C, INPUTS, C)


@triton.jit
def _pixels(source, row, column, height, width, INPUTS: tl.constexpr):
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return tl.load(at(source, row, column, width, INPUTS), mask=inside, other=0.0)


@triton.jit
def three(source, row, column, height, width, INPUTS: tl.constexpr):
    """The pixels of a row that the taps of a row of weights see."""
    left = _pixels(source, row, column - 1, height, width, INPUTS)
    center = _pixels(source, row, column, height, width, INPUTS)
    return left, center, _pixels(source, row, column + 1, height, width, INPUTS)


@triton.jit
def add(pixels, weights, total):
    """total + the products of three pixels and the three matrices of a row of weights."""
    total = product(pixels[0], weights[0], total)
    total = product(pixels[1], weights[1], total)
    return product(pixels[2], weights[2], total)
