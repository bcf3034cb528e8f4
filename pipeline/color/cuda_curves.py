"""What the kernels of the colour path are made of: blocks of pixels, and the curves of `tone` and `transfer`.

A colour is (red, green, blue); each, as everything here, is a block of pixels in float32. Light is in cd/m2.
Sources: SMPTE ST 2084 (PQ), Rec. ITU-R BT.2100 table 5 (HLG), Rec. ITU-R BT.2390 section 5.4.1 (EETF).
"""
# A kernel is written in Triton's language, which has no types for Python's checkers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"

from __future__ import annotations

import math

import triton
import triton.language as tl

from .light import PQ_C1, PQ_C3, PQ_M1, PQ_M2, PQ_PEAK_NITS
from .tone import SIGNAL_MAX
from .transfer import BT2100_LUMINANCE, HLG_A, HLG_B, HLG_C, hlg_inverse_ootf_power

_M1, _M2 = tl.constexpr(PQ_M1), tl.constexpr(PQ_M2)
_C3 = tl.constexpr(PQ_C3)
_OVER, _LOG2_E = tl.constexpr(1 - PQ_C1), tl.constexpr(math.log2(math.e))
"""1 - c1 is c2 - c3 as well."""
_PQ_PEAK = tl.constexpr(PQ_PEAK_NITS)
_A, _B, _C = tl.constexpr(HLG_A), tl.constexpr(HLG_B), tl.constexpr(HLG_C)
_OF_RED, _OF_GREEN, _OF_BLUE = map(tl.constexpr, BT2100_LUMINANCE)
_HLG_GAIN, _HLG_EXPONENT = map(tl.constexpr, hlg_inverse_ootf_power())
_BRIGHTEST = tl.constexpr(SIGNAL_MAX)

kernel = triton.jit(
    do_not_specialize=[
        *("height", "width", "chroma_height", "chroma_width"),
        *("top", "bottom", "left", "right", "programs", "count"),
    ]
)
"""One program for all sizes: a frame must not wait for a compiler."""


@triton.jit
def pixels(block, height, width, BLOCK: tl.constexpr):
    """Index, row and column of each pixel of a block, and whether it is in the picture."""
    pixel = block * BLOCK + tl.arange(0, BLOCK)
    row = pixel // width
    return pixel, row, pixel - row * width, row < height


@triton.jit
def largest_of(colors):
    """max(R, G, B)."""
    return tl.maximum(tl.maximum(colors[0], colors[1]), colors[2])


@triton.jit
def scaled(colors, factor):
    """R, G and B times the same."""
    return colors[0] * factor, colors[1] * factor, colors[2] * factor


@triton.jit
def display_light(signal, gamma):
    """Linear light, 1.0 = SDR white; what is negative or no number counts as 0."""
    red = tl.minimum(tl.maximum(signal[0], 0.0), _BRIGHTEST)
    green = tl.minimum(tl.maximum(signal[1], 0.0), _BRIGHTEST)
    blue = tl.minimum(tl.maximum(signal[2], 0.0), _BRIGHTEST)
    return power(red, gamma), power(green, gamma), power(blue, gamma)


@triton.jit
def power(base, exponent):
    """base ** exponent for base >= 0."""
    return tl.exp2(tl.log2(base) * exponent)


@triton.jit
def bt2390_eetf(nits, source_peak, high, goal):
    """The roll-off of BT.2390, as `tone.bt2390_eetf`."""
    fall = high - goal
    rest = (high - pq_inverse_eotf(tl.minimum(nits, source_peak))) / (1.5 * fall)
    rest = tl.minimum(tl.maximum(rest, 0.0), 1.0)
    return tl.where(rest < 1.0, pq_eotf(goal - 0.5 * fall * rest * rest * rest), nits)


@triton.jit
def pq_inverse_eotf(nits):
    """PQ signal (0..1) of light, 0..10000 cd/m2."""
    share = power(nits / _PQ_PEAK, _M1)
    # (c1 + c2 share) / (1 + c3 share) is 1 - q; what is lost of it in float32 the exponent would make 79 times as much.
    q = (1.0 - share) * _OVER / (share * _C3 + 1.0)
    base = 1.0 - q
    lost = (1.0 - base) - q
    return tl.exp2((tl.log2(base) + lost / base * _LOG2_E) * _M2)


@triton.jit
def pq_eotf(signal):
    """Light of a PQ signal (0..1), of which 1e-6 is the least."""
    # signal ** (1 / m2) is 1 - d; that is near 1, so that d is found by a series, which tells more of it.
    exponent = tl.log2(tl.maximum(signal, 1e-6)) * (1.0 / (_M2 * _LOG2_E))
    d = exponent * (exponent * (exponent * (exponent * (-1 / 24) - 1 / 6) - 0.5) - 1.0)
    return power(tl.maximum(-d + _OVER, 0.0) / (d * _C3 + _OVER), 1.0 / _M1) * _PQ_PEAK


@triton.jit
def hlg_scene(nits):
    """Linear scene light of R, G, B on an HLG display of 1000 cd/m2, dimmed where one of them would be above 1."""
    luminance = tl.maximum(nits[0] * _OF_RED + nits[1] * _OF_GREEN + nits[2] * _OF_BLUE, 1e-12)
    scene = scaled(nits, power(luminance, _HLG_EXPONENT) * _HLG_GAIN)
    return scaled(scene, 1.0 / tl.maximum(largest_of(scene), 1.0))


@triton.jit
def hlg_oetf(scene):
    """HLG signal of linear scene light, 0..1 both."""
    above = tl.log(tl.maximum(12.0 * scene - _B, 1e-3)) * _A + _C
    return tl.where(scene <= 1 / 12, tl.sqrt(3.0 * scene), above)
