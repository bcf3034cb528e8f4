"""Triton kernels that compute HDRUNet in few passes over memory; `cuda_forward` says which runs when.

Features are (H, W, channels), in the type E that they are stored in; the image, the kept image, the products
and the output are planes (channels, H, W) in float32. Sums are float32. What is computed from the image, and what
the last convolutions read, is two numbers of E for each: 22 bits where that is float16. Weights of a 1x1 convolution
are (inputs, outputs), of a 3x3 convolution (9, inputs, outputs); biases are float32. An absent tensor is None, and
its code is left out.

height and width are those of the result, before a shuffle. Of tiles, of ROWS x COLUMNS pixels, each program makes one.
Strips are `rows` high, a multiple of ROWS, which is what a turn of the loop makes; see `cuda_convolution`.
"""
# A kernel is written in Triton's language, which has no types for Python's checkers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"

from __future__ import annotations

import triton
import triton.language as tl

from .cuda_convolution import (
    add,
    at,
    convolution,
    halves,
    leaky,
    linear,
    matrices,
    matrix,
    modulate,
    precise,
    refined,
    steering,
    strip,
    taps,
    three,
    tile,
    vector,
)

_kernel = triton.jit(do_not_specialize=["height", "width", "rows"])
"""One program for all sizes: a tile at the edge must not wait for a compiler."""


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
    condition (S), the first features of the weighting (N). First weights are halves, (2, 32, outputs), of which 27
    rows count: 9 taps of each plane. chain: two (K, K) of the trunk, then (K, K) and (K, S) of the condition; nothing
    is rounded between them."""
    E: tl.constexpr = features.dtype.element_ty
    row, column, inside = tile(height, width, ROWS, COLUMNS)
    tap = tl.arange(0, 32)
    y = row + ((tap % 9) // 3 - 1)[None, :]
    x = column + (tap % 3 - 1)[None, :]
    there = (tap < 27)[None, :] & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    place = ((tap // 9)[None, :].to(tl.int64) * height + y) * width + x
    patch = halves(tl.load(image + place, mask=there, other=0.0), E)

    if weighting is not None:
        values = leaky(precise(patch, matrices(weighting_weights, 32, N)) + vector(weighting_bias, N), 0.0)
        tl.store(at(weighting, row, column, width, N), values.to(E), mask=inside)
    values = leaky(precise(patch, matrices(stem_weights, 32, N)) + vector(stem_bias, N), 0.0)
    if condition is not None:
        inner = leaky(precise(patch, matrices(trunk_weights, 32, K)) + vector(trunk_bias, K), 0.1)
        inner = leaky(refined(inner, chain, chain_bias, K, K, E), 0.1)
        inner = leaky(refined(inner, chain + K * K, chain_bias + K, K, K, E), 0.1)
        tl.store(at(trunk, row, column, width, K), inner.to(E), mask=inside)
        inner = leaky(refined(inner, chain + 2 * K * K, chain_bias + 2 * K, K, K, E), 0.1)
        inner = refined(inner, chain + 3 * K * K, chain_bias + 3 * K, K, S, E).to(E)
        tl.store(at(condition, row, column, width, S), inner, mask=inside)
        values = modulate(values, inner, steering(modulation, N, S), None, modulation_bias, N, S)
    tl.store(at(features, row, column, width, N), values.to(E), mask=inside)


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
    scale2_low,
    modulation_bias,
    modulated,
    matrix1,
    bias1,
    mapped,
    last,
    last_bias,
    image,
    planes,
    height,
    width,
    rows,
    SLOPE: tl.constexpr,
    INPUTS: tl.constexpr,
    C: tl.constexpr,
    S: tl.constexpr,
    STRIDE: tl.constexpr,
    SHUFFLE: tl.constexpr,
    STRIPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A 3x3 convolution and what becomes of each of its pixels; without weights, source is what cuDNN has made of it:

    features = leaky(conv3(source) + bias) + skip + second_skip, which may be written over skip;
    modulated = modulate(features, condition), whose scale is not rounded where scale2_low is given;
    mapped (S channels) = features * matrix1 + bias1;
    planes (3), with last and image = image * (relu(features * matrix1 + bias1) * last + last_bias), the end of the
    weighting network; last is halves, (2, C, 16), of which 3 columns count;
    planes (27), with last alone = features * last, the products of each tap of the last convolution, which `gather`
    adds up: features in float32 would be 64 planes; last is halves, (2, C, 32), of which 27 columns count.

    SHUFFLE: weights are (4, 9, INPUTS, C), or source (H, W, 4, C), the second program index says which pixel of 2x2 is
    made, and all but the source has twice the size.
    """
    pixel = tl.program_id(1)
    if weights is not None:
        weights += pixel * 9 * INPUTS * C
    if STRIPS:
        top, column = strip(width, rows, COLUMNS)
        upper = taps(weights, INPUTS, C)
        middle = taps(weights + 3 * INPUTS * C, INPUTS, C)
        lower = taps(weights + 6 * INPUTS * C, INPUTS, C)
        nothing = tl.zeros((COLUMNS, C), tl.float32)
        following = add(three(source, top - 1, column, height, width, INPUTS), upper, nothing)
        first = three(source, top, column, height, width, INPUTS)
        following = add(first, middle, following)
        after = add(first, upper, nothing)
        if modulated is not None:
            steers = steering(modulation, C, S)
            low = matrix(scale2_low, S, C) if scale2_low is not None else None
        if last is not None:
            ends = matrices(last, C, 16 if image is not None else 32)
    for step in range(0, rows if STRIPS else ROWS, ROWS):
        # With one row a turn, the sums that a row hands on would be moved while the matrix units still add to them.
        for part in tl.static_range(ROWS if STRIPS else 1):
            if STRIPS:
                row = top + (step + part)
                inside = (row < height) & (column < width)
                pixels = three(source, row + 1, column, height, width, INPUTS)
                values = add(pixels, lower, following)
                following = add(pixels, middle, after)
                after = add(pixels, upper, nothing)
            else:
                row, column, inside = tile(height, width, ROWS, COLUMNS)
                if weights is not None:
                    values = convolution(source, weights, row, column, height, width, INPUTS, C, STRIDE, ROWS * COLUMNS)
                else:
                    each = 4 if SHUFFLE else 1
                    values = tl.load(at(source, row, column * each + pixel, width * each, C), mask=inside, other=0.0)
                    values = values.to(tl.float32)
                # Not before, so that in shared memory they lie where the pixels and weights of the convolution lay.
                if modulated is not None:
                    steers = steering(modulation, C, S)
                    low = matrix(scale2_low, S, C) if scale2_low is not None else None
                if last is not None:
                    ends = matrices(last, C, 16 if image is not None else 32)
            values = leaky(values + vector(bias + pixel * C, C), SLOPE)

            y, x, columns = row, column, width
            if SHUFFLE:
                y, x, columns = row * 2 + pixel // 2, column * 2 + pixel % 2, width * 2
            if skip is not None:
                values += tl.load(at(skip, y, x, columns, C), mask=inside, other=0.0).to(tl.float32)
            if second_skip is not None:
                values += tl.load(at(second_skip, y, x, columns, C), mask=inside, other=0.0).to(tl.float32)
            if features is not None:
                tl.store(at(features, y, x, columns, C), values.to(features.dtype.element_ty), mask=inside)
            if modulated is not None:
                near = tl.load(at(condition, y, x, columns, S), mask=inside, other=0.0)
                values = modulate(values, near, steers, low, modulation_bias, C, S)
                tl.store(at(modulated, y, x, columns, C), values.to(modulated.dtype.element_ty), mask=inside)
            if mapped is not None:
                mapped_values = linear(values.to(mapped.dtype.element_ty), matrix1, bias1, C, S)
                tl.store(at(mapped, y, x, columns, S), mapped_values.to(mapped.dtype.element_ty), mask=inside)
            if image is not None:
                values = leaky(linear(values.to(source.dtype.element_ty), matrix1, bias1, C, C), 0.0)
                factors = precise(halves(values, source.dtype.element_ty), ends) + vector(last_bias, 16)
                place, there = _planes(y, x, inside, height, width, 16, 3)
                tl.store(planes + place, factors * tl.load(image + place, mask=there, other=0.0), mask=there)
            elif planes is not None:
                products = precise(halves(values, source.dtype.element_ty), ends)
                place, there = _planes(y, x, inside, height, width, 32, 27)
                tl.store(planes + place, products, mask=there)


@triton.jit
def _planes(row, column, inside, height, width, COLUMNS: tl.constexpr, COUNT: tl.constexpr):
    """Where the first COUNT of COLUMNS channels lie in planes, and which do."""
    plane = tl.arange(0, COLUMNS)[None, :]
    place = (plane.to(tl.int64) * height + row) * width + column
    return place, inside & (plane < COUNT)


@_kernel
def gather(products, bias, kept, output, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """output = kept + bias + the products of the 9 taps, each where it belongs. bias: (3,)."""
    row, column, inside = tile(height, width, ROWS, COLUMNS)
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
