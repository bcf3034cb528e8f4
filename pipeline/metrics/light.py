"""The light that a signal stands for in all measures: 203 cd/m2 at 1.0 (BT.2408), exponent 2.24, BT.709, no roll-off.

2.24 is the exponent of the NTIRE 2021 data, which its scoring program uses as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..color.light import PQ_PEAK_NITS
from ..color.primaries import to_bt2020
from ..color.spec import Primaries
from ..color.transfer import pq_inverse_eotf

GAMMA = 2.24
WHITE_NITS = 203.0
PQ_CODES = 876.0
"""10-bit codes from PQ 0 to 1 in limited range: 64..940."""


def linear(signal: Tensor) -> Tensor:
    """Light, 1.0 = SDR white, of a signal: any shape, float64."""
    return signal.to(torch.float64).clamp(min=0.0) ** GAMMA


def nits(signal: Tensor) -> Tensor:
    """Light in cd/m2, 0..10000, of a signal: any shape, float64, BT.709 as before."""
    return (linear(signal) * WHITE_NITS).clamp(max=PQ_PEAK_NITS)


def bt2020_nits(signal: Tensor) -> Tensor:
    """Light in cd/m2, BT.2020 primaries, 0..10000: (..., 3, H, W), float64."""
    matrix = torch.tensor(to_bt2020(Primaries.BT709), device=signal.device)
    return torch.einsum("rc,...chw->...rhw", matrix, nits(signal)).clamp(0.0, PQ_PEAK_NITS)


def luminance(signal: Tensor) -> Tensor:
    """Relative luminance (BT.709), 1.0 = SDR white: (..., 3, H, W) -> (..., H, W), float64."""
    red, green, blue = linear(signal).unbind(dim=-3)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def pq_codes(signal: Tensor) -> Tensor:
    """PQ R'G'B' (BT.2020) in steps of a 10-bit limited-range code, unrounded: (..., 3, H, W), float64, 0..876."""
    return pq_inverse_eotf(bt2020_nits(signal)) * PQ_CODES


def check_shapes(*pictures: Tensor) -> None:
    """Raise ValueError unless all are (3, H, W) of one size."""
    shapes = [tuple(picture.shape) for picture in pictures]
    if len(set(shapes)) != 1 or len(shapes[0]) != 3 or shapes[0][0] != 3:
        raise ValueError(f"pictures of (3, H, W) and one size are needed, not {' and '.join(map(str, shapes))}")
