"""Triton kernels that compute HDRUNet in few passes over memory; `cuda_forward` says which runs when.

Features are (H, W, channels), in the type E that they are stored in; the image, the kept image, the products
and the output are planes (channels, H, W) in float32. Sums are float32. What is computed from the image, and
what the last convolutions read, is not rounded to E. Weights of a 1x1 convolution are (inputs, outputs), of a
3x3 convolution (9, inputs, outputs); biases are float32. An absent tensor is None, and its code is left out.
"""
# A kernel is written in Triton's language, which has no types for Python's checkers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"

from __future__ import annotations

import triton
import triton.language as tl

_kernel = triton.jit(do_not_specialize=["height", "width"])
"""One program for all sizes: a tile at the edge must not wait for a compiler."""


@triton.jit
def _matrix(weights, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr):
    return tl.load(weights + tl.arange(0, INPUTS)[:, None] * OUTPUTS + tl.arange(0, OUTPUTS)[None, :])


@triton.jit
def _row(bias, OUTPUTS: tl.constexpr):
    return tl.load(bias + tl.arange(0, OUTPUTS))[None, :]


@triton.jit
def _linear(values, weights, bias, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr):
    """A 1x1 convolution. Three products of TF32 stand for one of float32; those of float16 are exact anyway."""
    weights = _matrix(weights, INPUTS, OUTPUTS)
    return tl.dot(values, weights, input_precision="tf32x3") + _row(bias, OUTPUTS)


@triton.jit
def _leaky(values, SLOPE: tl.constexpr):
    return tl.where(values > 0, values, values * SLOPE)


@triton.jit
def _modulate(values, condition, weights, bias, C: tl.constexpr, S: tl.constexpr):
    """values * scale + shift. Weights: scale1, shift1 (S, S) each, scale2, shift2 (S, C); the bias of scale2 holds
    the 1 that the network adds."""
    E: tl.constexpr = condition.dtype
    inner = _leaky(_linear(condition, weights, bias, S, S), 0.1).to(E)
    values *= _linear(inner, weights + 2 * S * S, bias + 2 * S, S, C)
    inner = _leaky(_linear(condition, weights + S * S, bias + S, S, S), 0.1).to(E)
    return values + _linear(inner, weights + 2 * S * S + S * C, bias + 2 * S + C, S, C)


@triton.jit
def _tile(height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Row and column of each pixel of this program's tile, and whether it is in the picture."""
    across = tl.cdiv(width, COLUMNS)
    tile = tl.program_id(0)
    pixel = tl.arange(0, ROWS * COLUMNS)
    row = tile // across * ROWS + pixel // COLUMNS
    column = tile % across * COLUMNS + pixel % COLUMNS
    return row, column, (row < height) & (column < width)


@triton.jit
def _offsets(row, column, width, C: tl.constexpr):
    """Of the C channels of each pixel; 64 bits, because a frame can have 2**31 features."""
    return (row.to(tl.int64) * width + column)[:, None] * C + tl.arange(0, C)[None, :]


@triton.jit
def _convolution(
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
    center = source + _offsets(row * STRIDE, column * STRIDE, columns, INPUTS)
    total = tl.zeros((PIXELS, C), tl.float32)
    for tap in range(9):
        down, right = tap // 3 - 1, tap % 3 - 1
        y, x = row * STRIDE + down, column * STRIDE + right
        inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        values = tl.load(center + (down * columns + right) * INPUTS, mask=inside[:, None], other=0.0)
        total = tl.dot(values, _matrix(weights + tap * INPUTS * C, INPUTS, C), total, input_precision="tf32x3")
    return total


@_kernel
def stem(
    image,
    stem_weights,
    stem_bias,
    modulation,
    modulation_bias,
    features,
    trunk_weights,
    trunk_bias,
    chain,
    chain_bias,
    trunk,
    condition,
    weighting_weights,
    weighting_bias,
    weighting,
    height,
    width,
    N: tl.constexpr,
    K: tl.constexpr,
    S: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """All that reads the image: the first features (N) modulated, the condition's trunk (K) and its full-size
    condition (S), the first features of the weighting (N). First weights are float32, (32, outputs), of which 27
    rows count: 9 taps of each plane. chain: two (K, K) of the trunk, then (K, K) and (K, S) of the condition."""
    E: tl.constexpr = features.dtype.element_ty
    row, column, inside = _tile(height, width, ROWS, COLUMNS)
    inside = inside[:, None]
    tap = tl.arange(0, 32)
    y = row[:, None] + ((tap % 9) // 3 - 1)[None, :]
    x = column[:, None] + (tap % 3 - 1)[None, :]
    there = (tap < 27)[None, :] & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    place = ((tap // 9)[None, :].to(tl.int64) * height + y) * width + x
    patch = tl.load(image + place, mask=there, other=0.0)

    if weighting is not None:
        values = _leaky(_linear(patch, weighting_weights, weighting_bias, 32, N), 0.0)
        tl.store(weighting + _offsets(row, column, width, N), values.to(E), mask=inside)
    values = _leaky(_linear(patch, stem_weights, stem_bias, 32, N), 0.0)
    if condition is not None:
        inner = _leaky(_linear(patch, trunk_weights, trunk_bias, 32, K), 0.1).to(E)
        inner = _leaky(_linear(inner, chain, chain_bias, K, K), 0.1).to(E)
        inner = _leaky(_linear(inner, chain + K * K, chain_bias + K, K, K), 0.1).to(E)
        tl.store(trunk + _offsets(row, column, width, K), inner, mask=inside)
        inner = _leaky(_linear(inner, chain + 2 * K * K, chain_bias + 2 * K, K, K), 0.1).to(E)
        inner = _linear(inner, chain + 3 * K * K, chain_bias + 3 * K, K, S).to(E)
        tl.store(condition + _offsets(row, column, width, S), inner, mask=inside)
        values = _modulate(values, inner, modulation, modulation_bias, N, S)
    tl.store(features + _offsets(row, column, width, N), values.to(E), mask=inside)


@_kernel
def convolve(
    source,
    weights,
    bias,
    skip,
    second_skip,
    features,
    condition,
    modulation,
    modulation_bias,
    modulated,
    height,
    width,
    SLOPE: tl.constexpr,
    INPUTS: tl.constexpr,
    C: tl.constexpr,
    S: tl.constexpr,
    STRIDE: tl.constexpr,
    SHUFFLE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """features = leaky(conv3(source) + bias) + skip + second_skip; modulated = modulate(features, condition).

    height and width are those of the convolution. SHUFFLE: weights are (4, 9, INPUTS, C), the second program
    index says which pixel of 2x2 is made, and all but the source has twice the size. features may be skip."""
    row, column, inside = _tile(height, width, ROWS, COLUMNS)
    pixel = tl.program_id(1)
    weights += pixel * 9 * INPUTS * C
    values = _convolution(source, weights, row, column, height, width, INPUTS, C, STRIDE, ROWS * COLUMNS)
    values = _leaky(values + _row(bias + pixel * C, C), SLOPE)
    if SHUFFLE:
        row, column, width = row * 2 + pixel // 2, column * 2 + pixel % 2, width * 2
    inside = inside[:, None]
    place = _offsets(row, column, width, C)
    if skip is not None:
        values += tl.load(skip + place, mask=inside, other=0.0).to(tl.float32)
    if second_skip is not None:
        values += tl.load(second_skip + place, mask=inside, other=0.0).to(tl.float32)
    if features is not None:
        tl.store(features + place, values.to(features.dtype.element_ty), mask=inside)
    if modulated is not None:
        steering = tl.load(condition + _offsets(row, column, width, S), mask=inside, other=0.0)
        values = _modulate(values, steering, modulation, modulation_bias, C, S)
        tl.store(modulated + place, values.to(modulated.dtype.element_ty), mask=inside)


@_kernel
def convolve_linear(
    source,
    weights,
    bias,
    linear,
    linear_bias,
    result,
    height,
    width,
    INPUTS: tl.constexpr,
    C: tl.constexpr,
    S: tl.constexpr,
    STRIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """result (S channels) = linear(leaky(conv3(source) + bias)) + linear_bias."""
    E: tl.constexpr = result.dtype.element_ty
    row, column, inside = _tile(height, width, ROWS, COLUMNS)
    values = _convolution(source, weights, row, column, height, width, INPUTS, C, STRIDE, ROWS * COLUMNS)
    values = _leaky(values + _row(bias, C), 0.1).to(E)
    values = _linear(values, linear, linear_bias, C, S)
    tl.store(result + _offsets(row, column, width, S), values.to(E), mask=inside[:, None])


@_kernel
def keep(
    source,
    weights,
    bias,
    linear,
    linear_bias,
    last,
    last_bias,
    image,
    kept,
    height,
    width,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """kept = image * weights of it, the rest of the weighting network. last: float32, (N, 16), of which 3 columns
    count."""
    row, column, inside = _tile(height, width, ROWS, COLUMNS)
    values = _convolution(source, weights, row, column, height, width, N, N, 1, ROWS * COLUMNS)
    values = _leaky(values + _row(bias, N), 0.0).to(source.dtype.element_ty)
    values = _leaky(_linear(values, linear, linear_bias, N, N), 0.0)
    values = _linear(values, last, last_bias, N, 16)
    plane = tl.arange(0, 16)[None, :]
    inside = inside[:, None] & (plane < 3)
    place = (plane.to(tl.int64) * height + row[:, None]) * width + column[:, None]
    tl.store(kept + place, values * tl.load(image + place, mask=inside, other=0.0), mask=inside)


@_kernel
def convolve_products(
    source,
    weights,
    bias,
    last,
    products,
    height,
    width,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """products (27 planes) = relu(conv3(source) + bias) times each tap of the last convolution, which `gather` adds
    up: features in float32 would be 64 planes. last: float32, (N, 32), of which 27 columns count."""
    row, column, inside = _tile(height, width, ROWS, COLUMNS)
    values = _convolution(source, weights, row, column, height, width, N, N, 1, ROWS * COLUMNS)
    values = _leaky(values + _row(bias, N), 0.0)
    values = tl.dot(values, _matrix(last, N, 32), input_precision="tf32x3")
    plane = tl.arange(0, 32)[None, :]
    place = (plane.to(tl.int64) * height + row[:, None]) * width + column[:, None]
    tl.store(products + place, values, mask=inside[:, None] & (plane < 27))


@_kernel
def gather(products, bias, kept, output, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """output = kept + bias + the products of the 9 taps, each where it belongs. bias: (3,)."""
    row, column, inside = _tile(height, width, ROWS, COLUMNS)
    place = row.to(tl.int64) * width + column
    plane = height.to(tl.int64) * width
    for channel in tl.static_range(3):
        total = tl.load(kept + channel * plane + place, mask=inside, other=0.0) + tl.load(bias + channel)
        for tap in tl.static_range(9):
            y, x = row + (tap // 3 - 1), column + (tap % 3 - 1)
            there = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            near = products + (tap * 3 + channel) * plane + place + ((tap // 3 - 1) * width + (tap % 3 - 1))
            total += tl.load(near, mask=there, other=0.0)
        tl.store(output + channel * plane + place, total, mask=inside)
