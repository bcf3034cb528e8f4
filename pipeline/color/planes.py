"""Coded integers as signal and back: quantisation, and Y'CbCr as R'G'B'.

Sources: Rec. ITU-T H.273 (table 4 and equations 20 to 53), Rec. ITU-R BT.601, BT.709, BT.2020, BT.2100 table
9.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .spec import Matrix, Range

LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    Matrix.BT709: (0.2126, 0.0722),
    Matrix.FCC: (0.30, 0.11),
    Matrix.BT470BG: (0.299, 0.114),
    Matrix.SMPTE170M: (0.299, 0.114),
    Matrix.SMPTE240M: (0.212, 0.087),
    Matrix.BT2020_NCL: (0.2627, 0.0593),
}
"""Kr and Kb of each matrix that can be computed. Matrix.RGB needs none."""


def dequantize(plane: Tensor, depth: int, coded_range: Range, chroma: bool = False) -> Tensor:
    """Signal of coded integers.

    plane: (H, W), uint8 or uint16 of `depth` bits (8..16). Returns (H, W), float32: 0..1 for Y', R', G', B'
    and -0.5..0.5 for chroma; limited range may lie outside, nothing is clipped.
    """
    scale, offset = code_scale(depth, coded_range, chroma)
    return plane.to(torch.float32).sub_(offset).div_(scale)


def quantize(
    signal: Tensor, depth: int, coded_range: Range, chroma: bool = False, dither: Tensor | None = None
) -> Tensor:
    """Coded integers of a signal: floor(value + 0.5), after `dither` (LSB, same shape) is added.

    signal: (H, W), float32, 0..1, chroma -0.5..0.5. Returns (H, W), uint16 (uint8 where depth is 8). Limited
    range is clamped to the video data range of BT.2100 table 9: 4..1019 at 10 bits, 16..4079 at 12.
    """
    scale, offset = code_scale(depth, coded_range, chroma)
    coded = signal.mul(scale).add_(offset + 0.5)
    if dither is not None:
        coded.add_(dither)
    lowest, highest = code_limits(depth, coded_range)
    # The clamped values are positive, so the conversion's cut towards zero is the floor.
    return coded.clamp_(lowest, highest).to(torch.uint8 if depth == 8 else torch.uint16)


def rgb_from_ycbcr(luma: Tensor, chroma: Tensor, matrix: Matrix) -> Tensor:
    """R'G'B' of non-constant-luminance Y'CbCr.

    luma: (H, W), float32. chroma: (2, H, W), float32, Cb and Cr in -0.5..0.5. Returns (1, 3, H, W), float32,
    not clipped.
    """
    red, green_of_blue, green_of_red, blue = chroma_weights(matrix)
    rgb = luma.new_empty((1, 3, *luma.shape))
    torch.add(luma, chroma[1], alpha=red, out=rgb[0, 0])
    torch.add(luma, chroma[0], alpha=green_of_blue, out=rgb[0, 1])
    rgb[0, 1].add_(chroma[1], alpha=green_of_red)
    torch.add(luma, chroma[0], alpha=blue, out=rgb[0, 2])
    return rgb


def ycbcr_from_rgb(rgb: Tensor, matrix: Matrix) -> tuple[Tensor, Tensor]:
    """Non-constant-luminance Y'CbCr of R'G'B'.

    rgb: (1, 3, H, W), float32, 0..1. Returns Y' (H, W), 0..1, and Cb, Cr (2, H, W), -0.5..0.5, float32.
    """
    kr, kb = luma_weights(matrix)
    red, green, blue = rgb[0]
    luma = (red * kr).add_(green, alpha=1 - kr - kb).add_(blue, alpha=kb)
    chroma = rgb.new_empty((2, *luma.shape))
    torch.sub(blue, luma, out=chroma[0]).div_(2 * (1 - kb))
    torch.sub(red, luma, out=chroma[1]).div_(2 * (1 - kr))
    return luma, chroma


def luma_weights(matrix: Matrix) -> tuple[float, float]:
    """Kr and Kb of a matrix; ValueError where it is not a plain Y'CbCr one."""
    if matrix not in LUMA_WEIGHTS:
        raise ValueError(f"matrix {matrix.name} is not one that planes can be converted with")
    return LUMA_WEIGHTS[matrix]


def chroma_weights(matrix: Matrix) -> tuple[float, float, float, float]:
    """What R' has of Cr, G' of Cb and of Cr, and B' of Cb, beside Y'; ValueError as luma_weights."""
    kr, kb = luma_weights(matrix)
    red, blue, kg = 2 * (1 - kr), 2 * (1 - kb), 1 - kr - kb
    return red, -blue * kb / kg, -red * kr / kg, blue


def code_scale(depth: int, coded_range: Range, chroma: bool) -> tuple[float, float]:
    """Codes per unit of signal, and the code of signal 0."""
    if not 8 <= depth <= 16:
        raise ValueError(f"components of {depth} bits are not coded integers that can be converted")
    if coded_range is Range.FULL:
        return float((1 << depth) - 1), float(1 << (depth - 1)) if chroma else 0.0
    if coded_range is Range.LIMITED:
        unit = 1 << (depth - 8)
        return (224.0 * unit, 128.0 * unit) if chroma else (219.0 * unit, 16.0 * unit)
    raise ValueError("the range of coded values is not specified")


def code_limits(depth: int, coded_range: Range) -> tuple[int, int]:
    """Lowest and highest code of the video data range."""
    if coded_range is Range.LIMITED:
        return 1 << (depth - 8), (255 << (depth - 8)) - 1
    return 0, (1 << depth) - 1
